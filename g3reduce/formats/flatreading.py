"""Flat-sky maps from FITS files: those of spt3g, and images of (T, Q, U) as pixell has them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..errors import InputError
from ..maps.assumed import Assumed
from ..maps.mapframe import to_frame
from ..maps.mapunits import COUNT, MAP, WEIGHTED_MAP, WEIGHTS, FileUnit, unit_in
from ..maps.wcs import geometry_in
from ..spt3gtypes import Frame, SkyMap
from . import companions
from .entries import put_tables
from .fitsreading import ask_for_units, convention_in, id_in, opened, tables_in
from .images import read_plane

_STOKES = ("T", "Q", "U")
_COMPONENTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")
# No compression that FITS has makes files so many times smaller.
_BEST_COMPRESSION = 2**13

# Which plane of an image of weights is which component, by the shape before the sky.
_LAYOUTS: dict[tuple[int, ...], dict[str, tuple[int, ...]]] = {
    (): {"TT": ()},
    (1,): {"TT": (0,)},
    (1, 1): {"TT": (0, 0)},
    (3,): {"TT": (0,), "QQ": (1,), "UU": (2,)},
    (6,): {component: (number,) for number, component in enumerate(_COMPONENTS)},
    (3, 3): {"TT": (0, 0), "TQ": (0, 1), "TU": (0, 2), "QQ": (1, 1), "QU": (1, 2), "UU": (2, 2)},
}


class Image(NamedTuple):
    """An image of a FITS file.

    Attributes
    ----------
    hdu : astropy.io.fits HDU
    where : str
        How messages name it.
    """

    hdu: Any
    where: str

    @property
    def header(self) -> Any:
        """Its header."""
        return self.hdu.header

    @property
    def before(self) -> tuple[int, ...]:
        """Its shape without the last two axes, which are those of the sky."""
        return tuple(self.hdu.shape[:-2])

    @property
    def name(self) -> str:
        """Its EXTNAME, in capitals."""
        return str(self.header.get("EXTNAME", "")).strip().upper()


def images_in(hdus: Any, file: str) -> list[Image]:
    """The images of a FITS file that is open, without empty ones.

    Parameters
    ----------
    hdus : astropy.io.fits.HDUList
    file : str
        How messages name it.
    """
    found = []
    for number, hdu in enumerate(hdus):
        is_image = getattr(hdu, "is_image", False) or hasattr(hdu, "section")
        if is_image and len(getattr(hdu, "shape", ())) >= 2:
            found.append(Image(hdu, f"{file}, HDU {number}"))
            _require_size(found[-1], file)
    return found


def _require_size(image: Image, file: str) -> None:
    """Refuse an image that is too large for its file, before memory is asked for.

    Raises
    ------
    InputError
    """
    n_bytes = math.prod(image.hdu.shape) * abs(int(image.header["BITPIX"])) // 8
    packed = file.endswith(".gz") or image.hdu.__class__.__name__ == "CompImageHDU"
    there = os.path.getsize(file) * (_BEST_COMPRESSION if packed else 1)
    if n_bytes > there:
        raise InputError(
            f"{image.where}: it is to have the shape {tuple(image.hdu.shape)}, which is "
            f"{n_bytes} bytes, but the file is smaller: it is broken or cut off.",
            fault="an image larger than its file",
        )


def frame_of_images(parts: Any, file: str, assumed: Assumed) -> Frame:
    """The Map frame that the images of a FITS file are.

    Parameters
    ----------
    parts : astropy.io.fits.HDUList
    file : str
        Its name, by which weights and hits in files of their own are found.
    assumed : Assumed
        What holds where headers are silent.

    Raises
    ------
    InputError
        If they are no maps, or it is not known what they mean.
    """
    images = images_in(parts, file)
    if not images:
        raise InputError(
            f"{file}: there is neither an image of the sky nor a HEALPix table in it "
            f"({len(parts)} HDUs).",
            fault="no map in it",
        )
    if any(key in image.header for image in images for key in ("POLTYPE", "ISWEIGHT", "WTYPE")):
        planes = _of_spt3g(images, assumed)
    else:
        planes = _of_pixell(images, file, assumed)
    if not planes:
        raise InputError(f"{file}: there is no map in it.", fault="no map in it")
    frame = to_frame(id_in(images[0].header, file), planes)
    put_tables(frame, tables_in(parts), file)
    return frame


def _unit_of(image: Image, power: int | None, assumed: Assumed) -> FileUnit:
    """The unit of an image; by what it is where the header does not say it."""
    said = image.header.get("BUNIT", image.header.get("TUNIT"))
    if isinstance(said, str):
        return unit_in(said, image.where)
    if assumed.units is None:
        ask_for_units(image.where, "there is no BUNIT")
    unit = unit_in(assumed.units, "units")
    power = MAP if power is None else power
    return FileUnit(unit.kind, power, unit.exponent * power)


def _convention_of(image: Image, assumed: Assumed) -> Any:
    """The polarization convention of an image."""
    named = {"POLCCONV": image.header.get("POLCCONV", image.header.get("POLCONV"))}
    return convention_in(named, assumed, image.where)


def _of_spt3g(images: Sequence[Image], assumed: Assumed) -> dict[str, SkyMap]:
    """The maps of a file as spt3g writes it: an image for each."""
    named = {_component_in(image.header): image for image in images}
    polarized = "U" in named
    key = "Wpol" if polarized else "Wunpol"
    planes = {}
    for (name, component), image in ((_parted(name), image) for name, image in named.items()):
        if name not in (*_STOKES, "H", "W"):
            continue
        header = image.header
        stub = geometry_in(header, image.where)
        power = WEIGHTS if component else COUNT if name == "H" else None
        unit, kind = _unit_of_spt3g(image, power, assumed)
        stub.units = kind
        stub.weighted = name in _STOKES and _is_weighted(header, unit)
        stub.pol_type = maps.MapPolType.names.get(component or name, maps.MapPolType.names["none"])
        if polarized and name != "H":
            stub.pol_conv = _convention_of(image, assumed)
        stub.flat_pol = bool(header.get("FLATPOL", False))
        full = f"{key}.{component}" if component else name
        planes[full] = _map(image, (), stub, unit)
        overflow = header.get("OVERFLOW", 0)
        planes[full].overflow = float(overflow) if isinstance(overflow, int | float) else 0.0
    return planes


def _component_in(header: Any) -> str:
    if header.get("ISWEIGHT") is True:
        component = str(header.get("WTYPE", "TT")).strip()
        return f"W.{component}" if component in _COMPONENTS else ""
    return str(header.get("POLTYPE", "T")).strip()


def _parted(name: str) -> tuple[str, str]:
    first, _, component = name.partition(".")
    return first, component


def _unit_of_spt3g(image: Image, power: int | None, assumed: Assumed) -> tuple[FileUnit, Any]:
    """The unit of the values, and what the map calls it. Those that spt3g names are G3's own."""
    kinds = core.G3TimestreamUnits.names
    named = kinds.get(str(image.header.get("UNITS", "")).strip())
    if named is not None and "BUNIT" not in image.header and "TUNIT" not in image.header:
        return FileUnit("None", COUNT, 0), named
    unit = _unit_of(image, power, assumed)
    return unit, unit.type if named is None else named


