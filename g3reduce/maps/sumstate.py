"""The state of a running sum as entries of a frame, from which it can be taken up again.

The frame has, beside the maps or empty ones:

``SumState``
    A text in JSON: the version of this form, how pixels are numbered, and all of `Summary` but the
    maps.
``SumRows``
    The rows that are held, as stretches: the first row of each, then the length of each. Pixel
    ``n`` of a numbering is in row ``n // row_length``.
``SumRuns``
    If pixels are numbered by runs: whether these are counted from half-way round, the first line,
    then where the run of each line starts, then the length of each.
``Sum.T``, ``Sum.Wpol.TT``, ...
    The sums of a plane over these rows, as float64; or, of an exact one, its limbs ``Sum.T#0``,
    ``Sum.T#1``, ... as int64, and in ``Sum.T#n`` the codes of values that were not finite.

All are vectors and texts of spt3g.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..arrays.exact import LOWEST, MOST_ADDENDS, WIDTH
from ..arrays.exactness import Grid
from ..errors import InputError
from ..g3files.archive import DENSE, EMPTY, INDEXED, RING, SPARSE
from ..g3files.fileframe import SPT3G_ERRORS
from ..g3files.lines import Columns, Rings
from ..g3files.runcopier import HEADERS
from ..g3files.runs import RunLayout
from ..spt3gtypes import Frame, SkyMap
from .agreement import Parts
from .kept import Kept
from .mapfile import planes_of
from .mapsum import MapSum
from .numbering import ByPixel, ByRuns, Numbering, Whole
from .pixels import is_flat, lines_of
from .storedframe import StoredFrame
from .summary import Summary

TEXT, ROWS, RUNS, PLANE = "SumState", "SumRows", "SumRuns", "Sum."

_VERSION = 1
_HIGHEST_TOP = 2**12
_STORAGES = {True: {EMPTY, SPARSE, DENSE}, False: {EMPTY, INDEXED, RING, DENSE}}

Values = dict[str, "str | NDArray[Any]"]


def values_of(total: MapSum) -> Values:
    """The entries that hold a sum, but for the maps. Arrays are its own: write them at once."""
    rows, planes = total.kept or Kept(total.blocks.rows, total.blocks.planes)
    summary, layout = total.summary, total.sums.layout
    text = {
        "version": _VERSION,
        "order": None if total.sums.key is None else total.sums.key[0],
        "row_length": total.blocks.row_length,
        "planes": list(summary.stubs),
        "storage": summary.storage,
        "overflow": {
            name: summary.beyond.get(name, []) if summary.grids else [summary.overflow[name]]
            for name in summary.stubs
        },
        "grids": {
            name: [grid.top, grid.limbs, grid.addends, grid.special]
            for name, grid in summary.grids.items()
        },
        "complete": None if summary.parts.complete is None else sorted(summary.parts.complete),
        "hits_apart": summary.parts.hits_apart,
        "skipped": summary.skipped,
        "where": summary.where,
    }
    values: Values = {TEXT: json.dumps(text), ROWS: _stretches(rows)}
    if layout is not None:
        begin = [int(isinstance(layout.lines, Rings) and layout.lines.shifted), layout.offset]
        values[RUNS] = np.concatenate([begin, layout.starts, layout.lengths])
    return values | {PLANE + name: plane for name, plane in planes.items()}


def has_sum(frame: Frame) -> bool:
    """Whether there is a sum in a frame that can be taken up."""
    return TEXT in frame


class SumState:
    """The sum that a frame holds. It is looked at with suspicion: anybody may have written it.

    Parameters
    ----------
    frame : G3Frame or StoredFrame
    where : str
        How messages name it.

    Attributes
    ----------
    summary : Summary
        All of it but the pixels.

    Raises
    ------
    InputError
        If it holds none, one of a newer version, or what cannot be one.
    """

    def __init__(self, frame: Frame, where: str):
        self._frame = frame
        self._where = where
        self._text = self._parsed()
        maps = {name: plane.stub for name, plane in planes_of(frame, where).items()}
        names = list(self._strings("planes", self._take("planes", list)))
        self._require(set(names) == set(maps), "its planes are not those of its maps")
        self._stubs: dict[str, SkyMap] = {name: maps[name].clone(False) for name in names}
        self.summary = self._summary()

    def load(self) -> MapSum:
        """The sum itself.

        Raises
        ------
        InputError
            If it cannot be one.
        """
        total = MapSum(self.summary)
        numbering, planes = self._numbering(), total.blocks.planes
        if numbering is None:
            return total
        rows = self._rows(numbering)
        shape = len(rows), numbering.row_length
        loaded = {}
        for name, plane in planes.items():
            values = self._numbers(PLANE + name, plane.dtype)
            self._require(len(values) == shape[0] * shape[1], f"{PLANE}{name} has another length")
            loaded[name] = values.reshape(shape)
            if plane.dtype.kind == "i":
                self._require_in_range(name, loaded[name], total.summary)
        total.sums.restore(numbering, rows, loaded)
        total.summary.numbering = numbering.key
        return total

    def _parsed(self) -> dict[str, Any]:
        if TEXT not in self._frame:
            raise self._refused(f"there is no {TEXT}")
        try:
            text = self._frame[TEXT]
        except SPT3G_ERRORS as error:
            raise self._refused(f"{TEXT} cannot be read") from error
        self._require(isinstance(text, str), f"{TEXT} is no text")
        try:
            text = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._refused(f"{TEXT} is no JSON: {error}") from error
        self._require(isinstance(text, dict), f"{TEXT} is no object")
        if text.get("version") != _VERSION:
            raise InputError(
                f"{self._where}: the state of a sum has version {text.get('version')!r}; this "
                f"g3reduce knows version {_VERSION}. Use the g3reduce that wrote it, or a newer "
                "one, or coadd the original files."
            )
        return dict(text)

    def _summary(self) -> Summary:
        storage = self._by_plane("storage", self._take("storage", dict))
        found = self._by_plane("overflow", self._take("overflow", dict))
        overflow = {name: self._floats("overflow", found[name]) for name in self._stubs}
        grids = self._take("grids", dict)
        if grids:
            grids = {
                name: self._grid(grid) for name, grid in self._by_plane("grids", grids).items()
            }
        for name, stub in self._stubs.items():
            self._require(storage[name] in _STORAGES[is_flat(stub)], "its storage is unknown")
            if not grids:
                self._require(len(overflow[name]) == 1, "it has several overflows")
            stub.overflow = 0.0
        complete = self._take("complete", list | None)
        return Summary(
            stubs=self._stubs,
            storage=storage,
            overflow={name: 0.0 if grids else overflow[name][0] for name in self._stubs},
            numbering=None,
            parts=Parts(
                None if complete is None else frozenset(self._strings("complete", complete)),
                self._take("hits_apart", bool),
            ),
            where=self._take("where", str),
            grids=grids,
            beyond={name: one for name, one in overflow.items() if one} if grids else {},
            skipped=self._take("skipped", int),
        )

    def _grid(self, grid: Any) -> Grid:
        self._require(isinstance(grid, list) and len(grid) == 4, "a grid has not four numbers")
        top, limbs, addends, special = grid
        self._require(
            all(type(x) is int for x in (top, limbs, addends))
            and isinstance(special, bool)
            and LOWEST <= top <= _HIGHEST_TOP
            and limbs in (2, 3)
            and 0 <= addends <= MOST_ADDENDS,
            f"there is no grid such as {grid}",
        )
        return Grid(top, limbs, addends, special)

    def _numbering(self) -> Numbering | None:
        order = self._take("order", str | None)
        stub = next(iter(self._stubs.values()))
        numbering: Numbering | None = None
        if order == Whole.key[0]:
            numbering = Whole(stub)
        elif order == ByPixel.key[0]:
            numbering = ByPixel(stub)
        elif order is not None:
            self._require(order == "runs", f"there is no order {order!r}")
            numbering = ByRuns(self._layout(stub))
        if numbering is not None:
            found = self._take("row_length", int)
            self._require(found == numbering.row_length, f"its rows have {found} pixels")
        return numbering

    def _layout(self, stub: SkyMap) -> RunLayout:
        runs = self._numbers(RUNS, np.dtype(np.int64))
        self._require(len(runs) >= 2 and len(runs) % 2 == 0, f"{RUNS} has {len(runs)} numbers")
        (shifted, offset), starts, lengths = runs[:2].tolist(), *np.split(runs[2:], 2)
        self._require(
            shifted in (0, 1)
            and offset >= 0
            and bool((lengths >= 0).all())
            and bool((np.abs(starts) < 2**31).all()),
            f"{RUNS} are no runs",
        )
        lines = lines_of(stub)
        if not isinstance(lines, Columns):
            lines = Rings(lines.nside, bool(shifted))
        headers = np.zeros(len(starts), HEADERS)
        headers["start"], headers["length"] = starts, lengths
        try:
            return RunLayout(lines, offset, headers)
        except InputError as error:
            raise self._refused(str(error)) from error

    def _rows(self, numbering: Numbering) -> NDArray[np.int64]:
        stretches = self._numbers(ROWS, np.dtype(np.int64))
        self._require(len(stretches) % 2 == 0, f"{ROWS} has {len(stretches)} numbers")
        first, lengths = np.split(stretches, 2)
        n_rows = numbering.n_rows
        self._require(
            bool(((first >= 0) & (lengths > 0) & (lengths <= n_rows - first)).all())
            and int(lengths.sum()) <= n_rows,
            f"{ROWS} are not rows of such a map",
        )
        before = np.cumsum(lengths) - lengths
        rows = np.repeat(first - before, lengths) + np.arange(lengths.sum())
        self._require(len(np.unique(rows)) == len(rows), "a row is there twice")
        self._require(not numbering.complete or len(rows) in (0, n_rows), "rows are missing")
        return rows

    def _numbers(self, key: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        self._require(key in self._frame, f"there is no {key}")
        values = _vector(self._frame, key)
        if values is None or values.dtype != dtype:
            raise self._refused(f"{key} is no vector of {dtype}")
        return values

    def _require_in_range(self, name: str, limbs: NDArray[Any], summary: Summary) -> None:
        """Refuse integers that as many frames cannot have made: they might overflow."""
        plane, _, kind = name.partition("#")
        addends = summary.grids[plane].addends
        most = addends << (WIDTH - 1) if kind != "n" else (2**63 - 1)
        least = -most if kind != "n" else 0
        self._require(
            not limbs.size or (limbs.min() >= least and limbs.max() <= most),
            f"{PLANE}{name} has numbers that {addends} frames cannot have made",
        )

    def _by_plane(self, key: str, found: Mapping[Any, Any]) -> dict[str, Any]:
        self._require(set(found) == set(self._stubs), f"{key} is of other planes")
        return dict(found)

    def _floats(self, key: str, found: Any) -> list[float]:
        right = isinstance(found, list) and all(type(x) in (int, float) for x in found)
        self._require(right, f"{key} has something else than numbers")
        return [float(x) for x in found]

    def _strings(self, key: str, found: list[Any]) -> Iterator[str]:
        self._require(all(isinstance(x, str) for x in found), f"{key} has no names")
        yield from found

    def _take(self, key: str, kind: Any) -> Any:
        """An item of the text."""
        found = self._text.get(key)
        right = isinstance(found, kind) and (kind is not int or not isinstance(found, bool))
        self._require(key in self._text and right, f"{key} is missing, or of another kind")
        return found

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise self._refused(problem)

    def _refused(self, problem: str) -> InputError:
        return InputError(f"{self._where}: this is no state of a sum of maps ({problem}).")


def _vector(frame: Frame, key: str) -> NDArray[Any] | None:
    """A vector of numbers in a frame; None for something else."""
    if isinstance(frame, StoredFrame):
        return frame.numbers(key)
    try:
        values = frame[key]
    except SPT3G_ERRORS:
        return None
    if not isinstance(values, core.G3VectorDouble | core.G3VectorInt):
        return None
    return np.asarray(values)


def _stretches(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first row of each stretch of consecutive ones, then the length of each."""
    begins = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1)
    return np.concatenate([rows[begins], np.diff(begins, append=len(rows))])
