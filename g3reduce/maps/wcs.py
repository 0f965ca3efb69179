"""The geometry of flat-sky maps as a world coordinate system (WCS) of FITS, and back.

spt3g and FITS agree on the order of pixels: the first one is that of index 0, its centre is at
``CRPIX = x + 1``, and right ascension falls along x where ``CDELT1`` is negative.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..errors import InputError, OutputError
from ..spt3gtypes import SkyMap

_DEG = core.G3Units.deg
_CODES = {
    "ProjSFL": "SFL",
    "ProjCAR": "CAR",
    "ProjSIN": "SIN",
    "ProjARC": "ARC",
    "ProjSTG": "STG",
    "ProjZEA": "ZEA",
    "ProjTAN": "TAN",
    "ProjCEA": "CEA",
    "ProjBICEP": "CAR",
}
_PROJECTIONS = {code: proj for proj, code in reversed(_CODES.items())}
# Those of FITS whose reference point must be on the equator: elsewhere FITS tilts them.
_CYLINDRICAL = ("SFL", "CAR", "CEA")
_AXES = {
    "Equatorial": ("RA--", "DEC-"),
    "Galactic": ("GLON", "GLAT"),
    "Local": ("RA--", "DEC-"),
}

# So many pixels along each axis are compared, and may differ by this part of a pixel.
_COMPARED, _TOLERANCE = 7, 1e-5

Card = tuple[str, Any]


def has_name(stub: SkyMap) -> bool:
    """Whether FITS has a name for the projection of a flat-sky map."""
    return str(stub.proj) in _CODES


def wcs_cards(stub: SkyMap, where: str) -> list[Card]:
    """The cards that say where the pixels of a flat-sky map are, and what spt3g asks for.

    The pole of zenithal maps is stated (``LONPOLE``): without it, maps centred on the north pole
    are turned by 180 degrees, as those that spt3g itself writes are.

    Parameters
    ----------
    stub : spt3g.maps.FlatSkyMap
    where : str
        How messages name it.

    Raises
    ------
    OutputError
        If FITS has no such projection.
    """
    proj = str(stub.proj)
    code = _CODES.get(proj)
    if code is None:
        raise OutputError(
            f"{where}: FITS has no name for the projection {proj}; expected one of "
            f"{', '.join(_CODES)}. Write it as .g3 or HDF5."
        )
    delta, crpix = stub.delta_center, [stub.x_center + 1, stub.y_center + 1]
    crval = [stub.alpha_center / _DEG, delta / _DEG]
    pole = [180.0, crval[1]]
    if code in _CYLINDRICAL:
        crpix[1] -= (math.sin(delta) if code == "CEA" else delta) / stub.y_res
        crval[1], pole = 0.0, [0.0, 90.0]
    axes = [f"{axis}-{code}" for axis in _AXES[str(stub.coord_ref)]]
    cards: list[Card] = [("WCSAXES", 2)]
    cards += [("CTYPE1", axes[0]), ("CTYPE2", axes[1])]
    cards += [("CRPIX1", crpix[0]), ("CRPIX2", crpix[1])]
    cards += [("CDELT1", -stub.x_res / _DEG), ("CDELT2", stub.y_res / _DEG)]
    cards += [("CRVAL1", crval[0]), ("CRVAL2", crval[1])]
    cards += [("CUNIT1", "deg"), ("CUNIT2", "deg")]
    if proj == "ProjBICEP":
        cards.append(("PC1_1", 1 / math.cos(delta)))
    cards += [("LONPOLE", pole[0]), ("LATPOLE", pole[1])]
    if str(stub.coord_ref) == "Equatorial":
        cards += [("RADESYS", "FK5"), ("EQUINOX", 2000.0)]
    elif str(stub.coord_ref) == "Local":
        cards.append(("RADESYS", "ALTAZ"))
    own = [("ALPHA0", stub.alpha_center / _DEG), ("DELTA0", delta / _DEG)]
    return [*cards, ("PROJ", proj), *own, ("X0", stub.x_center), ("Y0", stub.y_center)]


def geometry_in(header: Any, where: str) -> SkyMap:
    """An empty map whose pixels are where a header says.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of an image whose first two axes are those of the sky.
    where : str
        How messages name it.

    Returns
    -------
    spt3g.maps.FlatSkyMap

    Raises
    ------
    InputError
        If there is no such map: another projection or coordinate system, axes that are turned,
        distortions. The positions of pixels are compared with those that astropy finds.
    """
    shape = int(header["NAXIS2"]), int(header["NAXIS1"])
    return geometry_from(_wcs_in(header, where), shape, where, header)


def geometry_from(
    wcs: Any, shape: tuple[int, int], where: str, own: Mapping[str, Any] | None = None
) -> SkyMap:
    """An empty map whose pixels are where a WCS says.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of two axes.
    shape : (n_y, n_x)
        Of the map.
    where : str
        How messages name it.
    own : mapping, optional
        A header, which may have what spt3g says of the geometry.

    Raises
    ------
    InputError
        See `geometry_in`.
    """
    _require_sky(wcs, where)
    options = {"weighted": False, "coord_ref": _coord_ref(wcs, where)}
    code = wcs.wcs.ctype[0][5:8]
    if code not in _PROJECTIONS:
        raise InputError(
            f"{where}: the projection {code or 'of no name'} is none that spt3g has; expected one "
            f"of {', '.join(_PROJECTIONS)}. Resample it first, with reproject for example.",
            fault=f"the projection {code}",
        )
    scale = np.array(wcs.pixel_scale_matrix)
    turned = max(abs(scale[0, 1]), abs(scale[1, 0])) > 1e-12 * np.abs(scale).max()
    if not turned and scale[0, 0] and scale[1, 1]:
        for found in _candidates(own or {}, wcs, code):
            res = {"res": scale[1, 1] * _DEG, "x_res": -scale[0, 0] * _DEG}
            if str(found["proj"]) == "ProjBICEP":
                res["x_res"] *= math.cos(found["delta_center"])
            stub = maps.FlatSkyMap(*shape[::-1], **res, **found, **options)
            if _same_positions(stub, wcs):
                return stub
    raise InputError(
        f"{where}: the pixels of this {code} image are not where those of any flat-sky map of "
        "spt3g can be (axes that are turned, a pole or reference point elsewhere, distortions). "
        "Resample it first, with reproject for example.",
        fault="a WCS that no flat-sky map has",
    )


def _wcs_in(header: Any, where: str) -> Any:
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that astropy has to mend
        try:
            wcs = WCS(header, naxis=2)
            wcs.wcs.set()
        except Exception as error:  # of many kinds
            reason = str(error).strip().splitlines()[-1:] or [repr(error)]
            raise InputError(f"{where}: its WCS cannot be used ({reason[0]}).") from error
    return wcs


def _require_sky(wcs: Any, where: str) -> None:
    if (wcs.wcs.lng, wcs.wcs.lat) != (0, 1):
        axes = ", ".join(str(name) or "none" for name in wcs.wcs.ctype)
        raise InputError(
            f"{where}: the first two axes are {axes}; expected longitude and latitude on the sky, "
            "such as RA---CAR and DEC--CAR.",
            fault="axes that are not of the sky",
        )


def _coord_ref(wcs: Any, where: str) -> Any:
    system, frame = wcs.wcs.lngtyp.strip(), wcs.wcs.radesys.strip().upper()
    if system == "GLON":
        return maps.MapCoordReference.Galactic
    if system == "RA" and frame == "ALTAZ":
        return maps.MapCoordReference.Local
    if system == "RA" and frame in ("FK5", "ICRS", ""):
        return maps.MapCoordReference.Equatorial
    raise InputError(
        f"{where}: the coordinates are {system} {frame}; spt3g has equatorial (RA and DEC in FK5 "
        "or ICRS), Galactic (GLON, GLAT) and local ones (RA and DEC in ALTAZ).",
        fault=f"coordinates {system} {frame}".strip(),
    )


def _candidates(own: Mapping[str, Any], wcs: Any, code: str) -> Iterator[dict[str, Any]]:
    """Geometries that may be meant: what spt3g has written, then what the WCS itself says."""
    values: list[Any] = [own.get(name) for name in ("ALPHA0", "DELTA0", "X0", "Y0")]
    proj: Any = own.get("PROJ")
    known = isinstance(proj, str) and _CODES.get(proj) == code
    if known and all(isinstance(value, int | float) for value in values):
        yield _geometry(proj, *values)
    crpix, crval = wcs.wcs.crpix, wcs.wcs.crval
    yield _geometry(_PROJECTIONS[code], crval[0], crval[1], crpix[0] - 1, crpix[1] - 1)


def _geometry(proj: str, alpha: float, delta: float, x: float, y: float) -> dict[str, Any]:
    return {
        "proj": maps.MapProjection.names[proj],
        "alpha_center": alpha * _DEG,
        "delta_center": delta * _DEG,
        "x_center": float(x),
        "y_center": float(y),
    }


def _same_positions(stub: SkyMap, wcs: Any) -> bool:
    """Whether pixels all over a map are where astropy finds them."""
    n_y, n_x = stub.shape
    x = np.unique(np.linspace(0, n_x - 1, _COMPARED).astype(int))
    y = np.unique(np.linspace(0, n_y - 1, _COMPARED).astype(int))
    x, y = (axis.ravel() for axis in np.meshgrid(x, y))
    mine = np.array([stub.pixel_to_angle(int(pixel)) for pixel in y * n_x + x]) / _DEG
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")
        theirs = np.array(wcs.all_pix2world(np.stack([x, y], axis=1), 0))
        apart = np.linalg.norm(_directions(mine) - _directions(theirs), axis=1)
    on_sky = np.isfinite(apart)  # beyond the poles, or outside of a disc, there is none
    close = _TOLERANCE * min(abs(stub.x_res), abs(stub.y_res))
    return bool(on_sky.any() and apart[on_sky].max() < close)


def _directions(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    alpha, delta = np.radians(positions).T
    parts = [np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)]
    return np.stack(parts, axis=1)
