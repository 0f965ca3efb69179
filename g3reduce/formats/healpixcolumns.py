"""What the columns of a HEALPix table hold: names, units and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import OutputError, UsageError
from ..g3files.maps import STOKES
from ..maps.agreement import weights_key
from ..maps.mapunits import COUNT, MAP, WEIGHTED_MAP, WEIGHTS, FileUnit, name_of, unit_for
from ..maps.unweighting import COMPONENTS, divide
from .options import WriteOptions
from .pixeltable import PixelTable, Values

# What a pixel has in which nothing was measured.
UNSEEN = -1.6375e30

# The card that says what spt3g calls the units of weights.
WEIGHT_UNITS = "WUNITS"

# As healpy names them; weights as the upper triangle of the matrix of I, Q and U.
_NAMES = {"T": "TEMPERATURE", "Q": "Q_POLARISATION", "U": "U_POLARISATION", "H": "HITS"}
_OF_WEIGHTS = dict(zip(COMPONENTS, ("II", "IQ", "IU", "QQ", "QU", "UU"), strict=True))
_PREFIXES = {"K": "", "mK": "m", "uK": "u"}


class MapColumn:
    """A column of values.

    Parameters
    ----------
    plane : str
    unit : FileUnit or None
        None: as G3 has them, without a unit.
    plain : bool
        Whether the unit is to be named without what it is a temperature of: ``K^-2``, which
        astropy, and so TOAST, understands.

    Attributes
    ----------
    plane, unit
        As above.
    name, unit_name : str
        As the file has them.
    """

    def __init__(self, plane: str, unit: FileUnit | None, *, plain: bool = False):
        self.plane, self.unit = plane, unit
        self.name = _NAMES.get(plane) or _OF_WEIGHTS[plane.split(".")[1]]
        self.unit_name = name_of(unit, plain=plain) if unit is not None else ""

    @property
    def is_weight(self) -> bool:
        """Whether this is one of the weights."""
        return self.plane.startswith("W")

    @property
    def fill(self) -> float:
        """What pixels have that were not hit."""
        return UNSEEN if self.plane in STOKES else 0.0


class MapColumns:
    """The columns of a map, and how their values come from those of its planes.

    Parameters
    ----------
    table : PixelTable
    options : WriteOptions
    planes : list of str
        Those that are written.
    where : str
        How messages name the file.

    Attributes
    ----------
    columns : list of MapColumn
    weighted : bool
        Whether T, Q and U are multiplied by the weights, as they are written.
    divides : bool
        Whether they are divided by these for that.
    weights : list of str
        The planes by which they can be.

    Raises
    ------
    OutputError
        If weights are to be divided out, and there are none.
    """

    def __init__(self, table: PixelTable, options: WriteOptions, planes: Sequence[str], where: str):
        stubs = table.stubs
        self._stokes = [name for name in STOKES if name in stubs]
        key = weights_key(stubs)
        needed = [f"{key}.{one}" for one in (COMPONENTS if "Q" in stubs else ("TT",))]
        self.weights = needed if key and all(name in stubs for name in needed) else []
        was_weighted = "T" in stubs and bool(stubs["T"].weighted)
        self.divides = was_weighted and (options.unweight or options.companions)
        if self.divides and not self.weights:
            raise OutputError(
                f"{where}: the maps are weighted, and there are no weights to divide them by. "
                "Write them as they are, or coadd maps with weights."
            )
        self.weighted = was_weighted and not self.divides
        kind = stubs["T"].units if "T" in stubs else table.stub.units
        counted = bool(key) and str(stubs[next(iter(self.weights), f"{key}.TT")].units) == "Counts"
        units = {name: self._unit(name, kind, options, counted=counted) for name in planes}
        self.columns = [
            MapColumn(name, unit, plain=options.companions) for name, unit in units.items()
        ]

    def _unit(
        self, name: str, kind: Any, options: WriteOptions, *, counted: bool
    ) -> FileUnit | None:
        power = MAP
        if name == "H" or (counted and name.startswith("W")):
            power = COUNT
        elif name.startswith("W"):
            power = WEIGHTS
        elif self.weighted and not counted:
            power = WEIGHTED_MAP
        return unit_for(kind, power, _PREFIXES[options.units])

    def values(self, planes: dict[str, Values]) -> list[Values]:
        """The values of the columns, from those of all planes: new arrays."""
        found = {one.plane: planes[one.plane].copy() for one in self.columns}
        stokes = [name for name in self._stokes if name in found]
        if stokes and self.divides:
            made = [planes[name].copy() for name in self._stokes]
            divide(made, [planes[name] for name in self.weights], np.nan)
            for name, values in zip(self._stokes, made, strict=True):
                found[name] = values
        unseen = self._unseen({name: found[name] for name in stokes}, planes)
        for one in self.columns:
            if one.unit is not None and one.unit.power:
                one.unit.from_g3(found[one.plane])
            if one.plane in unseen:
                found[one.plane][unseen[one.plane]] = UNSEEN
        return [found[one.plane] for one in self.columns]

    def _unseen(self, found: dict[str, Values], planes: dict[str, Values]) -> dict[str, Any]:
        """Where nothing was measured, if there is such a pixel."""
        if self.divides:
            unseen = {name: np.isnan(values) for name, values in found.items()}
        elif self.weights:
            empty = planes[self.weights[0]] == 0
            unseen = {name: empty & (values == 0) for name, values in found.items()}
        else:
            empty = np.logical_and.reduce([planes[one] == 0 for one in self._stokes])
            unseen = dict.fromkeys(found, empty)
        return {name: empty for name, empty in unseen.items() if empty.any()}


def planes_by_file(table: PixelTable, options: WriteOptions) -> dict[str, list[str]]:
    """Which planes go into which files, by what is put in front of the ending of their names."""
    if not options.companions:
        return {"": table.names}
    groups = {
        "_map": [name for name in table.names if name in STOKES],
        "_invcov": [name for name in table.names if name.startswith("W")],
        "_hits": [name for name in table.names if name == "H"],
    }
    found = {ending: names for ending, names in groups.items() if names}
    if not found:
        raise UsageError("companions: there is no map to be written.")
    return found
