"""The running sum of map frames: planes over the pixels that were hit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.arithmetic import Arithmetic, Exact, Plain
from ..arrays.blocks import Blocks
from ..arrays.exactness import Exactness, refuse_more
from ..arrays.memory import PRIVATE, Memory
from ..arrays.reduction import SUM
from ..g3files.archive import DENSE, EMPTY, RING, SPARSE
from ..g3files.maps import Content
from ..g3files.runs import RunLayout
from .agreement import Parts, require_agreement, require_same_parts, unset_differences
from .chunks import Chunk, DenseChunk, RunsChunk
from .mapframe import MapFrame
from .numbering import ByPixel, ByRuns, Key, Numbering, Whole
from .pixels import content_of, encode, fuller, is_flat, lines_of, to_map
from .runplaces import RunPlaces
from .shards import Shard
from .summary import Summary, join

_NO_PIXELS = np.empty((0, 1), np.int64)


class MapSum:
    """A sum of map frames, as planes of numpy arrays over the pixels that were hit.

    How pixels are numbered depends on what comes. As long as all maps have the same runs, the sum
    is an array of just these, in their order. If runs differ, or single pixels come, the pixels
    of the map are cut into equal submaps, of which those that were hit are held. From the first
    dense map on, the sum holds all pixels. A sum only ever goes on in this order, and its values
    do not change by it.

    Parameters
    ----------
    summary : Summary
        Of which maps this is to be a sum.
    require_weights : bool
        Refuse to add frames with weights to frames without.
    memory : Memory, optional
        Where the sums lie. Default: memory of this process alone.
    in_maps : bool
        Whether dense sums are to lie in the memory of the maps that `to_maps` gives, which then
        need not be filled: fresh memory costs more than adding. Plain sums only.
    exactness : Exactness, optional
        Make sums that do not depend on the order. Default: plain sums.

    Attributes
    ----------
    blocks : Blocks
        The sums, one plane of float64 for each map of a frame; or, before `settle`, what exact
        sums have instead.
    summary : Summary
        Everything else.
    """

    def __init__(
        self,
        summary: Summary,
        *,
        require_weights: bool = True,
        memory: Memory = PRIVATE,
        in_maps: bool = False,
        exactness: Exactness | None = None,
    ):
        self.summary = summary
        self._arithmetic: Arithmetic = Plain()
        if exactness is not None or summary.grids:
            self._arithmetic = Exact(exactness or Exactness(), summary.grids)
        self._in_maps = in_maps and exactness is None
        self._maps: dict[str, Any] = {}
        self._noted: dict[str, Any] = {}
        self._places = RunPlaces()
        self._require_weights = require_weights
        self._numbering: Numbering | None = None
        self.blocks = Blocks(0, 1, {}, fill=SUM.identity, memory=memory)
        for name in summary.stubs:
            self._arithmetic.begin(self.blocks, name)

    @classmethod
    def of(cls, frame: MapFrame, **options: Any) -> MapSum:
        """An empty sum for frames like this one."""
        empty = Summary(
            stubs={name: stub.clone(False) for name, stub in frame.stubs.items()},
            storage=dict.fromkeys(frame.stubs, EMPTY),
            overflow=dict.fromkeys(frame.stubs, 0.0),
            numbering=None,
            parts=Parts.of(frame.planes),
            where=frame.where,
        )
        return cls(empty, **options)

    @property
    def layout(self) -> RunLayout | None:
        """The runs that all maps have had in common, if that is how pixels are numbered."""
        return self._numbering.layout if isinstance(self._numbering, ByRuns) else None

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
        stubs = frame.stubs
        # Those of most files are the same objects: what agreed agrees.
        if any(self._noted.get(name) is not stub for name, stub in stubs.items()):
            require_agreement(stubs, mine.stubs, frame.where, there)
        require_same_parts(
            Parts.of(frame.planes), mine.parts, frame.where, there, weights=self._require_weights
        )

    def note(self, frame: MapFrame, sign: int = 1) -> None:
        """Take over what a frame says beside its pixels."""
        mine = self.summary
        mine.parts |= Parts.of(frame.planes)
        mine.skipped += frame.skipped
        for name, plane in frame.planes.items():
            if name not in mine.stubs:  # weights or hits, which the first frame had not
                self._add_plane(name, plane.stub)
            if self._noted.get(name) is not plane.stub:
                unset_differences(mine.stubs[name], plane.stub)
                self._noted[name] = plane.stub
            mine.storage[name] = fuller(mine.storage[name], plane.storage)
            if plane.storage != EMPTY and not is_flat(plane.stub) and plane.stub.shift_ra:
                mine.stubs[name].shift_ra = True
            overflow = -plane.overflow if frame.subtracts(name, sign) else plane.overflow
            if not mine.grids:
                mine.overflow[name] += overflow
                continue
            mine.grids[name].addends += 1
            if overflow:
                mine.beyond.setdefault(name, []).append(overflow)

    def expect(self, layouts: Iterable[RunLayout]) -> None:
        """Make room for all these runs at once, because to grow again and again costs more."""
        coming = list({id(layout): layout for layout in layouts}.values())
        mine = self._numbering
        if (isinstance(mine, ByRuns) and not all(map(mine.has, coming))) or (
            mine is None and len(coming) > 1
        ):
            mine = self._renumber(ByPixel(self._stub))
        if isinstance(mine, ByPixel) and coming:
            stretches = [layout.stretches for layout in coming]
            first = np.concatenate([stretch.pixels for stretch in stretches])
            lengths = np.concatenate([stretch.lengths for stretch in stretches])
            self.blocks.insert(mine.rows_of_stretches(first, lengths))

    def add_chunk(self, name: str, chunk: Chunk, *, subtract: bool, where: str = "A frame") -> None:
        """Add pixels of a frame that is named `where` to a plane."""
        numbering, values = self._numbering_for(chunk), chunk.values
        how: Any = {"subtract": subtract, "where": where}
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, as it should be
            if isinstance(chunk, DenseChunk):
                self._arithmetic.add(self.blocks, name, chunk.start, values, **how)
            elif not isinstance(chunk, RunsChunk):
                self.blocks.insert(numbering.rows_of(chunk.pixels))
                places = numbering.places(self.blocks, chunk.pixels)
                add = np.subtract if subtract else np.add
                for flat, part in self._arithmetic.terms(self.blocks, name, values, **how):
                    flat[places] = add(flat[places], part)
            elif isinstance(numbering, ByRuns):
                self._arithmetic.add(self.blocks, name, chunk.group.start, values, **how)
            else:
                self._add_runs(name, chunk, numbering, how)

    def digest(self) -> bytes:
        """A short name of the sums: equal for equal pixels, empty if all are 0."""
        if not any(np.any(plane) for plane in self.blocks.planes.values()):
            return b""
        digest = hashlib.blake2b(self.blocks.rows.tobytes(), digest_size=16)
        digest.update(repr(self.summary.numbering).encode())
        for name in sorted(self.blocks.planes):
            digest.update(name.encode())
            digest.update(self._flat(name).view(np.uint8).data)
        return digest.digest()

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
        mine = self._numbering.key if self._numbering else None
        if joined.numbering is not None and joined.numbering != mine:
            # A rank without maps has nothing to send, so it needs no rows.
            numbering = self._numbering_of(joined.numbering, layout)
            self._renumber(numbering, hold_all=numbering.complete and mine is not None)
        self.summary = joined

    def settle(self) -> None:
        """Make ordinary sums of exact ones, after all were joined. To be called once."""
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
        return {name: self._content(name) for name in self.summary.stubs}

    def to_maps(self) -> dict[str, Any]:
        """The sums as new spt3g maps, one for each plane, stored as the input was."""
        scratch = bytearray()
        return {name: self._to_map(name, scratch) for name in self.summary.stubs}

    def outlines(self) -> dict[str, Any]:
        """The same maps, but empty."""
        return {name: self._outline(name) for name in self.summary.stubs}

    def shard(self) -> Shard:
        """What of the sums is held here. Each stub has the overflow of the whole."""
        planes: dict[str, Any] = dict(self.blocks.planes)
        pixels = self._numbering.pixels(self.blocks.rows) if self._numbering else _NO_PIXELS
        return Shard(planes, pixels, self.outlines())

    def _add_plane(self, name: str, stub: Any) -> None:
        self.summary.stubs.setdefault(name, stub.clone(False))
        self.summary.storage.setdefault(name, EMPTY)
        self.summary.overflow.setdefault(name, 0.0)
        self._arithmetic.begin(self.blocks, name)

    def _flat(self, name: str) -> NDArray[np.float64]:
        return self.blocks.planes[name].reshape(-1)  # type: ignore[return-value]

    @property
    def _stub(self) -> Any:
        return next(iter(self.summary.stubs.values()))

    def _numbering_for(self, chunk: Chunk) -> Numbering:
        """A numbering in which this chunk can be added: the one there is, or one for more maps."""
        mine = self._numbering
        if isinstance(chunk, DenseChunk):
            return mine if isinstance(mine, Whole) else self._renumber(Whole(self._stub))
        if isinstance(chunk, RunsChunk):
            if mine is None:
                return self._renumber(ByRuns(chunk.layout))
            if isinstance(mine, ByRuns) and mine.has(chunk.layout):
                return mine
        if mine is None or isinstance(mine, ByRuns):
            return self._renumber(ByPixel(self._stub))
        return mine

    def _numbering_of(self, key: Key, layout: RunLayout | None) -> Numbering:
        if key == Whole.key:
            return Whole(self._stub)
        if key == ByPixel.key:
            return ByPixel(self._stub)
        if layout is None:
            raise TypeError("a numbering by runs, but no runs")
        return ByRuns(layout)

    def _renumber(self, numbering: Numbering, *, hold_all: bool | None = None) -> Numbering:
        dtypes = {name: plane.dtype for name, plane in self.blocks.planes.items()}
        blocks = Blocks(
            numbering.n_rows, numbering.row_length, dtypes, SUM.identity, self.blocks.memory
        )
        if numbering.complete if hold_all is None else hold_all:
            blocks.insert(np.arange(numbering.n_rows))
        if self._in_maps and isinstance(numbering, Whole):
            self._maps = {name: stub.clone(False) for name, stub in self.summary.stubs.items()}
            shape = (numbering.n_rows, numbering.row_length)
            for name, skymap in self._maps.items():
                blocks.planes[name] = np.asarray(skymap).reshape(shape)  # makes it dense
        if len(self.blocks.rows):
            for name in self.blocks.planes:
                pixels, values = self._nonzero(name)
                blocks.insert(numbering.rows_of(pixels))
                places = numbering.places(blocks, pixels)
                blocks.planes[name].reshape(-1)[places] = values
        self.blocks, self._numbering = blocks, numbering
        self.summary.numbering = numbering.key
        return numbering

    def _add_runs(self, name: str, chunk: RunsChunk, numbering: Numbering, how: Any) -> None:
        """Add runs, each to its place."""
        add = np.subtract if how["subtract"] else np.add
        places, lengths, pixels = self._places.of(chunk, numbering, self.blocks)
        for flat, values in self._arithmetic.terms(self.blocks, name, chunk.values, **how):
            if pixels is not None:
                flat[pixels] = add(flat[pixels], values)
                continue
            start = 0
            for place, length in zip(places.tolist(), lengths.tolist(), strict=True):
                stretch = flat[place : place + numbering.step * length : numbering.step]
                add(stretch, values[start : start + length], out=stretch)
                start += length

    def _nonzero(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers and values of the pixels that are not 0 (by columns in a flat map)."""
        if self._numbering is None:
            return np.empty(0, np.int64), np.empty(0)
        return self._numbering.nonzero(self.blocks, self._flat(name))

    def _content(self, name: str) -> Content:
        stub, storage = self.summary.stubs[name], self.summary.storage[name]
        if storage == DENSE:
            return Content(storage, self._flat(name)[: stub.size])
        layout = self.layout
        # The places on rings may be counted in another way, because of maps without pixels.
        if layout is not None and storage in (SPARSE, RING) and layout.lines == lines_of(stub):
            return Content(storage, self._flat(name)[: layout.size], layout)
        return content_of(stub, storage, *self._nonzero(name))

    def _outline(self, name: str) -> Any:
        outline = self.summary.stubs[name].clone(False)
        outline.overflow = self.summary.overflow[name]
        return outline

    def _to_map(self, name: str, scratch: bytearray) -> Any:
        stub, storage = self._outline(name), self.summary.storage[name]
        if storage == RING and stub.nested:
            return encode(stub, storage, *self._nonzero(name))
        content = self._content(name)
        if storage == DENSE:
            return self._dense_map(name, stub, content.values)
        return to_map(stub, content, scratch)

    def _dense_map(self, name: str, stub: Any, values: NDArray[Any]) -> Any:
        skymap = self._maps.get(name)
        if skymap is None or not np.may_share_memory(np.asarray(skymap), values):
            np.asarray(stub).reshape(-1)[:] = values  # this makes the stub dense
            return stub
        skymap.overflow = stub.overflow
        if not is_flat(stub):
            skymap.shift_ra = stub.shift_ra
        return skymap
