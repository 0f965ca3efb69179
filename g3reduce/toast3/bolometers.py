"""What Calibration frames say about detectors, and which of them counts for which detector."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import calibration as _calibration  # noqa: F401  # without it frames do not give them

from ..errors import InputError, MismatchError
from ..pipeline.ledger import Unit, unit_of
from ..stitching.headers import PlacedScan
from ..stitching.timeline import Timeline

Column = NDArray[Any]

NUMBERS = (
    *("x_offset", "y_offset", "pol_angle", "pol_efficiency"),
    *("band", "center_frequency", "bandwidth"),
)
TEXTS = ("physical_name", "wafer_id", "pixel_id", "pixel_type")


@dataclass(frozen=True)
class Bolometers:
    """Properties of detectors; small, and can be sent to other ranks.

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
            told = hashlib.sha256(repr(self.names).encode())
            for name, column in sorted(self.columns.items()):
                told.update(name.encode() + column.dtype.str.encode() + column.tobytes())
            object.__setattr__(self, "digest", told.hexdigest())

    def select(self, names: Iterable[str], where: str) -> Bolometers:
        """Those of some detectors, in the order of `names`.

        Raises
        ------
        InputError
            If one of them is not here; `where` says which timestreams have it.
        """
        index = {name: number for number, name in enumerate(self.names)}
        wanted = tuple(names)
        missing = [name for name in wanted if name not in index]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(wanted)} detectors of {where} are not among the "
                f"{len(self.names)} bolometers of the calibration frame: {_listed(missing)}. Drop "
                "them from the timestreams in a module before, or read the calibration frame that "
                "belongs to them."
            )
        rows = [index[name] for name in wanted]
        return Bolometers(wanted, {name: column[rows] for name, column in self.columns.items()})


def join_bolometers(parts: Sequence[Bolometers], names: Iterable[str], where: str) -> Bolometers:
    """Those of several calibrations as one, in the order of `names`; each has other detectors."""
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
    """What came last under a key: in the file of a frame, or else in one that all ranks read.

    A file that one rank read says nothing of the next one of this rank: which that is, is chance.
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
    """Keeps what the latest frames with calibration said, as modules of spt3g do.

    Those of a file that is not read by all ranks count for the scans of that file.

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

    def look_at(self, frame: Any) -> None:
        """Take note of a frame that has one of the keys.

        Raises
        ------
        InputError
            If there is something else under the key.
        """
        properties, nets = self._keys
        if properties in frame:
            found = _arrays(_checked(frame, properties, "BolometerPropertiesMap"))
            self._properties.put(found, unit_of(frame))
        if nets is not None and nets in frame:
            self._nets.put(dict(_checked(frame, nets, "G3MapDouble").items()), unit_of(frame))

    def latest(self, where: str, unit: Unit | None = None) -> Bolometers:
        """What is known now of the detectors of a scan.

        Parameters
        ----------
        where : str
            How messages name it.
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


def _checked(frame: Any, key: str, kind: str) -> Any:
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


def owners_of(timeline: Timeline, digests: Sequence[str]) -> dict[str, tuple[int, list[str]]]:
    """Who has each calibration of an observation, and for which of its detectors it counts.

    It is one calibration, unless detectors came in files of their own, with one of their own.

    Parameters
    ----------
    timeline : Timeline
    digests : sequence of str
        Of the calibration with which each of the timeline's scans came.

    Returns
    -------
    dict of str to (int, list of str)
        By digest: a rank that has it, and detectors.

    Raises
    ------
    MismatchError
        If a detector came with two.
    """
    first: dict[str, PlacedScan] = {}  # of each digest
    digest_of: dict[str, str] = {}  # of each detector
    seen: set[tuple[int, str]] = set()
    for scan, digest in zip(timeline.scans, digests, strict=True):
        names = scan.header.detectors
        first.setdefault(digest, scan)
        if (id(names), digest) in seen:  # equal lists of detectors are one object
            continue
        seen.add((id(names), digest))
        for name in names:
            if digest_of.setdefault(name, digest) != digest:
                known = first[digest_of[name]]
                raise MismatchError(
                    f"Observation {timeline.group!r}: {scan.header.where} (rank {scan.rank}) came "
                    f"with another calibration of {name!r} than {known.header.where} (rank "
                    f"{known.rank}). All scans of a detector in an observation must have the same "
                    "one: read its calibration frame first, and on all ranks."
                )
    owners: dict[str, tuple[int, list[str]]] = {
        digest: (scan.rank, []) for digest, scan in first.items()
    }
    for name, digest in digest_of.items():
        owners[digest][1].append(name)
    return owners
