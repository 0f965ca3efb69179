"""Parallel coaddition of sky maps and restitching of timestreams, for spt3g pipelines on MPI.

The names below are all there is to import. Each is loaded when it is first used, so that
importing the package costs next to nothing and never touches MPI.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .coadd import MPIMapCoadder
    from .digests import digest
    from .distribute import MPIFileReader
    from .errors import (
        DuplicateError,
        G3ReduceError,
        InputError,
        InterruptedByUser,
        MismatchError,
        OutputError,
        RemoteError,
        StallError,
        UsageError,
    )
    from .filecoadd import coadd_files
    from .guards import guard
    from .ledger import Unit, unit_of
    from .parallelize import MPIFrameParallelizer, MPIIODistributor, Progress

_HOME = {
    "MPIFileReader": "distribute",
    "MPIFrameParallelizer": "parallelize",
    "MPIIODistributor": "parallelize",
    "Progress": "parallelize",
    "MPIMapCoadder": "coadd",
    "coadd_files": "filecoadd",
    "digest": "digests",
    "guard": "guards",
    "DuplicateError": "errors",
    "G3ReduceError": "errors",
    "InputError": "errors",
    "InterruptedByUser": "errors",
    "MismatchError": "errors",
    "OutputError": "errors",
    "RemoteError": "errors",
    "StallError": "errors",
    "Unit": "ledger",
    "UsageError": "errors",
    "unit_of": "ledger",
}

__all__ = [
    "DuplicateError",
    "G3ReduceError",
    "InputError",
    "InterruptedByUser",
    "MPIFileReader",
    "MPIFrameParallelizer",
    "MPIIODistributor",
    "MPIMapCoadder",
    "MismatchError",
    "OutputError",
    "Progress",
    "RemoteError",
    "StallError",
    "Unit",
    "UsageError",
    "coadd_files",
    "digest",
    "guard",
    "unit_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
