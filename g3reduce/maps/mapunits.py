"""Units as FITS and HDF5 files name them, and as G3 has them: ``K_CMB``, ``uK^-2``, ``1 / K2``."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import InputError, UsageError

# In the units of G3 a temperature of 1 is 1 mK.
_MILLI = -3
_PREFIXES = {"": 0, "m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "k": 3}
_KINDS = {"CMB": "Tcmb", "THERMO": "Tcmb", "": "Tcmb", "RJ": "Trj", "ANT": "Trj"}
_UNIT = re.compile(
    r"(?P<one>1\s*/\s*)?\(?\s*(?P<prefix>[mukµμn]?)K"
    r"[ _]?\(?(?P<kind>CMB|RJ|ANT|THERMO|)\)?\s*\)?"
    r"\s*(?:\^|\*\*)?\s*\(?(?P<power>[+-]?\d*)\)?",
    re.IGNORECASE,
)
_COUNTS = {"", "1", "hits", "hit", "count", "counts", "none", "dimensionless"}

# What the values of a plane are: a temperature to this power.
MAP, WEIGHTED_MAP, WEIGHTS, COUNT = 1, -1, -2, 0


class FileUnit(NamedTuple):
    """A unit of values in a file.

    Attributes
    ----------
    kind : str
        The name of the `spt3g.core.G3TimestreamUnits`: ``"Tcmb"``, ``"Trj"`` or ``"None"``.
    power : int
        1 of temperatures, -1 of weighted maps, -2 of weights, 0 of numbers.
    exponent : int
        Values in the unit of G3 are those in the file times 10 to this power.
    """

    kind: str
    power: int
    exponent: int

    @property
    def type(self) -> Any:
        """The `spt3g.core.G3TimestreamUnits`."""
        return core.G3TimestreamUnits.names[self.kind]

    def of(self, power: int) -> FileUnit:
        """The unit of weighted maps (-1), or of weights (-2), that go with maps in this one."""
        return self._replace(power=power, exponent=self.exponent * power) if self.power else self

    def to_g3(self, values: NDArray[np.float64]) -> None:
        """Make values of a file those of G3, in place, each correctly rounded."""
        _scale(values, self.exponent)

    def from_g3(self, values: NDArray[np.float64]) -> None:
        """Make values of G3 those of a file, in place, each correctly rounded."""
        _scale(values, -self.exponent)


def unit_in(text: str, where: str) -> FileUnit:
    """What the text of a unit means.

    Parameters
    ----------
    text : str
        ``"K"``, ``"uK_CMB"``, ``"K^-2"``, ``"1 / K2"``, ``"hits"``, ``""``: kelvin are of the CMB
        (thermodynamic) unless it says RJ.
    where : str
        How messages name what has it.

    Raises
    ------
    InputError
        If it is none of these.
    """
    bare = text.strip()
    if bare.lower() in _COUNTS:
        return FileUnit("None", COUNT, 0)
    found = _UNIT.fullmatch(bare)
    if found is None:
        raise InputError(
            f"{where}: the unit is {text!r}; expected kelvin with a prefix and a power, such as K, "
            "uK_CMB, K^-1 (weighted maps), uK^-2 (weights), or none.",
            fault=f"the unit {text!r}",
        )
    power = int(found["power"] or 1) * (-1 if found["one"] else 1)
    exponent = (_PREFIXES[found["prefix"].lower()] - _MILLI) * power
    return FileUnit(_KINDS[found["kind"].upper()], power, exponent)


def unit_named(name: Any) -> FileUnit:
    """The unit of T, Q and U that an argument names: ``"uK"``, ``"K_CMB"``, ``"none"``.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        unit = unit_in(name if isinstance(name, str) and name.strip() else "?", "units")
    except InputError:
        unit = None
    if unit is None or unit.power not in (MAP, COUNT):
        raise UsageError(
            f'units is {name!r}; expected "K", "mK", "uK" or "nK" (K_CMB), the same with _RJ, or '
            '"none" for numbers as they are.'
        )
    return unit


def unit_for(kind: Any, power: int, prefix: str) -> FileUnit | None:
    """The unit in which a map is written.

    Parameters
    ----------
    kind : spt3g.core.G3TimestreamUnits
        That of the maps.
    power : int
    prefix : {"", "m", "u"}

    Returns
    -------
    FileUnit or None
        None of what is no temperature: its values are written as G3 has them.
    """
    name = str(kind)
    if name not in ("Tcmb", "Trj"):
        return None
    return FileUnit(name, power, (_PREFIXES[prefix] - _MILLI) * power)


def name_of(unit: FileUnit, *, plain: bool = False) -> str:
    """How a file names a unit: ``"uK_CMB^-2"``, or, plain, without what it is a temperature of."""
    if not unit.power:
        return ""
    exponent = unit.exponent // unit.power + _MILLI
    prefix = next(one for one, size in _PREFIXES.items() if size == exponent)
    base = "" if plain and unit.kind == "Tcmb" else "_CMB" if unit.kind == "Tcmb" else "_RJ"
    return f"{prefix}K{base}" + ("" if unit.power == 1 else f"^{unit.power}")


def _scale(values: NDArray[np.float64], exponent: int) -> None:
    # A power of ten is exact, its inverse is not.
    if exponent > 0:
        values *= 10.0**exponent
    elif exponent < 0:
        values /= 10.0**-exponent