def _is_weighted(header: Any, unit: FileUnit) -> bool:
    said = header.get("WEIGHTED")
    return said if isinstance(said, bool) else unit.power == WEIGHTED_MAP


def _of_pixell(images: Sequence[Image], file: str, assumed: Assumed) -> dict[str, SkyMap]:
    """The maps of a file with one image, and what lies beside it."""
    first = images[0]
    order = _stokes_of(first)
    silent_power = WEIGHTED_MAP if companions.is_weighted(file) else MAP
    unit = _unit_of(first, silent_power, assumed)
    if unit.power not in (MAP, WEIGHTED_MAP):
        raise _no_map(first, file, unit)
    geometry = geometry_in(first.header, first.where)
    polarized = "U" in order
    planes = {}
    convention = _convention_of(first, assumed) if polarized else maps.MapPolConv.names["none"]
    for name in sorted(order, key=_STOKES.index):
        stub = geometry.clone(False)
        stub.units, stub.weighted = unit.type, unit.power == WEIGHTED_MAP
        stub.pol_type, stub.pol_conv = maps.MapPolType.names[name], convention
        planes[name] = _map(first, order[name], stub, unit)
    for image in _beside(images, file, ("DIV", "IVAR", "WEIGHTS", "INVCOV"), companions.WEIGHTS):
        planes |= _weights(image, unit, polarized, assumed, convention)
    for image in _beside(images, file, ("HITS",), companions.HITS):
        stub = geometry_in(image.header, image.where)
        stub.units = core.G3TimestreamUnits.names["None"]
        if math.prod(image.before) != 1:
            raise _shape(image, "hits", "one plane")
        planes["H"] = _map(image, (0,) * len(image.before), stub, FileUnit("None", COUNT, 0))
    return planes


