"""Comparing files of maps: `compare`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
from spt3g import core

from ..errors import Difference, UsageError
from ..g3files.archive import DENSE
from ..g3files.lines import Index, Values
from ..g3files.maps import STOKES
from ..maps.agreement import geometry_of, is_odd_in_u, is_polarized
from ..maps.pixels import Plane, as_points, is_flat, lines_of, merged, whole
from ..maps.weighting import at
from ..pipeline.ledger import Entry, Ledger
from ..pipeline.ledgerframe import ledger_in
from ..spt3gmarks import useful
from ..spt3gtypes import Frame, SkyMap
from .allmaps import all_planes_of
from .comparison import Comparison, Largest, MapComparison, PlaneComparison
from .sources import Given, Headers, Source, frames_of

# Geometries that went through degrees and back differ in their last bits.
_CLOSE = 1e-12


@useful
def compare(
    a: Source,
    b: Source,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    ledger: bool = False,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> Comparison:
    """Whether two files have the same maps, to the bit, or how far they are from each other.

    Parameters
    ----------
    a, b : name, path, G3Frame, Coadds, or list of these
        Files of any format, Map frames, or coadds. Maps are paired by their Ids; those of the same
        Id, in their order. Where each has one only, these are compared whatever their Ids are.
    rtol, atol : float
        Pixels are the same if they differ by at most `atol` (in `core.G3Units`, also of files in
        other units) plus `rtol` times the larger of both.
    ledger : bool
        Compare ledgers, too: which frames were counted, by their checksums if these are known, with
        which sign.
    pol_conv, coord, units : str, optional
        Those of FITS files that do not say it; see `g3reduce.formats.map_frames_in`.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If a file cannot be read.
    UsageError
        If a tolerance is no number that can be one.

    Notes
    -----
    All maps of a frame count, also those under other names, such as variances. Of their attributes
    there count the geometry, the coordinate system, units and the overflow; of T, Q and U whether
    they are weighted; and what depends on it has its convention of polarization. How maps are
    stored, the sign of a 0 and the bits of a NaN do not, as in `digest`.

    Examples
    --------
    >>> found = compare("monday.g3", "tuesday.g3")  # doctest: +SKIP
    >>> found.same or print(*found.lines(), sep="\\n")  # doctest: +SKIP
    """
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if not (isinstance(tolerance, int | float) and 0 <= tolerance < math.inf):
            raise UsageError(f"{name} is {tolerance!r}; expected a number of 0 or more.")
    headers = Headers(pol_conv, coord, units)
    found = Comparison(rtol=rtol, atol=atol)
    alone: dict[str, list[Given]] = {"a": [], "b": []}
    for mine, theirs in _pairs(a, b, headers):
        if mine and theirs:
            found.maps.append(_compare_maps(mine, theirs, found, ledger))
        elif mine:
            alone["a"].append(mine)
        elif theirs:
            alone["b"].append(theirs)
    if not found.maps and len(alone["a"]) == len(alone["b"]) == 1:
        found.maps.append(_compare_maps(alone["a"][0], alone["b"][0], found, ledger))
    else:
        found.only_a.extend(one.frame_id for one in alone["a"])
        found.only_b.extend(one.frame_id for one in alone["b"])
    return found


_Key = tuple[str, int]


def _pairs(a: Source, b: Source, headers: Headers) -> Iterator[tuple[Given | None, Given | None]]:
    """Maps that belong together, as soon as both are there; then those without a partner.

    Of files that have the same maps in the same order, two at a time are held.
    """
    waiting: tuple[dict[_Key, Given], dict[_Key, Given]] = ({}, {})
    for ones in zip_longest(_numbered(a, headers), _numbered(b, headers)):
        for side, one in enumerate(ones):
            if one is not None:
                waiting[side][one[0]] = one[1]
        for key in [one[0] for one in ones if one is not None]:
            if key in waiting[0] and key in waiting[1]:
                yield waiting[0].pop(key), waiting[1].pop(key)
    yield from ((one, None) for one in waiting[0].values())
    yield from ((None, one) for one in waiting[1].values())


def _numbered(source: Source, headers: Headers) -> Iterator[tuple[_Key, Given]]:
    """Maps, each with its Id and how many of this Id were before."""
    met: Counter[str] = Counter()
    for given in frames_of(source, headers):
        yield (given.frame_id, met[given.frame_id]), given
        met[given.frame_id] += 1


def _compare_maps(a: Given, b: Given, how: Comparison, ledger: bool) -> MapComparison:
    mine, theirs = all_planes_of(a.frame, a.where), all_planes_of(b.frame, b.where)
    attributes = []
    if a.frame_id != b.frame_id:
        attributes.append(Difference("Id", repr(a.frame_id), repr(b.frame_id)))
    attributes += [
        Difference(
            "the map", *(("there", "missing") if name in mine else ("missing", "there")), name
        )
        for name in [*mine, *theirs]
        if (name in mine) != (name in theirs)
    ]
    planes = []
    for name in mine:
        if name in theirs:
            attributes += _attributes_of(name, mine[name], theirs[name])
            if mine[name].stub.compatible(theirs[name].stub):
                planes.append(_compare_planes(name, mine[name], theirs[name], how))
    return MapComparison(
        a.frame_id if a.frame_id == b.frame_id else f"{a.frame_id} and {b.frame_id}",
        tuple(attributes),
        tuple(planes),
        tuple(_compare_ledgers(a, b)) if ledger else (),
    )


def _attributes_of(plane: str, a: Plane, b: Plane) -> Iterator[Difference]:
    if type(a.stub) is not type(b.stub):
        kinds = type(a.stub).__name__, type(b.stub).__name__
        yield Difference("the kind of map", *kinds, plane)
        return
    names = [*geometry_of(a.stub), *_attributes_that_count(plane, a.stub)]
    values = {name: (getattr(a.stub, name), getattr(b.stub, name)) for name in names}
    values["overflow"] = a.overflow, b.overflow
    for name, (mine, theirs) in values.items():
        if not _equal(mine, theirs):
            yield Difference(name, str(mine), str(theirs), plane)


def _attributes_that_count(plane: str, stub: SkyMap) -> Iterator[str]:
    """Of a plane: hits have no convention of polarization, nor are weights weighted."""
    yield from ("coord_ref", "units")
    if plane != "H":
        yield "pol_type"
    if plane in STOKES:
        yield "weighted"
    if plane == "Q" or is_odd_in_u(plane):
        yield "pol_conv"
    if is_polarized(plane) and is_flat(stub):
        yield "flat_pol"


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=_CLOSE, abs_tol=_CLOSE) or (a != a and b != b)
    return bool(a == b)


def _compare_planes(name: str, a: Plane, b: Plane, how: Comparison) -> PlaneComparison:
    pixels, mine, theirs = _values_of(a, b)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(mine - theirs)
    equal = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    n_pixels = int(np.count_nonzero((mine != 0) | (theirs != 0)))
    if equal.all():
        return PlaneComparison(name, n_pixels, 0)
    difference[equal] = 0
    finite = np.isfinite(difference)
    larger = np.maximum(np.abs(mine), np.abs(theirs))
    with np.errstate(invalid="ignore"):  # infinity times 0; these are not finite anyhow
        beyond = ~finite | (difference > how.atol + how.rtol * larger)
    both = finite & (mine != 0) & (theirs != 0)
    relative = np.divide(difference, larger, out=np.zeros_like(larger), where=both)

    def largest(values: Values) -> Largest | None:
        place = int(np.argmax(values))
        if not values[place]:
            return None
        number = int(place if pixels is None else pixels[place])
        at_pixel = _pixel_name(a.stub, number)
        return Largest(float(values[place]), at_pixel, float(mine[place]), float(theirs[place]))

    return PlaneComparison(
        name,
        n_pixels,
        int(np.count_nonzero(beyond)),
        int(np.count_nonzero((mine != 0) & (theirs == 0))),
        int(np.count_nonzero((mine == 0) & (theirs != 0))),
        int(np.count_nonzero(~finite)),
        largest(np.where(finite, difference, 0)),
        largest(relative),
    )


def _values_of(a: Plane, b: Plane) -> tuple[Index | None, Values, Values]:
    """The numbers of pixels, None for all of them in order, and the values of both."""
    if DENSE in (a.storage, b.storage):
        return None, whole(a.chunks(), a.stub), whole(b.chunks(), b.stub)
    points = [as_points(one.chunks(), one.stub.shape) for one in (a, b)]
    hit = merged(points[0].pixels, points[1].pixels)
    return lines_of(a.stub).as_mapped(hit), at(hit, points[0]), at(hit, points[1])


def _pixel_name(stub: SkyMap, number: int) -> str:
    if is_flat(stub):
        y, x = divmod(number, stub.shape[1])
        return f"{y},{x}"
    return str(number)


def _compare_ledgers(a: Given, b: Given) -> Iterator[str]:
    ledgers = [ledger_in(one.frame, one.where) or Ledger() for one in (a, b)]
    if not any(one.entries for one in ledgers):
        yield from _compare_lists(a.frame, b.frame)
        return
    known = [{_key_of(one): one for one in ledger.entries} for ledger in ledgers]
    counts = [Counter(map(_key_of, ledger.entries)) for ledger in ledgers]
    for name, mine, other in (("A", 0, 1), ("B", 1, 0)):
        for key in counts[mine] - counts[other]:
            entry = known[mine][key]
            sign = " with the sign -1" if entry.sign < 0 else ""
            yield f"ledger: only in {name}: {entry.unit or entry.map_id}{sign}"


def _key_of(entry: Entry) -> tuple[Any, ...]:
    mark, unit = entry.fingerprint, entry.unit
    which = mark or ((unit.file, unit.index) if unit else None)
    return which, entry.map_id, entry.observation, entry.sign


def _compare_lists(a: Frame, b: Frame) -> Iterator[str]:
    """Of coadds without a ledger: the files and Ids that they list."""
    for key in ("InputFiles", "InputMapIds"):
        mine, theirs = (_strings(frame, key) for frame in (a, b))
        for name, only in (
            ("A", Counter(mine) - Counter(theirs)),
            ("B", Counter(theirs) - Counter(mine)),
        ):
            yield from (f"{key}: only in {name}: {one}" for one in only)


def _strings(frame: Frame, key: str) -> list[str]:
    value = frame.get(key, None)
    return list(value) if isinstance(value, core.G3VectorString) else []
