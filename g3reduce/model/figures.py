"""The figures of a forecast: the work to be done, and the nodes that do it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

from ..choices import Result
from ..errors import UsageError, require_choice
from ..strategies.costs import Machine


@dataclass(frozen=True)
class Sums:
    """The sums of coadds that are alike, each of some of the files.

    Attributes
    ----------
    number : float
        How many such coadds there are.
    files : float
        How many files each of them is of.
    held, union : float
        Bytes of the sums of one file in one of them, and of those of all of its files.

    Raises
    ------
    UsageError
        If a figure makes no sense.
    """

    number: float
    files: float
    held: float
    union: float

    def __post_init__(self) -> None:
        _check(self, "Sums", at_least={})
        _require_union(self, "Sums")

    def after(self, files: float) -> float:
        """Bytes of the sums of so many of its files in one of them.

        A power of their number that is right for one file and for all: see
        `g3reduce.strategies.Profile.union_of`.
        """
        if files <= 1 or self.files <= 1 or not self.held:
            return self.held
        growth = math.log(self.union / self.held) / math.log(self.files)
        return float(min(self.union, self.held * files**growth))


@dataclass(frozen=True)
class Work:
    """Coadds of files.

    Attributes
    ----------
    files : int
        How many there are.
    file_bytes : float
        Bytes of a file: the mean.
    held : float
        Bytes of the sums of one file, in all coadds. What is reproducible takes several times that.
    union : float
        Bytes of the sums of all files.
    frame_bytes : float or None
        Bytes of the largest Map frame: what one rank adds at least. None: a file is one frame.
    result : {"root", "all", "sharded"}
        Where the sums go.
    output_bytes : float or None
        Bytes of the output; 0 if none is written. None: those of the union.
    slowest : float
        The time of the slowest file over the mean: 1 if all take as long.
    sums : sequence of Sums
        The coadds, where a file goes to some of them only, as with splits. Default: to all.
    beside : float
        Bytes that a rank needs beside its sums while it adds files, over those of the sums.
    asked : float
        Bytes that must be available for each rank, however few it takes: else the work is refused.

    Raises
    ------
    UsageError
        If a figure makes no sense.

    Examples
    --------
    >>> Work(files=1000, file_bytes=300e6, held=240e6, union=240e6).units
    1000
    """

    files: int
    file_bytes: float
    held: float
    union: float
    frame_bytes: float | None = None
    result: Result = "root"
    output_bytes: float | None = None
    slowest: float = 1.0
    sums: Sequence[Sums] = ()
    beside: float = 0.0
    asked: float = 0.0

    def __post_init__(self) -> None:
        require_choice("result", self.result, Result)
        _check(self, "Work", at_least={"files": 1, "slowest": 1})
        _require_union(self, "Work")

    @property
    def read(self) -> float:
        """Bytes of all files."""
        return self.files * self.file_bytes

    @property
    def units(self) -> int:
        """Parts of the input that ranks add independently: files, or their frames if larger."""
        if not self.frame_bytes:
            return self.files
        return max(self.files, round(self.read / self.frame_bytes))

    @property
    def output(self) -> float:
        """Bytes that are written."""
        return self.union if self.output_bytes is None else self.output_bytes

    @property
    def coadds(self) -> float:
        """How many sums there are, which are joined one after the other."""
        return sum(one.number for one in self.sums) or 1.0

    def held_after(self, files: float) -> float:
        """Bytes of the sums of so many files.

        No more than these bring, each for itself, and than all coadds have that they may go to.
        """
        sums = self.sums or (Sums(1, self.files, self.held, self.union),)
        begun = sum(one.number * one.after(files * one.files / self.files) for one in sums)
        return min(self.union, max(1.0, files) * self.held, begun)


@dataclass(frozen=True)
class Cluster:
    """Nodes, and the file system that they share. The defaults are round figures, not measured.

    Attributes
    ----------
    nodes : int
    cores : int
        Of a node: the most ranks on it.
    memory : float
        Bytes of a node that ranks may take.
    files_total, files_node : float
        Bytes per second that the file system gives to all nodes together, and to one.
    files_rank : float
        Bytes per second that one rank reads and adds, of files that come as fast as it wants them.
    writing : float
        Bytes per second that one rank writes.
    base : float
        Bytes of a rank before it holds any map.
    starting : float
        Seconds until all ranks are ready to read.
    machine : Machine
        What messages and additions take.

    Raises
    ------
    UsageError
        If a figure makes no sense.
    """

    nodes: int = 1
    cores: int = 64
    memory: float = 256e9
    files_total: float = 100e9
    files_node: float = 10e9
    files_rank: float = 1e9
    writing: float = 1e9
    base: float = 100e6
    starting: float = 0.0
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        positive = dict.fromkeys(("files_total", "files_node", "files_rank", "writing"), 1.0)
        _check(self, "Cluster", at_least={"nodes": 1, "cores": 1, **positive})


# Of fields that are numbers.
_NUMBERS = ("int", "float", "float | None")


def _check(figures: Sums | Work | Cluster, what: str, at_least: dict[str, float]) -> None:
    """Refuse numbers that are too small, or none."""
    for one in fields(figures):
        value: Any = getattr(figures, one.name)
        if one.type not in _NUMBERS or (value is None and one.default is None):
            continue
        least = at_least.get(one.name, 0)
        if not isinstance(value, Real) or not least <= float(value) < math.inf:
            raise UsageError(
                f"{what}: {one.name} is {value!r}; expected a number from {least:g} on."
            )


def _require_union(figures: Sums | Work, what: str) -> None:
    if figures.held > figures.union:
        raise UsageError(
            f"{what}: the sums of one file have held={figures.held:.4g} bytes, more than the "
            f"union={figures.union:.4g} of all; expected at most as many."
        )