def _beside(
    images: Sequence[Image], file: str, names: Sequence[str], suffixes: Sequence[str]
) -> Iterator[Image]:
    """The image of this name after the first one; or that in the file that belongs to this one."""
    inside = next((image for image in images[1:] if image.name in names), None)
    if inside is not None:
        yield inside
    elif (other := companions.companion_of(file, suffixes)) is not None:
        with opened(other) as hdus:
            found = images_in(hdus, other)
            if not found:
                raise InputError(f"{other}: there is no image in it.", fault="no image in it")
            yield found[0]


def _stokes_of(image: Image) -> dict[str, tuple[int, ...]]:
    """Which plane of an image is which Stokes parameter."""
    before, header = image.before, image.header
    if math.prod(before) == 1:
        return {"T": (0,) * len(before)}
    if len(before) != 1:
        raise _shape(image, "maps", "T alone, or T, Q and U")
    numbers = [float(number) for number in range(1, before[0] + 1)]
    if str(header.get("CTYPE3", "")).strip().upper() == "STOKES":
        start, step, at = (header.get(f"{name}3", 1.0) for name in ("CRVAL", "CDELT", "CRPIX"))
        numbers = [start + step * (number - at) for number in numbers]
    if sorted(numbers) != [1, 2, 3]:
        raise _shape(image, "maps", "T alone, or T, Q and U")
    return {_STOKES[int(number) - 1]: (place,) for place, number in enumerate(numbers)}


def _weights(
    image: Image, of_map: FileUnit, polarized: bool, assumed: Assumed, convention: Any
) -> dict[str, SkyMap]:
    layout = _LAYOUTS.get(image.before)
    if layout is None or polarized != ("QQ" in layout):
        wanted = "3 x 3, 6 or 3 planes for T, Q and U" if polarized else "one plane for T"
        raise _shape(image, "weights", wanted)
    unit = _unit_of(image, WEIGHTS, assumed)
    if unit.power != WEIGHTS:
        raise InputError(
            f"{image.where}: the unit of these weights is {image.header.get('BUNIT')!r}; expected "
            "the inverse square of a temperature, such as K^-2.",
            fault="weights in another unit",
        )
    if polarized and "POLCCONV" in image.header and _convention_of(image, assumed) != convention:
        raise InputError(
            f"{image.where}: these weights have another polarization convention than their map "
            f"({image.header['POLCCONV']}).",
            fault="weights in another convention",
        )
    geometry = geometry_in(image.header, image.where)
    key = "Wpol" if polarized else "Wunpol"
    found = {}
    for component in _COMPONENTS if polarized else ("TT",):
        stub = geometry.clone(False)
        stub.units, stub.pol_type = of_map.type, maps.MapPolType.names[component]
        stub.pol_conv = convention
        at = layout.get(component)
        found[f"{key}.{component}"] = stub if at is None else _map(image, at, stub, unit)
    return found


def _map(image: Image, index: tuple[int, ...], stub: SkyMap, unit: FileUnit) -> SkyMap:
    """The map that a plane of an image is, in the units of G3; sparse where that is smaller."""
    values = read_plane(image.hdu, index, image.where)
    unit.to_g3(values)
    made = _filled(stub, values)
    if np.count_nonzero(values) * 2 < values.size:
        made.sparse = True
    return made


def _filled(stub: SkyMap, values: NDArray[np.float64]) -> SkyMap:
    attributes = {
        name: getattr(stub, name)
        for name in (
            *("proj", "alpha_center", "delta_center", "x_res", "x_center", "y_center"),
            *("coord_ref", "units", "pol_type", "pol_conv", "weighted", "flat_pol"),
        )
    }
    return maps.FlatSkyMap(values, stub.y_res, **attributes)


def _no_map(image: Image, file: str, unit: FileUnit) -> InputError:
    what = "weights" if unit.power == WEIGHTS else "no temperatures"
    of = companions.map_of(file)
    advice = f" Name the map itself, {of}: its weights and hits are found." if of else ""
    return InputError(
        f"{image.where}: by their unit ({image.header.get('BUNIT')!r}) these are {what}; expected "
        f"a map.{advice}",
        fault=f"{what}, no map",
    )


def _shape(image: Image, what: str, wanted: str) -> InputError:
    return InputError(
        f"{image.where}: the image of {what} has the shape {tuple(image.hdu.shape)}; expected "
        f"{wanted}, each (n_y, n_x).",
        fault=f"{what} of the shape {tuple(image.hdu.shape)}",
    )
