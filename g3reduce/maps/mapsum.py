"""The running sum of map frames: planes over the pixels that were hit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.arithmetic import Arithmetic, Plain
from ..arrays.blocks import Blocks
from ..arrays.exactarithmetic import Exact
from ..arrays.exactness import Exactness, joinable, refuse_more
from ..errors import MismatchError
from ..g3files.archive import DENSE, EMPTY, RING, SPARSE
from ..g3files.maps import STOKES, Content
from ..g3files.runs import LayoutFinder, RunLayout
from ..spt3gtypes import SkyMap
from .agreement import (
    Parts,
    copy_attributes,
    require_agreement,
    require_same_parts,
    unset_differences,
)
from .chunks import Chunk
from .flips import Signs, is_wide
from .framekind import FrameKind
from .kept import Kept
from .mapframe import MapFrame
from .pixels import content_of, encode, fuller, is_flat, lines_of, to_map
from .planesums import PlaneSums
from .shard import Shard
from .shared import Shared
from .summary import Summary, join, join_agreeing, require_same


class MapSum:
    """A sum of map frames that agree: the sums of their planes, and what else they say.

    Parameters
    ----------
    summary : Summary
        Of which maps this is to be a sum.
    require_weights : bool
        Refuse to add frames with weights to frames without.
    in_maps : bool
        Whether dense sums are to lie in the memory of the maps that `to_maps` gives, which then
        need not be filled: fresh memory costs more than adding. Plain sums only.
    exactness : Exactness, optional
        Make sums that do not depend on the order. Default: plain sums.

    Sign-flip realisations of which `summary` speaks are in `sums.flips`; such sums are plain ones.

    Attributes
    ----------
    sums : PlaneSums
        The sums of the pixels.
    summary : Summary
        Everything else.
    kept : Kept or None
        The exact sums behind the numbers that `to_numbers` made, if they were to be kept.
    shared : Shared or None
        Of a realisation, weights and hits that others have made, and that are theirs, too.
    """

    def __init__(
        self,
        summary: Summary,
        *,
        require_weights: bool = True,
        in_maps: bool = False,
        exactness: Exactness | None = None,
    ):
        self.summary = summary
        self._arithmetic: Arithmetic = Plain()
        if exactness is not None or summary.grids:
            self._arithmetic = Exact(exactness or Exactness(), summary.grids)
        plain, flips = in_maps and exactness is None, summary.n_flips
        self.sums = PlaneSums(summary.stubs, self._arithmetic, in_maps=plain, n_flips=flips)
        self.kept: Kept | None = None
        self.shared: Shared | None = None
        self._noted_kind: FrameKind | None = None  # of the last frame
        self._noted_storages: tuple[str, ...] = ()
        self._require_weights = require_weights

    @classmethod
    def of(
        cls, frame: MapFrame, parts: Parts | None = None, n_flips: int = 0, **options: Any
    ) -> MapSum:
        """An empty sum for frames like this one, or for the frames of a sum that it is."""
        kind = frame.kind
        return cls(Summary.empty(kind.stubs, parts or kind.parts, frame.where, n_flips), **options)

    @property
    def blocks(self) -> Blocks:
        """The sums as ranks join them."""
        return self.sums.blocks

    @blocks.setter
    def blocks(self, blocks: Blocks) -> None:
        self.sums.blocks = blocks

    def check(self, frame: MapFrame) -> None:
        """Find out whether a frame agrees with those that were added.

        Raises
        ------
        MismatchError
            If not.
        InputError
            If it is one more than can be summed exactly.
        """
        mine, there = self.summary, self.summary.where
        for name, grid in mine.grids.items():
            if name in frame.planes:
                refuse_more(f"maps {name}", grid.addends + 1, frame.where)
        kind = frame.kind
        if kind is not self._noted_kind:  # what agreed agrees
            require_agreement(kind.stubs, mine.stubs, frame.where, there)
            require_same_parts(
                kind.parts, mine.parts, frame.where, there, weights=self._require_weights
            )

    def note(self, frame: MapFrame, sign: int = 1, flips: Signs | None = None) -> None:
        """Take over what a frame says beside its pixels; `flips` are its signs in realisations."""
        mine = self.summary
        mine.skipped += frame.skipped
        if frame.kind is not self._noted_kind:
            self._note_kind(frame.kind)
            self._noted_storages = ()
        if frame.storages != self._noted_storages:
            self._note_storages(frame)
        for name, overflow in frame.overflows.items():
            signed = -overflow if frame.subtracts(name, sign) else overflow
            if mine.grids:
                mine.beyond.setdefault(name, []).append(signed)
            else:
                mine.overflow[name] += signed
            if flips is not None:
                of_flips = mine.overflow_of_flips.get(name, np.zeros(len(flips)))
                mine.overflow_of_flips[name] = of_flips + signed * (flips if name in STOKES else 1)
        if mine.grids:
            for name in frame.planes:
                mine.grids[name].addends += 1

    def _note_kind(self, kind: FrameKind) -> None:
        mine = self.summary
        mine.parts |= kind.parts
        for name, stub in kind.stubs.items():
            if name not in mine.stubs:  # weights or hits, which the first frame had not
                self._add_plane(name, stub)
            unset_differences(mine.stubs[name], stub)
        self._noted_kind = kind

    def _note_storages(self, frame: MapFrame) -> None:
        mine = self.summary
        for name, plane in frame.planes.items():
            mine.storage[name] = fuller(mine.storage[name], plane.storage)
            if plane.storage != EMPTY and not is_flat(plane.stub) and plane.stub.shift_ra:
                mine.stubs[name].shift_ra = True
        self._noted_storages = frame.storages

    def expect(self, layouts: Iterable[RunLayout]) -> None:
        """Make room for all these runs at once; see `PlaneSums`."""
        self.sums.expect(layouts)
        self.summary.numbering = self.sums.key

    def add_chunk(self, name: str, chunk: Chunk, *, subtract: bool, where: str = "A frame") -> None:
        """Add pixels of a frame that messages name `where` to a plane."""
        self.sums.add_chunk(name, chunk, subtract=subtract, where=where)
        self.summary.numbering = self.sums.key

    def settle(self) -> None:
        """Add to the realisations what is staged for them."""
        if flips := self.sums.flips:
            flips.forget(self.blocks)

    def prepare(self, summaries: Sequence[Summary], layout: RunLayout | None = None) -> None:
        """Make ready for joining with the sums of other ranks, whose summaries these are.

        Afterwards the blocks of all ranks number their rows and pixels in the same way and have
        the same planes, and `summary` describes the whole.

        Parameters
        ----------
        summaries : list of Summary
        layout : RunLayout or None
            The runs that all ranks have in common, if they have.

        Raises
        ------
        MismatchError, InputError
            The same on all ranks, if the sums do not agree, or are of too many addends.
        """
        joined = join_agreeing(summaries, require_weights=self._require_weights)
        for name, stub in joined.stubs.items():
            if name not in self.summary.stubs:
                self._add_plane(name, stub)
        self._become(joined, layout)

    def require_addable(self, other: Summary) -> None:
        """Find out whether another sum agrees with this one.

        Raises
        ------
        MismatchError
            If not.
        InputError
            If both together are of more addends than can be summed exactly.
        """
        mine = self.summary
        require_same(other, mine, require_weights=self._require_weights)
        if bool(other.grids) != bool(mine.grids):
            exact, plain = (other, mine) if other.grids else (mine, other)
            raise MismatchError(
                f"{exact.where} is a reproducible sum, and {plain.where} is not: they cannot be "
                "made one sum. Use reproducible=True for both, or for none."
            )
        for name in sorted({*mine.grids} & {*other.grids}):
            a, b = mine.grids[name], other.grids[name]
            if not joinable(a, b):
                raise MismatchError(
                    f"{other.where} and {mine.where}: {name} was summed on grids that do not fit "
                    f"each other ({b.limbs} and {a.limbs} limbs from 2**{b.top} and 2**{a.top}). "
                    "Give the same absmax for all that is to become one reproducible sum."
                )
            refuse_more(f"maps {name}", a.addends + b.addends, other.where)

    def absorb(
        self, other: MapSum, *, subtracts: Collection[str] = (), remove: bool = False
    ) -> None:
        """Add another sum to this one: the frames of both are in it then.

        Exact sums are the same, to the bit, as if all frames had been added here; plain sums are
        added as the maps of one frame are. The other sum stays as it is.

        Parameters
        ----------
        other : MapSum
            Numbered in any way.
        subtracts : collection of str
            The planes that are subtracted, as those of a frame that is added with sign -1.
        remove : bool
            Take the other sum away: all of its frames are in this one, and no more afterwards.

        Raises
        ------
        MismatchError, InputError
            As `require_addable`, before anything is changed.
        """
        theirs = other.summary.signed(subtracts, remove=remove)
        self.require_addable(theirs)
        for name, stub in theirs.stubs.items():
            if name not in self.summary.stubs:
                self._add_plane(name, stub)
        self.require_addable(theirs)  # with the grids of planes that are new here
        self._become(join([self.summary, theirs]), other.sums.layout, more=True)
        self._noted_kind, self._noted_storages = None, ()
        if theirs.numbering is None:
            return
        matches = [
            match
            for name in sorted(theirs.stubs)
            for match in self._arithmetic.matched(
                *(name, theirs.grids.get(name)), subtract=name in subtracts, remove=remove
            )
        ]
        with np.errstate(invalid="ignore", over="ignore"):
            self.sums.absorb(other.sums, matches)

    def emptied(self, **options: Any) -> MapSum:
        """An empty sum for frames like those of this one; `options` are those of the class."""
        mine = self.summary
        return MapSum(Summary.empty(mine.stubs, mine.parts, mine.where), **options)

    def rounded(self) -> MapSum:
        """The ordinary numbers of this sum, as a plain one. This one stays as it is."""
        mine = self.summary
        total = MapSum(Summary.empty(mine.stubs, mine.parts, mine.where))
        total.sums.take_over(
            self.sums,
            {
                name: self._arithmetic.to_numbers(self.blocks.planes, name, keep=True)
                for name in mine.stubs
            },
        )
        return total

    def _become(self, joined: Summary, layout: RunLayout | None, *, more: bool = False) -> None:
        """Make all ready for what this summary describes."""
        self._arithmetic.align(self.blocks, joined.grids)
        self.blocks.planes = dict(sorted(self.blocks.planes.items()))
        if joined.numbering is not None:
            self.sums.number_as(joined.numbering, layout, more=more)
        self.summary, self.sums.stubs = joined, joined.stubs

    def to_numbers(self, *, keep: bool = False) -> None:
        """Make ordinary numbers of exact sums, after all were joined. To be called once.

        Parameters
        ----------
        keep : bool
            Keep the exact sums beside them.
        """
        planes, keep = self.blocks.planes, keep and bool(self.summary.grids)
        if keep:
            self.kept = Kept(self.blocks.rows, planes)
        self.blocks.planes = {
            name: self._arithmetic.to_numbers(planes, name, keep=keep)
            for name in sorted(self.summary.stubs)
        } | {name: plane for name, plane in planes.items() if is_wide(name)}

    @property
    def storable(self) -> bool:
        """Whether `contents` can say how the sums are to be stored."""
        stored = self.summary.storage
        return not any(
            stored[name] == RING and stub.nested for name, stub in self.summary.stubs.items()
        )

    def contents(self) -> dict[str, Content]:
        """The pixels of the sums, as they are to be stored: of planes that are not shared yet."""
        layouts, done = LayoutFinder(), self.shared.blobs if self.shared else {}
        names = [name for name in self.summary.stubs if name.partition(".")[0] not in done]
        return {name: self._content(name, layouts) for name in names}

    def to_maps(self) -> dict[str, SkyMap]:
        """The sums as new spt3g maps, one for each plane, stored as the input was."""
        scratch, layouts = bytearray(), LayoutFinder()
        found = dict(self.shared.maps if self.shared else {})
        for name in self.summary.stubs:
            if name not in found:
                found[name] = self._to_map(name, scratch, layouts)
        if self.shared is not None:
            self.shared.maps |= {name: found[name] for name in found if name not in STOKES}
        return found

    def outlines(self) -> dict[str, SkyMap]:
        """The same maps, but empty."""
        return {name: self._outline(name) for name in self.summary.stubs}

    def shard(self) -> Shard:
        """The part of the sums that is held here. Each stub has the overflow of the whole."""
        self.blocks.sort()
        planes: dict[str, Any] = dict(self.blocks.planes)
        return Shard(planes, self.sums.pixels, self.outlines())

    def _add_plane(self, name: str, stub: SkyMap) -> None:
        self.summary.stubs.setdefault(name, stub.clone(False))
        self.summary.storage.setdefault(name, EMPTY)
        self.summary.overflow.setdefault(name, 0.0)
        self.sums.begin(name)

    def _content(self, name: str, layouts: LayoutFinder) -> Content:
        stub, storage = self.summary.stubs[name], self.summary.storage[name]
        if storage == DENSE:
            return Content(storage, self.sums.flat(name)[: stub.size])
        if storage in (SPARSE, RING) and (runs := self.sums.runs(name, lines_of(stub))):
            return Content(storage, np.empty(0), *runs)
        layout = self.sums.layout
        # Runs on rings may be counted from another meridian, because of maps without pixels.
        if layout is not None and storage in (SPARSE, RING) and layout.lines == lines_of(stub):
            return Content(storage, self.sums.flat(name)[: layout.size], layout)
        return content_of(stub, storage, *self.sums.nonzero(name), layouts)

    def _outline(self, name: str) -> SkyMap:
        outline = self.summary.stubs[name].clone(False)
        outline.overflow = self.summary.overflow[name]
        return outline

    def _to_map(self, name: str, scratch: bytearray, layouts: LayoutFinder) -> SkyMap:
        stub, storage = self._outline(name), self.summary.storage[name]
        if storage == RING and stub.nested:
            return encode(stub, storage, *self.sums.nonzero(name))
        content = self._content(name, layouts)
        if storage == DENSE:
            return self._dense_map(name, stub, content.values)
        return to_map(stub, content, scratch)

    def _dense_map(self, name: str, stub: SkyMap, values: NDArray[Any]) -> SkyMap:
        skymap = self.sums.maps.get(name)
        if skymap is None or not np.may_share_memory(np.asarray(skymap), values):
            np.asarray(stub).reshape(-1)[:] = values  # this makes the stub dense
            return stub
        copy_attributes(stub, skymap)  # it was made like that of the first frame
        skymap.overflow = stub.overflow
        if not is_flat(stub):
            skymap.shift_ra = stub.shift_ra
        return skymap
