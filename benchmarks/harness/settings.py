"""What a run of the suite was asked for, and what a benchmark tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .rows import Row, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings:
    """What a run was asked for.

    Attributes
    ----------
    size : str
        Of maps: one of `benchmarks.inputs.mapfiles.SIZES`.
    survey_size : str
        The same, where maps are as large as those of surveys.
    n_files : int
        Of each kind.
    megabytes : float
        That each rank holds when sums are reduced.
    ranks : tuple of int
        Numbers of ranks, rising.
    rounds : int
        That count.
    folder : Path
        For files that are removed afterwards.
    """

    size: str
    survey_size: str
    n_files: int
    megabytes: float
    ranks: tuple[int, ...]
    rounds: int
    folder: Path


@dataclass(frozen=True)
class Benchmark:
    """A measurement, and how to show it.

    Attributes
    ----------
    title : str
        Heading of its section.
    measure : callable
        From settings to rows.
    reading : str
        How an astronomer reads the tables.
    tables : tuple of Table
    draw : callable
        From rows to a picture.
    on_ranks : bool
        Whether the MPI library plays a part in it.
    """

    title: str
    measure: Callable[[Settings], list[Row]]
    reading: str
    tables: tuple[Table, ...]
    draw: Callable[[list[Row]], Figure]
    on_ranks: bool = True
