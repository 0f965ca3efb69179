"""A .g3 file whose Map frames are written by all ranks at once, each with a shard of the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ..g3files.frames import CRC, frame_in, head_of_entry, head_of_frame
from ..g3files.joinedcrc import PartsChecksum
from ..g3files.maps import MAP_KEYS, filled
from ..g3files.outputfile import Outputs, begin_sync, write_at
from ..maps.mapsum import MapSum
from ..maps.shares import Share, shares_of
from ..mpi import communicators
from ..mpi.agreement import from_rank
from ..pipeline.output import publish
from ..spt3gtypes import Frame
from .writing import write_placed

# What becomes a frame: what returns the frame with empty maps, asked of one rank only; and the sum.
Coadd = tuple[Callable[[], Frame], MapSum]

# A checksum covers so many bytes of an entry at most: spt3g counts them in 32 bits.
_COUNTED = 0xFFFFFFFF


class _Extent(NamedTuple):
    """Bytes of a frame.

    Attributes
    ----------
    offset : int
        Where they begin in the file.
    position : int
        Where they begin among the bytes of the frame that its checksum covers.
    covered : int
        How many of them it covers.
    """

    offset: int
    position: int
    covered: int


class _Plan(NamedTuple):
    """Where the parts of a frame stand.

    Attributes
    ----------
    planes : dict of str to _Extent
        The pixels of each plane.
    covered : int
        How many bytes the checksum covers.
    end : int
        Where it stands, behind all else.
    """

    planes: dict[str, _Extent]
    covered: int
    end: int


class _Rest(NamedTuple):
    """What is not pixels: bytes that the checksum covers, and others at places of the file."""

    covered: list[tuple[_Extent, bytes]]
    heads: list[tuple[int, bytes]]


class ShardedFrames:
    """The content of a .g3 file of coadds that are sharded. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
        The ranks that have shards.
    root : int
        The rank that writes all but the pixels.
    coadds : iterable of (callable, MapSum)
        See `Coadd`; the same coadds on all ranks.

    Attributes
    ----------
    size : int
        Of the file, in bytes.
    """

    def __init__(self, comm: communicators.Comm, root: int, coadds: Iterable[Coadd]):
        self.size = 0
        self._frames: list[tuple[_Plan, dict[str, Share]]] = []
        self._rest: list[_Rest] = []  # on `root`
        for outline, total in coadds:
            shares = shares_of(comm, total)

            def plan(
                outline: Callable[[], Frame] = outline, shares: dict[str, Share] = shares
            ) -> _Plan:
                return self._plan(outline(), shares)

            planned = from_rank(comm, root, plan)
            self.size = planned.end + CRC.size
            self._frames.append((planned, shares))

    def put(self, fd: int) -> list[int]:
        """Write the pixels of this rank; return what they add to the checksum of each frame."""
        return [_put(fd, plan, shares) for plan, shares in self._frames]

    def finish(self, fd: int, sums: Sequence[list[int]]) -> None:
        """Write all but the pixels, once these are there, with the checksums of all ranks."""
        for number, ((plan, _), rest) in enumerate(zip(self._frames, self._rest, strict=True)):
            checksum = PartsChecksum(plan.covered)
            for extent, data in rest.covered:
                write_at(fd, data, extent.offset)
                checksum.add(extent.position, data[: extent.covered])
            for offset, head in rest.heads:
                write_at(fd, head, offset)
            total = checksum.total
            for of_rank in sums:
                total ^= of_rank[number]
            write_at(fd, CRC.pack(total), plan.end)

    def _plan(self, outline: Frame, shares: dict[str, Share]) -> _Plan:
        """Where all of a frame stands, behind the frames before it; what is not pixels is kept."""
        raw = frame_in(outline.__getstate__()[1])
        rest = _Rest([], [(self.size, head_of_frame(len(raw.blobs), raw.type))])
        planes: dict[str, _Extent] = {}
        at, position = self.size + len(rest.heads[0][1]), 0

        def take(part: bytes | str, size: int, covered: int) -> None:
            nonlocal at, position
            extent = _Extent(at, position, covered)
            if isinstance(part, str):
                planes[part] = extent
            else:
                rest.covered.append((extent, part))
            at, position = at + size, position + covered

        for blob in raw.blobs:
            parts = list(_parts_of(blob.name, raw.content(blob), shares))
            name, size = blob.name.encode("utf-8", "surrogateescape"), sum(n for _, n in parts)
            for length, before in ((len(name), name), (size, b"")):
                rest.heads.append((at, head_of_entry(length)))
                at += len(rest.heads[-1][1])
                take(before, len(before), len(before))
            left = size & _COUNTED
            for part, length in parts:
                take(part, length, min(length, left))
                left -= min(length, left)
        self._rest.append(rest)
        return _Plan(planes, position, at)


def write_sharded(
    file: str, coadds: Iterable[Coadd], comm: communicators.Comm, root: int = 0
) -> None:
    """Write sharded coadds into a .g3 file, on all ranks at once. Collective over `comm`.

    The file has its name once it is complete; one that was there is replaced then. No rank needs
    more memory than it has already, but for buffers.

    Parameters
    ----------
    file : str
    coadds : iterable of (callable, MapSum)
        See `Coadd`; the same coadds on all ranks.
    comm : communicator
    root : int
        The rank that writes all but the pixels.

    Raises
    ------
    OutputError
    """
    outputs = Outputs()
    try:
        write_placed(
            *(file, lambda: ShardedFrames(comm, root, coadds), comm, root, outputs), sharded=True
        )
        publish(comm, outputs)
    finally:
        outputs.discard()


def _put(fd: int, plan: _Plan, shares: dict[str, Share]) -> int:
    checksum = PartsChecksum(plan.covered)
    for name, share in shares.items():
        for ahead, data in share.pieces():
            extent = plan.planes[name]
            write_at(fd, data, extent.offset + ahead)
            begin_sync(fd, extent.offset + ahead, len(data))
            checksum.add(extent.position + ahead, data[: max(0, extent.covered - ahead)])
    return checksum.total


def _parts_of(
    key: str, content: bytes, shares: dict[str, Share]
) -> Iterator[tuple[bytes | str, int]]:
    """The content of an entry: bytes, and between them planes by name; with their sizes."""
    names = [name for name in shares if name.partition(".")[0] == key and key in MAP_KEYS]
    if not names:
        yield content, len(content)
        return
    mine = {name.partition(".")[2]: shares[name].content for name in names}
    for before, pixels in filled(content, mine).parts:
        yield before, len(before)
        if pixels is not None:
            name = next(name for name in names if shares[name].content is pixels)
            yield name, pixels.nbytes
