"""HEALPix maps in FITS tables, as Map frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..errors import InputError
from ..g3files.archive import DENSE, INDEXED, RING
from ..g3files.lines import Rings
from ..g3files.maps import STOKES
from ..g3files.runs import LayoutFinder
from ..maps.assumed import Assumed
from ..maps.mapframe import to_frame
from ..maps.mapunits import COUNT, MAP, WEIGHTED_MAP, WEIGHTS, FileUnit, unit_in
from ..maps.pixels import encode
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame, SkyMap
from . import companions
from .entries import put_tables
from .fitsreading import (
    ask_for_units,
    convention_in,
    coordinates_in,
    id_in,
    is_healpix,
    opened,
    tables_in,
)
from .healpixcolumns import UNSEEN, WEIGHT_UNITS
from .pixeltable import Pixels, Values

logger = unit_logger(__name__)

_PLANES = {
    **dict.fromkeys(("TEMPERATURE", "I_STOKES", "I", "T", "I_MEAN", "INTENSITY"), "T"),
    **dict.fromkeys(("HITS", "HIT", "H", "N_OBS", "NHITS"), "H"),
    **{
        f"{letter}{ending}": letter
        for letter in "QU"
        for ending in ("_POLARISATION", "-POLARISATION", "_POLARIZATION", "_STOKES", "_MEAN", "")
    },
    **{f"{a}{b}": f"W.{a}{b}".replace("I", "T") for a in "IT" for b in ("I", "T", "Q", "U")},
    **{f"{both}": f"W.{both}" for both in ("QQ", "QU", "UU")},
}


_LETTERS = {"Equatorial": "C", "Galactic": "G", "Local": "L"}

# Columns of hits and of weights, by how many there are: the place of each, and its plane.
_AS_HITS = {1: {0: "H"}}
_UPPER = [f"W.{both}" for both in ("TT", "TQ", "TU", "QQ", "QU", "UU")]
_AS_WEIGHTS = {
    1: {0: "W.TT"},
    6: dict(enumerate(_UPPER)),
    9: dict(zip((0, 1, 2, 4, 5, 8), _UPPER, strict=True)),
}

_BOTH = (False, True)


class _Column(NamedTuple):
    """A column of a table, and the plane that it is."""

    place: int
    name: str
    plane: str


def frame_of(parts: Any, file: str, assumed: Assumed) -> Frame:
    """The Map frame of a FITS file.

    Parameters
    ----------
    parts : astropy.io.fits.HDUList
    file : str
    assumed : Assumed
        What holds where headers are silent.

    Raises
    ------
    InputError
        If the file is not what it says, or does not say what must be known.
    """
    numbers = [number for number, part in enumerate(parts) if is_healpix(part.header)]
    part, where = parts[numbers[0]], f"{file}, HDU {numbers[0]}"
    if len(numbers) > 1:
        logger.warning("%s: there are HEALPix maps in several HDUs; the first is taken.", where)
    planes = _Table(part, where, assumed, weighted_by_name=companions.is_weighted(file)).planes()
    if "T" in planes:
        planes |= _beside(file, planes, assumed)
    frame = to_frame(id_in(part.header, file), planes)
    put_tables(frame, tables_in(parts), file)
    return frame


def _beside(file: str, planes: Mapping[str, SkyMap], assumed: Assumed) -> dict[str, SkyMap]:
    """Weights and hits that are in files of their own, where the map has none with it."""
    mine = planes["U" if "U" in planes else "T"]
    # What their headers do not say holds of them as of their map.
    same = assumed._replace(pol_conv=str(mine.pol_conv), coord=_LETTERS[str(mine.coord_ref)])
    found: dict[str, SkyMap] = {}
    for key, suffixes in (("W", companions.WEIGHTS), ("H", companions.HITS)):
        other = companions.companion_of(file, suffixes)
        if other is None or any(name.startswith(key) for name in planes):
            continue
        with opened(other) as parts:
            part = next((one for one in parts if is_healpix(one.header)), None)
            if part is None:
                raise InputError(f"{other}: there is no HEALPix table in it.", fault="no table")
            found |= _Table(part, other, same, role=key).planes()
    return found


class _Table:
    """A table of HEALPix pixels.

    Its `role` is empty, or ``"W"`` or ``"H"``: then all columns are weights or hits, whatever they
    are called.
    """

    def __init__(
        self,
        part: Any,
        where: str,
        assumed: Assumed,
        *,
        role: str = "",
        weighted_by_name: bool = False,
    ):
        self._part, self._where, self._assumed, self._role = part, where, assumed, role
        self._map_power = WEIGHTED_MAP if weighted_by_name else MAP
        self._header: Mapping[str, Any] = part.header
        self._index, self._columns = self._find_columns()
        self._nested = self._ordering()
        self._pixels, self._n_side = self._find_pixels()
        stokes = {one.plane for one in self._columns}
        self._polarized = bool(stokes & {"Q", "U", "W.TU", "W.QU", "W.UU", "W.QQ", "W.TQ"})

    def planes(self) -> dict[str, SkyMap]:
        """The maps, by plane."""
        units = {one.plane: self._unit(one) for one in self._columns}
        weighted = self._is_weighted(units)
        attributes: dict[str, Any] = {
            "coord_ref": coordinates_in(self._header, self._assumed, self._where),
            "nested": self._nested,
        }
        if self._polarized:
            attributes["pol_conv"] = convention_in(self._header, self._assumed, self._where)
        kind = self._kind_of(units)
        values = {one.plane: self._values(one, units[one.plane]) for one in self._columns}
        self._settle_missing(values)
        key = "Wpol" if self._polarized else "Wunpol"
        made = {}
        for name, of_plane in values.items():
            letters = name.removeprefix("W.")
            stub = maps.HealpixSkyMap(
                self._n_side,
                pol_type=maps.MapPolType.names.get(letters, maps.MapPolType.names["none"]),
                units=self._kind_of_plane(name, kind),
                weighted=weighted and name in STOKES,
                **attributes,
            )
            skymap = self._map(stub, self._storage(of_plane), of_plane)
            skymap.overflow = self._overflow(name, units[name])
            made[f"{key}.{letters}" if name.startswith("W.") else name] = skymap
        return made

    def _find_columns(self) -> tuple[int | None, list[_Column]]:
        """The column of pixel numbers, if there is one, and those of values."""
        names = [str(name).strip() for name in self._part.columns.names or []]
        schemes = (
            str(self._header.get("INDXSCHM", "")).strip().upper(),
            str(self._header.get("OBJECT", "")).strip().upper(),
        )
        index = next((at for at, name in enumerate(names) if name.upper() == "PIXEL"), None)
        if index is None and ("EXPLICIT" in schemes or "PARTIAL" in schemes):
            index = 0
        found: dict[str, _Column] = {}
        left: list[str] = []
        known = self._planes_by_place([at for at in range(len(names)) if at != index])
        for place, name in enumerate(names):
            if place == index:
                continue
            plane = known.get(place) if self._role else _PLANES.get(name.upper())
            if self._role and plane is None:
                continue
            if plane is None:
                left.append(name)
            elif plane in found:
                raise InputError(
                    f"{self._where}: {found[plane].name} and {name} are both {plane}; expected one."
                )
            else:
                found[plane] = _Column(place, name, plane)
        if not found:
            raise InputError(
                f"{self._where}: no column is known to be a map; there are "
                f"{', '.join(names) or 'none'}. Expected names such as TEMPERATURE, "
                "Q_POLARISATION, I_STOKES, II or HITS."
            )
        if left:
            logger.warning("%s: columns that are not known are left out: %s", self._where, left)
        return index, list(found.values())

    def _planes_by_place(self, places: Sequence[int]) -> dict[int, str]:
        """Which column is which, where that follows from how many there are."""
        if not self._role:
            return {}
        layout = {"H": _AS_HITS, "W": _AS_WEIGHTS}[self._role].get(len(places))
        if layout is None:
            what = {"H": "hits", "W": "weights"}[self._role]
            raise InputError(
                f"{self._where}: there are {len(places)} columns of {what}; expected "
                f"{'1' if self._role == 'H' else '1, 6 (upper triangle) or 9 (3 x 3)'}.",
                fault=f"{len(places)} columns of {what}",
            )
        return {places[at]: plane for at, plane in layout.items()}

    def _ordering(self) -> bool:
        text = str(self._header.get("ORDERING", "")).strip().upper()
        if text not in ("RING", "NEST", "NESTED"):
            raise InputError(
                f"{self._where}: ORDERING is {text!r}; expected RING or NESTED. Without it the "
                "order of pixels is not known."
            )
        return text != "RING"

    def _find_pixels(self) -> tuple[Pixels | None, int]:
        """The numbers of pixels, None if all are there, and NSIDE."""
        n_values = self._field(self._columns[0].place).size
        n_side = self._header.get("NSIDE")
        if n_side is None and self._index is None:
            n_side = int(np.sqrt(n_values / 12))
        if not isinstance(n_side, int | np.integer) or not 0 < n_side <= 2**29:
            raise InputError(f"{self._where}: NSIDE is {n_side!r}; expected a positive number.")
        n_pixels = 12 * int(n_side) ** 2
        if self._nested and n_side & (n_side - 1):
            raise InputError(f"{self._where}: NSIDE is {n_side}; NESTED needs a power of two.")
        if self._index is None:
            if n_values != n_pixels:
                raise InputError(
                    f"{self._where}: there are {n_values} pixels; the full sky has {n_pixels} "
                    f"(NSIDE {n_side}), and there is no column PIXEL."
                )
            return None, int(n_side)
        pixels = self._field(self._index).reshape(-1)
        if pixels.dtype.kind not in "iu" and not np.array_equal(pixels, np.floor(pixels)):
            raise InputError(f"{self._where}: the numbers of pixels are not whole.")
        pixels = pixels.astype(np.int64)
        if np.any(pixels[1:] <= pixels[:-1]) and len(np.unique(pixels)) < len(pixels):
            raise InputError(f"{self._where}: a pixel is there twice; expected each once.")
        if len(pixels) and not 0 <= pixels.min() <= pixels.max() < n_pixels:
            odd = pixels[(pixels < 0) | (pixels >= n_pixels)][0]
            raise InputError(
                f"{self._where}: there is a pixel {odd}; NSIDE {n_side} has 0 to {n_pixels - 1}."
            )
        return pixels, int(n_side)

    def _unit(self, column: _Column) -> FileUnit:
        """The unit of a column; what is no temperature stays as it is."""
        if column.plane == "H":
            return FileUnit("None", COUNT, 0)
        where = f"{self._where}, {column.name}"
        text = str(self._header.get(f"TUNIT{column.place + 1}", "") or "").strip()
        names = core.G3TimestreamUnits.names
        if text in names or (not text and self._header.get("UNITS") in names):
            return FileUnit(text or str(self._header["UNITS"]), COUNT, 0)  # as spt3g writes them
        if not text and isinstance(self._header.get("TUNIT"), str):
            text = self._header["TUNIT"]
        try:
            unit = unit_in(text, where)
        except InputError:
            unit = None
        if unit is None or unit.kind == "None":
            if unit is not None and text and column.plane.startswith("W."):
                return unit  # weights that are counts
            if self._assumed.units is None:
                ask_for_units(where, f"TUNIT is {text!r}" if text else "there is no TUNIT")
            base = unit_in(self._assumed.units, "units")
            power = WEIGHTS if column.plane.startswith("W.") else self._map_power
            unit = FileUnit(base.kind, power, base.exponent * power)
        expected = (WEIGHTS,) if column.plane.startswith("W.") else (MAP, WEIGHTED_MAP)
        if unit.power not in (*expected, COUNT):
            raise InputError(
                f"{where}: the unit is {text!r}; expected one like "
                f"{'K_CMB^-2' if column.plane.startswith('W.') else 'K_CMB'}."
            )
        return unit

    def _is_weighted(self, units: Mapping[str, FileUnit]) -> bool:
        """Whether maps are multiplied by weights: as the header says, or else their units."""
        said = self._header.get("WEIGHTED")
        powers = {units[name].power for name in STOKES if name in units}
        return bool(said) if isinstance(said, bool | np.bool_) else WEIGHTED_MAP in powers

    def _kind_of(self, units: Mapping[str, FileUnit]) -> Any:
        first = next(units[name] for name in (*STOKES, *units) if name in units)
        return core.G3TimestreamUnits.names[first.kind]

    def _kind_of_plane(self, name: str, kind: Any) -> Any:
        """The kind of units that a plane has in G3: weights have that of T, or what is said."""
        names = core.G3TimestreamUnits.names
        if name == "H":
            return names["None"]
        said = self._header.get(WEIGHT_UNITS) if name.startswith("W.") else None
        return names.get(said, kind)

    def _overflow(self, plane: str, unit: FileUnit) -> float:
        place = next(one.place for one in self._columns if one.plane == plane)
        value = np.array([float(self._header.get(f"TOFLW{place + 1}", 0.0))])
        unit.to_g3(value)
        return float(value[0])

    def _values(self, column: _Column, unit: FileUnit) -> Values:
        """The values of a column in G3 units, in the order of the table; NaN where it is bad."""
        raw = self._field(column.place).reshape(-1)
        if raw.dtype.kind not in "fiub":
            raise InputError(f"{self._where}, {column.name}: expected numbers, not {raw.dtype}.")
        if self._pixels is not None and len(raw) != len(self._pixels):
            raise InputError(
                f"{self._where}: {column.name} has {len(raw)} values for "
                f"{len(self._pixels)} pixels."
            )
        values: Values = raw.astype(np.float64)
        for bad in {UNSEEN, self._bad()}:
            # Single precision has the nearest that it can.
            values[np.abs(values - bad) <= 1e-5 * abs(bad)] = np.nan
        unit.to_g3(values)
        return values

    def _bad(self) -> float:
        bad = self._header.get("BAD_DATA")
        return float(bad) if isinstance(bad, float | int) and abs(bad) > 1e20 else UNSEEN

    def _settle_missing(self, values: dict[str, Values]) -> None:
        """Make pixels 0 that nothing was measured in: those that are bad, where no weight is.

        Where there is a weight, a map stays NaN: the pixel must not count as a measurement of 0.
        And where there is a value, so does a bad weight: it must not count as one without weight.
        """
        known = {name: np.nan_to_num(of_plane) != 0 for name, of_plane in values.items()}
        measured = np.logical_or.reduce([known[name] for name in STOKES if name in known])
        for name, of_plane in values.items():
            bad = np.isnan(of_plane)
            if name in STOKES and "W.TT" in known:
                bad &= ~known["W.TT"]
            elif name.startswith("W"):
                bad &= ~measured
            of_plane[bad] = 0.0

    def _storage(self, values: Values) -> str:
        if self._pixels is None and 2 * np.count_nonzero(values) > len(values):
            return DENSE
        return INDEXED if self._nested else RING

    def _map(self, stub: SkyMap, storage: str, values: Values) -> SkyMap:
        if storage == DENSE:
            np.asarray(stub)[:] = values
            return stub
        pixels = self._pixels
        held = np.flatnonzero(values)
        values = values[held]
        pixels = held if pixels is None else pixels[held]
        if not len(pixels):
            return stub
        if np.any(pixels[1:] <= pixels[:-1]):
            order = np.argsort(pixels, kind="stable")
            pixels, values = pixels[order], values[order]
        if storage == RING:
            stub.shift_ra = _is_shorter_shifted(self._n_side, pixels)
        return encode(stub, storage, pixels, values)

    def _field(self, place: int) -> NDArray[Any]:
        found: NDArray[Any] = np.asarray(self._part.data.field(place))
        return found


def _is_shorter_shifted(n_side: int, pixels: Pixels) -> bool:
    """Whether rings take less room if they are counted from half-way round."""
    sizes = [LayoutFinder().find(Rings(n_side, shifted), pixels)[0].size for shifted in _BOTH]
    return sizes[1] < sizes[0]
