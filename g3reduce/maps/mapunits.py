"""Units of maps by the names that people and FITS headers give them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from spt3g import core

from ..errors import UsageError

# Names of spt3g's kinds of unit; the one for "no unit" is a word of Python.
_KINDS = dict(core.G3TimestreamUnits.names)

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e-3, "u": 1e-6, "mu": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9}
_TEMPERATURE = re.compile(rf"({'|'.join(_PREFIXES)})K(?:[_ ]?(CMB|RJ))?", re.IGNORECASE)

_EXPECTED = '"K", "mK", "uK" or "nK" (K_CMB), the same with _RJ, or "none" for numbers as they are'


class Unit(NamedTuple):
    """A unit of the values of T, Q and U.

    Attributes
    ----------
    scale : float
        How much of spt3g's `G3Units` it is: values times this are in these.
    kind : spt3g.core.G3TimestreamUnits
        What maps in it say in their attribute ``units``.
    """

    scale: float
    kind: Any


def unit_of(name: Any) -> Unit:
    """The unit of a name, such as ``"uK"``, ``"K_CMB"`` or ``"mK_RJ"``.

    Weights are in its inverse square, and maps that are multiplied by them in its inverse.

    Raises
    ------
    UsageError
        Unless it is the name of a unit.
    """
    if isinstance(name, str) and name.strip().lower() == "none":
        return Unit(1.0, _KINDS["None"])
    found = _TEMPERATURE.fullmatch(name.strip()) if isinstance(name, str) else None
    prefix = found[1] if found and found[1] in _PREFIXES else None  # "M" is not "m"
    if found is None or prefix is None:
        raise UsageError(f"units is {name!r}; expected {_EXPECTED}.")
    kind = "Trj" if (found[2] or "").upper() == "RJ" else "Tcmb"
    return Unit(_scale(prefix), _KINDS[kind])


def _scale(prefix: str) -> float:
    units = {"m": core.G3Units.mK, "u": core.G3Units.uK, "n": core.G3Units.nK}
    prefix = {"mu": "u", "µ": "u", "μ": "u"}.get(prefix, prefix)
    return float(units.get(prefix, _PREFIXES[prefix] * core.G3Units.K))
