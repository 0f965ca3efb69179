"""FITS files opened, and what their headers say of all kinds of maps."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from spt3g import core, maps

from ..errors import InputError, UsageError, about_file
from ..maps.assumed import Assumed, Named
from ..pipeline.units import Unit, set_unit
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame
from .companions import stem_of
from .entries import SCALARS, Table, of_array
from .fingerprints import pixels_fingerprint
from .fitsbytes import BLOCK, KEY, KIND, in_table, unescaped

logger = unit_logger(__name__)

# What astropy raises where a file is not what it should be.
ERRORS = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, EOFError),
    *(AssertionError, MemoryError, RuntimeError, ArithmeticError),
)

_MOST = 999  # axes, and columns, that FITS allows

_SYSTEMS = {"C": "Equatorial", "G": "Galactic", "L": "Local", "E": "Ecliptic"}
_SYSTEM_NAMES = {
    **{"EQUATORIAL": "C", "CELESTIAL": "C", "ICRS": "C", "FK5": "C", "Q": "C", "J2000": "C"},
    **{"GALACTIC": "G", "LOCAL": "L", "ECLIPTIC": "E"},
}


def map_frames_in_fits(file: str, assumed: Assumed) -> Iterator[Frame]:
    """The Map frames of a FITS file; see `g3reduce.formats.map_frames_in`."""
    with about_file(file), opened(file) as parts:
        if any(is_healpix(part.header) for part in parts):
            from .healpixreading import frame_of

            frames = iter([frame_of(parts, file, assumed)])
        else:
            from .flatreading import frame_of_images

            frames = iter([frame_of_images(parts, file, assumed)])
        for index, frame in enumerate(frames):
            frame.fingerprint = pixels_fingerprint(frame, file)
            if file in assumed.named:
                _name(frame, assumed.named[file])
            set_unit(frame, Unit(file, index, fingerprint=frame.fingerprint))
            yield frame


def _name(frame: Frame, named: Named) -> None:
    """Put what is known of a map into its frame."""
    frame.pop("Id", None)
    frame["Id"] = named.map_id
    frame["SourceName"], frame["ObservationID"] = named.source, named.observation
    frame["ObservationStart"] = core.G3Time(int(named.start * core.G3Units.s))


@contextmanager
def opened(file: str) -> Iterator[Any]:
    """A FITS file, as `astropy.io.fits.HDUList`; what is wrong with it becomes an `InputError`."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    if not os.path.exists(file):
        raise InputError(f"{file}: No such file or directory.", fault="missing")
    import warnings

    try:
        with warnings.catch_warnings():
            # Parts that are cut off are warned of, and then read as far as they go.
            warnings.filterwarnings("error", message=".*truncated.*", category=AstropyWarning)
            warnings.filterwarnings("ignore", category=AstropyWarning)
            _require_few_axes(file, 0, 0)
            with fits.open(file, memmap=not file.endswith(".gz")) as parts:
                for number, part in enumerate(parts):  # all headers
                    _require_plausible(part.header, f"{file}, HDU {number}")
                    info = part.fileinfo()
                    _require_few_axes(file, info["datLoc"] + info["datSpan"], number + 1)
                yield parts
    except InputError:
        raise
    except (*ERRORS, fits.VerifyError, AstropyWarning) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{file}: this FITS file cannot be read, it is broken or cut off ({reason}).",
            fault="broken",
        ) from error


def _require_few_axes(file: str, offset: int, number: int) -> None:
    """Refuse a header before astropy reads it, which counts up to the number of axes.

    Raises
    ------
    InputError
    """
    zipped = file.endswith(".gz")
    if zipped and offset:  # it would be decompressed twice
        return
    with gzip.open(file) if zipped else open(file, "rb") as stream:
        stream.seek(offset)
        found = re.search(rb"NAXIS   = *([^ /]*)", stream.read(BLOCK))
    if found and (not found[1].isdigit() or int(found[1]) > _MOST):
        raise InputError(
            f"{file}, HDU {number}: the file is broken here (NAXIS is {found[1]!r}).",
            fault="broken",
        )


