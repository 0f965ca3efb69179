"""Map frames from numpy arrays: of healpy, astropy, pixell, or of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from spt3g import core, maps

from ..choices import MissingPixels
from ..errors import InputError, UsageError, require_choice
from ..g3files.lines import Values
from ..spt3gmarks import useful
from ..spt3gtypes import Frame, SkyMap
from . import footprints
from .agreement import geometry_of
from .footprints import Footprint
from .mapframe import as_pol_conv, to_frame
from .mapunits import MAP, WEIGHTED_MAP, WEIGHTS, FileUnit, unit_named
from .unweighting import COMPONENTS
from .wcs import geometry_from

_COORDS = {
    "C": maps.MapCoordReference.Equatorial,
    "G": maps.MapCoordReference.Galactic,
    "L": maps.MapCoordReference.Local,
}
_NAMES = {"EQUATORIAL": "C", "GALACTIC": "G", "LOCAL": "L"}

# 3x3 matrices whose halves differ by more than rounding are no weights.
_SYMMETRIC = 1e-6


@useful
def map_frame(
    T: ArrayLike,
    Q: ArrayLike | None = None,
    U: ArrayLike | None = None,
    *,
    weights: ArrayLike | Mapping[str, ArrayLike] | None = None,
    hits: ArrayLike | None = None,
    units: str | None = None,
    coord: Any = None,
    pol_conv: Any = None,
    weighted: bool | None = None,
    nside: int | None = None,
    pixels: ArrayLike | None = None,
    nest: bool = False,
    geometry: Any = None,
    missing: MissingPixels = "error",
    map_id: str = "map",
) -> Frame:
    """A Map frame of spt3g from numpy arrays.

    Parameters
    ----------
    T, Q, U : array
        HEALPix: shape (npix,), all pixels, or those of `pixels`. Flat sky: shape (n_y, n_x). They
        may be masked arrays, and are copied.
    weights : array or dict, optional
        The inverse covariance of each pixel. TT alone: the shape of T. With Q and U: (6,) and the
        shape of T, in the order TT, TQ, TU, QQ, QU, UU of spt3g, healpy and TOAST; or (3, 3) and
        the shape of T; or a dictionary with these names. In the inverse square of `units`.
    hits : array, optional
        How many samples are in each pixel.
    units : str
        ``"K"``, ``"mK"``, ``"uK"``, ``"nK"`` (thermodynamic temperature, ``"K_CMB"``), the same
        with ``_RJ``, or ``"none"``: numbers as they are.
    coord : str or spt3g.maps.MapCoordReference
        ``"C"`` (equatorial), ``"G"`` (Galactic) or ``"L"`` (local). Only a WCS, or a map as
        `geometry`, may say it instead.
    pol_conv : {"IAU", "COSMO"}
        The polarization convention of Q and U: maps of healpy are COSMO as a rule.
    weighted : bool
        Whether T, Q and U are multiplied by the weights. To be said if there are weights.
    nside, pixels : int, int array of the shape of T
        HEALPix: the numbers of a part of the pixels, in any order, each once.
    nest : bool
        HEALPix: whether pixels are in NESTED order.
    geometry : spt3g.maps.G3SkyMap or astropy.wcs.WCS
        A map of the same geometry; or the WCS of a flat-sky map. Maps of pixell bring theirs.
    missing : {"error", "drop"}
        What is done about pixels with weights in which T, Q or U is missing: an error; or their
        weights become 0.
    map_id : str
        The Id of the frame.

    Returns
    -------
    spt3g.core.G3Frame
        With ``Id``, T, Q and U, ``Wpol`` or ``Wunpol`` and H. Values are in `core.G3Units`. Maps
        are dense if at least half of the pixels are not 0, and else sparse.

    Raises
    ------
    UsageError
        If something is not said that must be known, or if arrays do not fit each other.

    Notes
    -----
    Missing in T, Q and U are masked values, NaN, and healpy's UNSEEN. The frame has 0 there, in all
    three; and so it has where weights or hits are missing. 0 is a value like any other: what was
    observed is what has weights. Infinite numbers are refused.

    Examples
    --------
    >>> import numpy as np
    >>> sky = np.arange(48.0)  # as healpy.read_map gives it
    >>> frame = map_frame(sky, units="uK", coord="C", map_id="150GHz")
    >>> frame["T"].nside, frame["T"][3] / core.G3Units.uK
    (2, 3.0)
    """
    polarized = _is_polarized(Q, U, pol_conv)
    if not isinstance(weighted, bool) and (weights is not None or weighted is not None):
        raise UsageError(
            f"weighted is {weighted!r}; with weights it must be said whether T, Q and U are "
            "multiplied by them (True) or not (False)."
        )
    if not isinstance(map_id, str):
        raise UsageError(f"map_id is {map_id!r}; expected a string, such as '150GHz'.")
    require_choice("missing", missing, MissingPixels)
    unit = unit_named(units)
    footprint = _footprint(T, nside, pixels, nest, geometry, coord)
    given = {"T": T} | ({"Q": Q, "U": U} if polarized else {})
    planes, absent = _stokes(given, footprint)
    matrix = _weights(weights, polarized, footprint)
    _drop(absent, matrix, missing, footprint)
    if matrix:
        key = "Wpol" if polarized else "Wunpol"
        for name, values in matrix.items():
            unit.of(WEIGHTS).to_g3(values)
            planes[f"{key}.{name}"] = values
    for name in given:
        unit.of(WEIGHTED_MAP if weighted else MAP).to_g3(planes[name])
    if hits is not None:
        planes["H"] = footprint.read(hits, "hits")[0]
    convention = as_pol_conv(pol_conv) if polarized else None
    stubs = {name: _stub(footprint.stub, name, unit, convention, bool(weighted)) for name in planes}
    return to_frame(map_id, footprint.build(planes, stubs))


def _is_polarized(Q: Any, U: Any, pol_conv: Any) -> bool:
    if (Q is None) != (U is None):
        have, lacks = ("U", "Q") if Q is None else ("Q", "U")
        raise UsageError(f"There is {have}, but no {lacks}; expected both or none.")
    if Q is not None and as_pol_conv(pol_conv) is None:
        raise UsageError(
            'pol_conv is None; with Q and U it must be said: "IAU", or "COSMO" (as of healpy\'s '
            "own maps). They differ in the sign of U."
        )
    return Q is not None


def as_coord(coord: Any) -> Any:
    """The coordinate system that an argument stands for, None for none.

    Raises
    ------
    UsageError
        If spt3g has no such system.
    """
    if coord is None or coord in _COORDS.values():
        return coord
    name = coord.upper() if isinstance(coord, str) else ""
    name = _NAMES.get(name, name)
    if name not in _COORDS:
        raise UsageError(
            f'coord is {coord!r}; expected "C" (equatorial), "G" (Galactic) or "L" (local). Rotate '
            "maps in other systems before."
        )
    return _COORDS[name]


def _footprint(
    T: Any, nside: int | None, pixels: Any, nest: bool, geometry: Any, coord: Any
) -> Footprint:
    known = as_coord(coord)
    shape = np.shape(T)
    if geometry is None:
        geometry = getattr(T, "wcs", None)  # of pixell
    if geometry is None:
        if known is None and len(shape) == 1:
            raise _unknown_coord()
        return footprints.healpix(shape, nside, pixels, nest, known)
    if not isinstance(geometry, maps.G3SkyMap):
        if not hasattr(geometry, "celestial"):
            raise UsageError(
                f"geometry is a {type(geometry).__name__}; expected a map of spt3g or a WCS."
            )
        if len(shape) != 2:
            raise UsageError(f"T has the shape {shape}; expected (n_y, n_x) with a WCS.")
        geometry = _geometry_of_wcs(geometry, (shape[0], shape[1]))
    if known is None and geometry.coord_ref not in _COORDS.values():
        raise _unknown_coord()
    if nside not in (None, getattr(geometry, "nside", None)):
        raise UsageError(f"nside is {nside}, but the geometry has {_described(geometry)}.")
    return footprints.like(geometry, shape, pixels, known)


def _geometry_of_wcs(wcs: Any, shape: tuple[int, int]) -> SkyMap:
    try:
        return geometry_from(wcs.celestial, shape, "geometry")
    except InputError as error:  # it is an argument here
        raise UsageError(str(error)) from error


def _described(geometry: SkyMap) -> str:
    return ", ".join(f"{name}={getattr(geometry, name)}" for name in geometry_of(geometry))


def _unknown_coord() -> UsageError:
    return UsageError(
        'coord is None; it must be said: "C" (equatorial), "G" (Galactic) or "L" (local).'
    )


def _stokes(
    given: Mapping[str, Any], footprint: Footprint
) -> tuple[dict[str, Values], dict[str, NDArray[np.bool_]]]:
    """The values of T, Q and U, 0 where any is missing; and where each is missing."""
    read = {name: footprint.read(array, name) for name, array in given.items()}
    absent = {name: missing for name, (_, missing) in read.items()}
    anywhere = np.logical_or.reduce(list(absent.values()))
    planes = {name: values for name, (values, _) in read.items()}
    for values in planes.values():
        values[anywhere] = 0
    return planes, absent


def _drop(
    absent: Mapping[str, NDArray[np.bool_]],
    matrix: Mapping[str, Values],
    missing: MissingPixels,
    footprint: Footprint,
) -> None:
    """Set weights to 0 where T, Q or U is missing, if they may be."""
    for name, where in absent.items():
        for component, values in matrix.items():
            there = np.flatnonzero(where & (values != 0))
            if len(there) and missing == "error":
                raise UsageError(
                    f"{name} is missing (masked, NaN or UNSEEN) in {len(there)} pixels that have "
                    f'weights {component}, first in {footprint.name_of(there)}. missing="drop" '
                    "sets their weights to 0."
                )
            values[there] = 0


def _weights(given: Any, polarized: bool, footprint: Footprint) -> dict[str, Values]:
    """The weights by component, 0 where they are missing."""
    if given is None:
        return {}
    names = COMPONENTS if polarized else ("TT",)
    found = {
        name: footprint.read(array, f"weights {name}")[0]
        for name, array in _by_component(given, names, footprint).items()
    }
    for name in ("TT", "QQ", "UU"):
        negative = np.flatnonzero(found[name] < 0) if name in found else ()
        if len(negative):
            raise UsageError(
                f"weights {name} are negative in {len(negative)} pixels, first in "
                f"{footprint.name_of(np.asarray(negative))}; expected inverse covariances."
            )
    return found


def _by_component(given: Any, names: tuple[str, ...], footprint: Footprint) -> dict[str, Any]:
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise UsageError(
                f"weights has {', '.join(map(str, given)) or 'nothing'}; expected "
                f"{', '.join(names)}."
            )
        return {name: given[name] for name in names}
    shape, own = np.shape(given), footprint.shape
    if shape == (len(names), *own):
        return dict(zip(names, given, strict=True))
    if shape == own and len(names) == 1:
        return {"TT": given}
    if shape == (3, 3, *own) and len(names) > 1:
        _require_symmetric(given)
        return {name: given["TQU".index(name[0])]["TQU".index(name[1])] for name in names}
    expected = f"{own}, or (1,) and this" if len(names) == 1 else f"(6,) or (3, 3), and {own}"
    raise UsageError(f"weights has the shape {shape}; expected {expected}.")


def _require_symmetric(matrix: Any) -> None:
    for row, column in ((0, 1), (0, 2), (1, 2)):
        if not np.allclose(
            matrix[row][column], matrix[column][row], rtol=_SYMMETRIC, atol=0, equal_nan=True
        ):
            raise UsageError("weights of the shape (3, 3, ...) must be symmetric in each pixel.")


def _stub(empty: SkyMap, name: str, unit: FileUnit, convention: Any, weighted: bool) -> SkyMap:
    """An empty map with the attributes of a plane."""
    stub = empty.clone(False)
    is_stokes = name in ("T", "Q", "U")
    stub.units = unit.type if is_stokes else core.G3TimestreamUnits.names["None"]
    stub.weighted = weighted and is_stokes
    component = name.rpartition(".")[2]
    stub.pol_type = maps.MapPolType.names["none" if name == "H" else component]
    stub.pol_conv = maps.MapPolConv.names["none"]
    if convention is not None and name != "H":
        stub.pol_conv = convention
    return stub
