"""The running sum of map frames: planes over the pixels that were hit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.arithmetic import Arithmetic, Exact, Plain
from ..arrays.blocks import Blocks
from ..arrays.exactness import Exactness, refuse_more
from ..g3files.archive import DENSE, EMPTY, RING, SPARSE
from ..g3files.maps import Content
from ..g3files.runs import LayoutFinder, RunLayout
from ..spt3gtypes import SkyMap
from .agreement import copy_attributes, require_agreement, require_same_parts, unset_differences
from .chunks import Chunk
from .framekind import FrameKind
from .mapframe import MapFrame
from .pixels import content_of, encode, fuller, is_flat, lines_of, to_map
from .planesums import PlaneSums
from .summary import Summary, join


@dataclass(frozen=True, repr=False)
class Shard:
    """The pixels of a coadd that one rank owns, after ``result="sharded"``.

    The pixels that were hit are cut into equal stretches. Each is owned by one rank, and the ranks
    own about as many.

    Attributes
    ----------
    planes : dict of str to float64 array, shape (stretches, pixels in one)
        The sums: T, Q, U, the planes of the weights, and the hits, as far as there are any.
    pixels : int64 array, of the same shape
        The numbers of the pixels, as the geometry of the map has them; -1 where the last stretch
        reaches past the end of the map.
    stubs : dict of str to spt3g.maps.G3SkyMap
        An empty map for each plane, with its geometry and attributes.
    """

    planes: dict[str, NDArray[np.float64]]
    pixels: NDArray[np.int64]
    stubs: dict[str, SkyMap]

    def __repr__(self) -> str:
        n_pixels = np.count_nonzero(self.pixels >= 0)
        return f"<Shard of {', '.join(self.planes)}: {n_pixels} pixels>"


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

    Attributes
    ----------
    sums : PlaneSums
        The sums of the pixels.
    summary : Summary
        Everything else.
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
        self.sums = PlaneSums(
            summary.stubs, self._arithmetic, in_maps=in_maps and exactness is None
        )
        self._noted_kind: FrameKind | None = None  # of the last frame
        self._noted_storages: tuple[str, ...] = ()
        self._require_weights = require_weights

    @classmethod
    def of(cls, frame: MapFrame, **options: Any) -> MapSum:
        """An empty sum for frames like this one."""
        kind = frame.kind
        empty = Summary(
            stubs={name: stub.clone(False) for name, stub in kind.stubs.items()},
            storage=dict.fromkeys(kind.stubs, EMPTY),
            overflow=dict.fromkeys(kind.stubs, 0.0),
            numbering=None,
            parts=kind.parts,
            where=frame.where,
        )
        return cls(empty, **options)

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

    def note(self, frame: MapFrame, sign: int = 1) -> None:
        """Take over what a frame says beside its pixels."""
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
        first, *others = summaries
        for other in others:
            require_agreement(other.stubs, first.stubs, other.where, first.where)
            require_same_parts(
                other.parts, first.parts, other.where, first.where, weights=self._require_weights
            )
        joined = join(summaries)
        for name, stub in joined.stubs.items():
            if name not in self.summary.stubs:
                self._add_plane(name, stub)
        self._arithmetic.align(self.blocks, joined.grids)
        self.blocks.planes = dict(sorted(self.blocks.planes.items()))
        if joined.numbering is not None:
            self.sums.number_as(joined.numbering, layout)
        self.summary = joined

    def to_numbers(self) -> None:
        """Make ordinary numbers of exact sums, after all were joined. To be called once."""
        planes = self.blocks.planes
        self.blocks.planes = {
            name: self._arithmetic.to_numbers(planes, name) for name in sorted(self.summary.stubs)
        }

    @property
    def storable(self) -> bool:
        """Whether `contents` can say how the sums are to be stored."""
        stored = self.summary.storage
        return not any(
            stored[name] == RING and stub.nested for name, stub in self.summary.stubs.items()
        )

    def contents(self) -> dict[str, Content]:
        """The pixels of the sums, as they are to be stored."""
        layouts = LayoutFinder()
        return {name: self._content(name, layouts) for name in self.summary.stubs}

    def to_maps(self) -> dict[str, SkyMap]:
        """The sums as new spt3g maps, one for each plane, stored as the input was."""
        scratch, layouts = bytearray(), LayoutFinder()
        return {name: self._to_map(name, scratch, layouts) for name in self.summary.stubs}

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