def _require_plausible(header: Mapping[str, Any], where: str) -> None:
    """Refuse sizes by which astropy would go round in circles, or ask for all memory there is.

    Raises
    ------
    InputError
    """
    axes = header.get("NAXIS", 0)
    sizes = {"NAXIS": axes, "TFIELDS": header.get("TFIELDS", 0)}
    if isinstance(axes, int) and 0 <= axes <= _MOST:
        sizes |= {f"NAXIS{axis}": header.get(f"NAXIS{axis}", 0) for axis in range(1, axes + 1)}
    sizes |= {name: header.get(name, 0) for name in ("PCOUNT", "GCOUNT")}
    for name, size in sizes.items():
        most = _MOST if name in ("NAXIS", "TFIELDS") else 2**62
        if not isinstance(size, int) or not 0 <= size <= most:
            raise InputError(
                f"{where}: the file is broken here ({name} is {size!r}).", fault="broken"
            )


def is_healpix(header: Mapping[str, Any]) -> bool:
    """Whether a part of a file is a table of HEALPix pixels."""
    if header.get("XTENSION") != "BINTABLE":
        return False
    return str(header.get("PIXTYPE", "")).strip().upper() == "HEALPIX" or "NSIDE" in header


def tables_in(parts: Any) -> Iterator[Table]:
    """The entries of a frame that a file has."""
    for part in parts:
        if not in_table(part.header):
            continue
        columns = {}
        for name in part.columns.names:
            values = of_array(part.data.field(name))
            columns[name] = [unescaped(one) if isinstance(one, str) else one for one in values]
        kind = str(part.header[KIND])
        yield Table(SCALARS if not kind else unescaped(str(part.header[KEY])), kind, columns)


def id_in(header: Mapping[str, Any], file: str) -> str:
    """The Id of a map: what the header says, or what the file is called."""
    said = header.get("MAPID")
    if not isinstance(said, str):
        return stem_of(file)
    try:
        return unescaped(said)
    except ValueError:  # not escaped: of another one
        return said


def coordinates_in(header: Mapping[str, Any], assumed: Assumed, where: str) -> Any:
    """The coordinate system of a map, as spt3g has it.

    Raises
    ------
    InputError
        If it is not known, or is one that spt3g does not have.
    """
    text = str(header.get("COORDSYS", "") or "").strip().upper()
    if not text and "COORDREF" in header:
        text = str(header["COORDREF"]).strip().upper()
    known = _SYSTEM_NAMES.get(text, text)
    if known not in _SYSTEMS:
        if assumed.coord is None:
            said = f"COORDSYS is {text!r}" if text else "there is no COORDSYS"
            _ask(where, f"the coordinate system ({said})", "coord", "C, G or L")
        known = assumed.coord
    if known == "E":
        raise InputError(
            f"{where}: the map is in ecliptic coordinates, which spt3g does not have. Rotate it "
            "first, as with healpy.Rotator."
        )
    return maps.MapCoordReference.names[_SYSTEMS[known]]


def convention_in(header: Mapping[str, Any], assumed: Assumed, where: str) -> Any:
    """The polarization convention of a map, as spt3g has it.

    Raises
    ------
    InputError
        If it is not known.
    """
    text = str(header.get("POLCCONV", "") or "").strip().upper()
    if text not in ("IAU", "COSMO"):
        if assumed.pol_conv is None:
            said = f"POLCCONV is {text!r}" if text else "there is no POLCCONV"
            _ask(where, f"the polarization convention ({said})", "pol_conv", "IAU or COSMO")
        text = assumed.pol_conv
    return maps.MapPolConv.names[text]


def ask_for_units(where: str, said: str) -> NoReturn:
    """Ask for the units of a map.

    Raises
    ------
    InputError
    """
    _ask(where, f"its units ({said})", "units", "K, mK or uK")


def _ask(where: str, what: str, argument: str, choices: str) -> NoReturn:
    raise InputError(
        f"{where}: the file does not say {what}. Nothing is guessed: say {argument}= (or, where "
        f"files are coadded, input_{argument}=), one of {choices}.",
        fault=f"{argument} not said; say input_{argument}=, one of {choices}",
    )


def check_assumed(assumed: Assumed) -> None:
    """Refuse what cannot hold for any file.

    Raises
    ------
    UsageError
    """
    if assumed.units is not None:
        from ..maps.mapunits import MAP, unit_in

        try:
            unit = unit_in(assumed.units, "units")
        except InputError as error:
            raise UsageError(str(error)) from error
        if unit.power not in (MAP, 0):
            raise UsageError(f"units is {assumed.units!r}; expected that of T, such as K or uK.")
