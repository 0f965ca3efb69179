"""Flat-sky maps into FITS files, in two styles.

``spt3g``: an image for each map, as `spt3g.maps.load_skymap_fits` reads them. Values are those of
G3, which are in mK: nothing is rounded.

``enmap``: the first image is (T, Q, U) without weights, in K or uK, as ``pixell.enmap.read_map``
reads it; the inverse covariance (``DIV``, 3 x 3; ``IVAR`` of T alone) and hits (``HITS``) are in
images after it, or in files of their own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..g3files.archive import DENSE
from ..g3files.maps import STOKES
from ..maps import unweighting
from ..maps.agreement import weights_key
from ..maps.mapfile import planes_of
from ..maps.pixels import Plane, whole
from ..pipeline.output import write_output
from ..pipeline.units import where_of
from ..spt3gtypes import Frame
from .images import Written, write_image
from .options import WriteOptions
from .units import COUNT, MAP, WEIGHTED_MAP, WEIGHTS, FileUnit, name_of, unit_for
from .wcs import Card, wcs_cards

Planes = Mapping[str, Plane]

_MATRIX = (("TT", "TQ", "TU"), ("TQ", "QQ", "QU"), ("TU", "QU", "UU"))
_STOKES_AXIS: tuple[Card, ...] = (("CRPIX", 1.0), ("CDELT", 1.0), ("CRVAL", 1.0))


class _Image(NamedTuple):
    """An image to be written: its name, its shape and header, and the planes that it is made of."""

    name: str
    shape: tuple[int, ...]
    cards: list[Card]
    planes: list[str]


def write_flat(file: str, frame: Frame, options: WriteOptions) -> list[str]:
    """Write the maps of a flat-sky frame into a FITS file.

    Parameters
    ----------
    file : str
    frame : G3Frame or StoredFrame
    options : WriteOptions

    Returns
    -------
    list of str
        The files that were written: several with `companions`.

    Raises
    ------
    OutputError
    UsageError
        If FITS has no such projection, or weights are to be removed that are not there.
    """
    where = where_of(frame)
    planes = planes_of(frame, where)
    stub = next(iter(planes.values())).stub
    # Last, so that geometry is in the part of a header that pixell reads.
    about: list[Card] = [("MAPID", str(frame.get("Id", ""))), ("CREATOR", "g3reduce")]
    if options.style == "enmap" or options.companions or options.unweight:
        planes = _unweighted(planes, where)
    if options.style == "spt3g" and not options.companions:
        images = list(_of_spt3g(planes, wcs_cards(stub, where)))
        _write(file, images, planes, "m", about)
        return [file]
    prefix = "" if options.units == "K" else "u"
    images = list(_of_pixell(planes, wcs_cards(stub, where), prefix))
    if not options.companions:
        _write(file, images, planes, prefix, about)
        return [file]
    names = [_companion(file, image.name) for image in images]
    for name, image in zip(names, images, strict=True):
        _write(name, [image], planes, prefix, about)
    return names


def _write(file: str, images: list[_Image], planes: Planes, prefix: str, about: list[Card]) -> None:
    def put(output: Written) -> None:
        for number, image in enumerate(images):
            cards = [*image.cards, ("EXTNAME", image.name), *about]
            pixels = (_pixels(planes, name, prefix) for name in image.planes)
            write_image(output, image.shape, cards, pixels, primary=not number)

    write_output(file, put)


def _pixels(planes: Planes, name: str, prefix: str) -> NDArray[np.float64]:
    """All pixels of a plane, in the unit of the file."""
    plane = planes[name]
    values = whole(plane.chunks(), plane.stub)
    unit = _unit_of(planes, name, prefix)
    if unit is not None:
        unit.from_g3(values)
    return values


def _of_spt3g(planes: Planes, wcs: list[Card]) -> Iterator[_Image]:
    polarized = "U" in planes
    order = [*STOKES, *(name for name in planes if name.startswith("W")), "H"]
    for name in (name for name in order if name in planes):
        plane = planes[name]
        stub, component = plane.stub, name.partition(".")[2]
        cards = [*wcs, ("MAPTYPE", "FLAT"), ("COORDREF", str(stub.coord_ref)), ("POLAR", polarized)]
        # Without it spt3g's reader would give the convention of the map before, with a warning.
        conventions = [str(planes[one].stub.pol_conv) for one in (name, "U") if one in planes]
        known = [one for one in conventions if one in ("IAU", "COSMO")]
        cards += [("POLCCONV", known[0])] if known else []
        unit = _unit_of(planes, name, "m")
        cards += [("BUNIT", name_of(unit, plain=True))] if unit else []
        weighted = planes["T"].stub.weighted if "T" in planes else False
        cards += [("UNITS", str(stub.units)), ("WEIGHTED", weighted), ("ISWEIGHT", bool(component))]
        cards.append(("WTYPE", component) if component else ("POLTYPE", name))
        if math.isfinite(plane.overflow):
            cards.append(("OVERFLOW", float(plane.overflow)))
        cards += [("FLATPOL", stub.flat_pol), ("SPARSE", plane.storage != DENSE)]
        yield _Image(name, tuple(stub.shape), cards, [name])


def _of_pixell(planes: Planes, wcs: list[Card], prefix: str) -> Iterator[_Image]:
    stokes = [name for name in STOKES if name in planes]
    n_y, n_x = planes[stokes[0]].stub.shape
    key = weights_key(planes)
    polarized = "U" in planes
    convention = _convention(planes) if polarized else []
    yield _Image(
        *("MAP", (3, n_y, n_x) if polarized else (n_y, n_x)),
        [*_with_stokes(wcs, int(polarized)), *_unit_cards(planes, "T", prefix), *convention],
        stokes,
    )
    if key is not None:
        unit = _unit_cards(planes, f"{key}.TT", prefix)
        if polarized:
            # Both axes are of Stokes parameters: pixell turns TU and QU with U, and not UU.
            cards = [*_with_stokes(wcs, 2), *unit, *convention]
            matrix = [f"{key}.{component}" for row in _MATRIX for component in row]
            yield _Image("DIV", (3, 3, n_y, n_x), cards, matrix)
        else:
            yield _Image("IVAR", (n_y, n_x), [*wcs, *unit], [f"{key}.TT"])
    if "H" in planes:
        yield _Image("HITS", (n_y, n_x), [*wcs, ("BUNIT", "")], ["H"])


def _with_stokes(wcs: list[Card], n_axes: int) -> list[Card]:
    """The cards of a geometry with axes of Stokes parameters after those of the sky."""
    cards = [("WCSAXES", 2 + n_axes), *wcs[1:3]]
    for axis in range(3, 3 + n_axes):
        cards.append((f"CTYPE{axis}", "STOKES"))
        cards += [(f"{name}{axis}", value) for name, value in _STOKES_AXIS]
    return cards + wcs[3:]


def _convention(planes: Planes) -> list[Card]:
    convention = str(planes["U"].stub.pol_conv)
    if convention not in ("IAU", "COSMO"):
        raise UsageError(
            "The polarization convention of the maps is not set, and pixell would take them for "
            "IAU. Set it (spt3g.maps.SetPolConv), or coadd with pol_conv, before they are written."
        )
    return [("POLCCONV", convention)]


def _unit_cards(planes: Planes, name: str, prefix: str) -> list[Card]:
    unit = _unit_of(planes, name, prefix)
    return [("BUNIT", name_of(unit, plain=True))] if unit else []


def _unit_of(planes: Planes, name: str, prefix: str) -> FileUnit | None:
    """The unit in which a plane is written: of weights, too, that of the map T tells."""
    maps = planes["T"].stub if "T" in planes else planes[name].stub
    if name == "H":
        power = COUNT
    elif name.startswith("W"):
        power = WEIGHTS
    else:
        power = WEIGHTED_MAP if maps.weighted else MAP
    return unit_for(maps.units, power, prefix) if power else None


def _unweighted(planes: Planes, where: str) -> dict[str, Plane]:
    if "T" not in planes or not planes["T"].stub.weighted:
        return dict(planes)
    if weights_key(planes) is None:
        raise UsageError(
            f"{where}: the maps are weighted, and without weights they cannot be divided by these. "
            'Write them as they are: style="spt3g" (--fits-style spt3g).'
        )
    return {**planes, **unweighting.remove(planes).planes}


def _companion(file: str, name: str) -> str:
    base, ending = os.path.splitext(file)
    if ending == ".gz":
        base, ending = os.path.splitext(base)[0], os.path.splitext(base)[1] + ending
    return f"{base}_{name.lower()}{ending}"
