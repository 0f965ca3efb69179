"""The maps of a frame as numpy arrays, as healpy, astropy and others want them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from spt3g import maps

from ..errors import UsageError
from ..g3files.lines import Index, Values
from ..g3files.maps import STOKES
from ..spt3gmarks import useful
from ..spt3gtypes import Frame, SkyMap
from . import mapframe, unweighting, weighting
from .agreement import weights_key
from .footprints import UNSEEN
from .mapfile import planes_of
from .mapunits import MAP, WEIGHTED_MAP, WEIGHTS, FileUnit, unit_named
from .pixels import Plane, as_points, is_flat, lines_of, merged, whole
from .unweighting import COMPONENTS
from .weighting import at

_COORDS = {"Equatorial": "C", "Galactic": "G", "Local": "L"}


@dataclass(frozen=True, eq=False)
class MapArrays:
    """The maps of a frame as numpy arrays; the arguments of `map_frame` that make it again.

    ``map_frame(**vars(arrays))`` is a frame of the same maps.

    Attributes
    ----------
    T, Q, U : float64 array or None
        HEALPix: shape (npix,), all pixels or those of `pixels`. Flat sky: (n_y, n_x); those of
        `pixels` have the shape (n,).
    weights : float64 array or None
        (6,) and the shape of T: TT, TQ, TU, QQ, QU, UU; without Q and U the shape of T. In the
        inverse square of `units`.
    hits : float64 array or None
        The map H.
    units : str
        The units of the values.
    coord : {"C", "G", "L"} or None
        The coordinate system: equatorial, Galactic or local; None if the frame does not say it.
    pol_conv : {"IAU", "COSMO"} or None
        The convention of polarization.
    weighted : bool
        Whether T, Q and U are multiplied by the weights.
    nside : int or None
        HEALPix.
    pixels : int64 array or None
        The numbers of the pixels, rising, as the map counts them; None if all are there.
    nest : bool
        HEALPix: whether pixels are in NESTED order.
    geometry : spt3g.maps.FlatSkyMap or None
        Flat sky: an empty map, with its ``wcs``.
    map_id : str
        The Id of the frame.
    """

    T: Values | None
    Q: Values | None
    U: Values | None
    weights: Values | None
    hits: Values | None
    units: str
    coord: str | None
    pol_conv: str | None
    weighted: bool
    nside: int | None
    pixels: Index | None
    nest: bool
    geometry: SkyMap | None
    map_id: str


@useful
def map_arrays(
    frame: Frame,
    units: str = "uK",
    *,
    weighted: bool | None = False,
    fill: float | None = None,
    sparse: bool = False,
) -> MapArrays:
    """The maps of a frame as numpy arrays.

    Parameters
    ----------
    frame : spt3g.core.G3Frame
        A Map frame. It is not changed.
    units : str
        As of `map_frame`; ``"none"`` gives the numbers of the frame, in `core.G3Units`.
    weighted : bool or None
        False: T, Q and U without their weights, which is what others mean by a map. True:
        multiplied by the weights. None: as they are.
    fill : float, optional
        What T, Q and U have in pixels that were not observed: whose weights TT are 0 or, of
        polarized maps, singular; without weights, in which T, Q and U are all 0. Default: healpy's
        UNSEEN in HEALPix maps, NaN in flat-sky maps. Weighted maps are left as they are unless
        it is given; then it stands where TT is 0.
    sparse : bool
        Only the pixels in which any map is not 0, and their numbers. Otherwise all pixels; those
        of a map of nside 8192 take 6 GiB for each of T, Q, U and the weights.

    Returns
    -------
    MapArrays

    Raises
    ------
    UsageError
        If it is no frame, or the maps are in other units; or if they are weighted or not, should
        be the other, and there are no weights.

    Examples
    --------
    >>> arrays = map_arrays(coadds["150GHz"], "uK")  # doctest: +SKIP
    >>> healpy.mollview(arrays.T)  # doctest: +SKIP
    """
    if not (hasattr(frame, "type") and hasattr(frame, "keys")):
        raise UsageError(f"A {type(frame).__name__} was given; expected a Map frame.")
    where = "The frame"
    read = mapframe.read(planes_of(frame, where), where, weighted=False)
    planes = read.planes
    stub = next(iter(planes.values())).stub
    planes, is_weighted = _with_weights(planes, weighted, where)
    wanted = _units_of(planes, units, is_weighted)
    pixels, values = _sparse_values(planes) if sparse else (None, _dense_values(planes))
    for name, unit in wanted.items():
        unit.from_g3(values[name])
    _fill(values, fill, is_weighted, np.nan if is_flat(stub) else UNSEEN)
    shape = (-1,) if sparse else stub.shape
    values = {name: one.reshape(shape) for name, one in values.items()}
    key = weights_key(planes)
    components = [values[f"{key}.{one}"] for one in COMPONENTS if f"{key}.{one}" in values]
    weights = np.array(components) if len(components) > 1 else next(iter(components), None)
    return MapArrays(
        **{name: values.get(name) for name in STOKES},
        weights=weights,
        hits=values.get("H"),
        units=units,
        coord=_COORDS.get(str(stub.coord_ref).rpartition(".")[2]),
        pol_conv=_convention(planes),
        weighted=is_weighted,
        nside=None if is_flat(stub) else int(stub.nside),
        pixels=pixels,
        nest=not is_flat(stub) and bool(stub.nested),
        geometry=_geometry(stub) if is_flat(stub) else None,
        map_id=str(frame.get("Id", "")),
    )


def _with_weights(
    planes: dict[str, Plane], wanted: bool | None, where: str
) -> tuple[dict[str, Plane], bool]:
    """The planes with T, Q and U weighted or not, as it is wanted; and whether they are."""
    is_weighted = bool("T" in planes and planes["T"].stub.weighted)
    if wanted is None or wanted == is_weighted or "T" not in planes:
        return planes, is_weighted
    key = weights_key(planes)
    if key is None:
        state, other = ("weighted", "False") if is_weighted else ("not weighted", "True")
        raise UsageError(
            f"{where} has maps that are {state}, and no weights, so that weighted={other} cannot "
            "be had; weighted=None takes them as they are."
        )
    if wanted:
        return planes | weighting.apply(planes, key), True
    return planes | unweighting.remove(planes).planes, False


def _units_of(planes: Mapping[str, Plane], units: str, is_weighted: bool) -> dict[str, FileUnit]:
    """The units in which the values of each plane are wanted."""
    unit = unit_named(units)
    if not unit.power:  # numbers as they are
        return {}
    found = {}
    for name, plane in planes.items():
        if name in STOKES:
            if plane.stub.units != unit.type:
                raise UsageError(
                    f"units is {units!r}, but {name} is in {plane.stub.units} (expected "
                    f'{unit.type}). units="none" gives the numbers as they are.'
                )
            found[name] = unit.of(WEIGHTED_MAP if is_weighted else MAP)
        elif name != "H":
            found[name] = unit.of(WEIGHTS)
    return found


def _dense_values(planes: Mapping[str, Plane]) -> dict[str, Values]:
    return {name: whole(plane.chunks(), plane.stub) for name, plane in planes.items()}


def _sparse_values(planes: Mapping[str, Plane]) -> tuple[Index, dict[str, Values]]:
    stub = next(iter(planes.values())).stub
    points = {name: as_points(plane.chunks(), stub.shape) for name, plane in planes.items()}
    hit = merged(*(found.pixels[found.values != 0] for found in points.values()))
    numbers = lines_of(stub).as_mapped(hit)
    order = np.argsort(numbers, kind="stable")
    return numbers[order], {name: at(hit, found)[order] for name, found in points.items()}


def _fill(
    values: Mapping[str, Values], fill: float | None, is_weighted: bool, usual: float
) -> None:
    """Mark what was not observed."""
    stokes = [values[name] for name in STOKES if name in values]
    if not stokes or (is_weighted and fill is None):
        return
    key = weights_key(values)
    weights = [values[f"{key}.{one}"] for one in COMPONENTS if f"{key}.{one}" in values]
    if not weights:
        unseen = np.logical_and.reduce([one == 0 for one in stokes])
    elif is_weighted:
        unseen = weights[0] == 0
    else:
        unseen = ~unweighting.solvable(weights)
    for one in stokes:
        one[unseen] = usual if fill is None else fill


def _convention(planes: Mapping[str, Plane]) -> str | None:
    if "U" not in planes:
        return None
    known = {maps.MapPolConv.IAU: "IAU", maps.MapPolConv.COSMO: "COSMO"}
    return known.get(planes["U"].stub.pol_conv)


def _geometry(stub: SkyMap) -> SkyMap:
    empty = stub.clone(False)
    empty.weighted = False
    return empty
