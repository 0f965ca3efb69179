"""Properties of detectors from Calibration frames, as numpy arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import calibration as _calibration  # noqa: F401  # without it frames do not give them

from ..errors import InputError
from ..pipeline.ledger import Unit, unit_of
from ..spt3gtypes import Frame

Column = NDArray[Any]

NUMBERS = (
    *("x_offset", "y_offset", "pol_angle", "pol_efficiency"),
    *("band", "center_frequency", "bandwidth"),
)
TEXTS = ("physical_name", "wafer_id", "pixel_id", "pixel_type")


@dataclass(frozen=True)
class Bolometers:
    """Properties of detectors, which are small enough to send to other ranks.

    Attributes
    ----------
    names : tuple of str
        The detectors, by the names that timestreams have.
    columns : dict of str to ndarray
        For each property of `NUMBERS` (float64, in `core.G3Units`; NaN where not known), of `TEXTS`
        and ``coupling`` (str), and ``net`` where there are any, one value per detector.
    digest : str
        Hash of all of it: the same on all ranks that have read the same.
    """

    names: tuple[str, ...]
    columns: dict[str, Column]
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            digest = hashlib.sha256(repr(self.names).encode())
            for name, column in sorted(self.columns.items()):
                digest.update(name.encode() + column.dtype.str.encode() + column.tobytes())
            object.__setattr__(self, "digest", digest.hexdigest())

    def select(self, names: Iterable[str], where: str) -> Bolometers:
        """The properties of some detectors, in the order of `names`.

        Raises
        ------
        InputError
            If one of them is not known; `where` names the timestreams that have it.
        """
        index = {name: number for number, name in enumerate(self.names)}
        wanted = tuple(names)
        missing = [name for name in wanted if name not in index]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(wanted)} detectors of {where} are not among the "
                f"{len(self.names)} bolometers of the calibration frame: {_listed(missing)}. "
                "Remove them from the timestreams in an earlier module, or read the calibration "
                "frame that has them."
            )
        rows = [index[name] for name in wanted]
        return Bolometers(wanted, {name: column[rows] for name, column in self.columns.items()})


def join_bolometers(parts: Sequence[Bolometers], names: Iterable[str], where: str) -> Bolometers:
    """Join calibrations of different detectors, and put these in the order of `names`."""
    if len(parts) == 1:
        return parts[0].select(names, where)
    known = tuple(name for part in parts for name in part.names)
    columns = {
        column: np.concatenate([part.columns[column] for part in parts])
        for column in parts[0].columns
    }
    return Bolometers(known, columns).select(names, where)


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class _Latest:
    """The last value of a key: in the file of a frame, or else in a file that all ranks read.

    A value from a file that only one rank reads counts for that file only, because it is chance
    which file the rank reads next.
    """

    def __init__(self) -> None:
        self._latest: Any = None
        self._of_all: Any = None
        self._file: str | None = None  # of the latest, if it is for that file only

    def put(self, value: Any, unit: Unit | None) -> None:
        for_all = unit is None or unit.shared
        self._latest, self._file = value, None if for_all or unit is None else unit.file
        if for_all:
            self._of_all = value

    def get(self, unit: Unit | None) -> Any:
        if self._file is None or unit is None or unit.shared or unit.file == self._file:
            return self._latest
        return self._of_all


class BolometerWatch:
    """The latest calibration that frames have brought, as modules of spt3g keep it.

    One from a file that not all ranks read counts for the scans of that file only.

    Parameters
    ----------
    properties : str
        Key of a `calibration.BolometerPropertiesMap`.
    nets : str or None
        Key of a `core.G3MapDouble` of noise-equivalent temperatures (or powers) of detectors, in
        units of the timestreams times the square root of time.
    """

    def __init__(self, properties: str, nets: str | None = None):
        self._keys = (properties, nets)
        self._properties, self._nets = _Latest(), _Latest()
        self._made: tuple[Any, Any, Bolometers] | None = None

    def look_at(self, frame: Frame) -> None:
        """Keep the calibration of a frame that has one of the keys.

        Raises
        ------
        InputError
            If a key has a value of another type.
        """
        properties, nets = self._keys
        if properties in frame:
            found = _arrays(_checked(frame, properties, "BolometerPropertiesMap"))
            self._properties.put(found, unit_of(frame))
        if nets is not None and nets in frame:
            self._nets.put(dict(_checked(frame, nets, "G3MapDouble").items()), unit_of(frame))

    def latest(self, where: str, unit: Unit | None = None) -> Bolometers:
        """The calibration that counts for a scan that is read now.

        Parameters
        ----------
        where : str
            The name of the scan in messages.
        unit : Unit or None

        Raises
        ------
        InputError
            If no frame had the keys before the scan that `where` names.
        """
        key_of_properties, key_of_nets = self._keys
        properties, nets = self._properties.get(unit), self._nets.get(unit)
        if properties is None or (key_of_nets is not None and nets is None):
            key = key_of_properties if properties is None else key_of_nets
            raise InputError(
                f"{where} came before any frame with {key!r}. Read the calibration frames first, "
                "in a file that all ranks read or at the head of each file, or name the key under "
                "which they are."
            )
        if self._made is None or self._made[0] is not properties or self._made[1] is not nets:
            names, columns = properties
            if nets is not None:
                columns = columns | {"net": np.array([nets.get(name, np.nan) for name in names])}
            self._made = properties, nets, Bolometers(names, columns)
        return self._made[2]


def _checked(frame: Frame, key: str, kind: str) -> Any:
    value = frame[key]
    if type(value).__name__ != kind:
        raise InputError(
            f"{key!r} in a {frame.type} frame is a {type(value).__name__}; expected a {kind}."
        )
    return value


def _arrays(properties: Any) -> tuple[tuple[str, ...], dict[str, Column]]:
    names = tuple(properties.keys())
    bolometers = [properties[name] for name in names]
    columns: dict[str, Column] = {
        name: np.array([getattr(bolometer, name) for bolometer in bolometers], dtype)
        for kind, dtype in ((NUMBERS, np.float64), (TEXTS, np.str_))
        for name in kind
    }
    columns["coupling"] = np.array([bolometer.coupling.name for bolometer in bolometers], np.str_)
    return names, columns
