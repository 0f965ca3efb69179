"""Parallel coaddition of sky maps and restitching of timestreams, for spt3g pipelines on MPI.

The names below are all there is to import. Each is loaded when it is first used, so that
importing the package costs next to nothing and never touches MPI.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .mpi import launchers as _launchers

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .arrays.reduction import Reduction
    from .coadd.coadder import MPIMapCoadder
    from .coadd.files import coadd_files
    from .errors import (
        DuplicateError,
        G3ReduceError,
        InputError,
        InterruptedByUser,
        MismatchError,
        OutputError,
        ReductionError,
        RemoteError,
        StallError,
        UsageError,
    )
    from .maps.digest import digest
    from .mpi.guard import guard
    from .pipeline.accumulator import MPIAccumulator
    from .pipeline.distributor import MPIFrameParallelizer, MPIIODistributor, Progress
    from .pipeline.ledger import Unit, unit_of
    from .pipeline.reader import MPIFileReader
    from .reductions.reducer import MPIReducer
    from .stitching.files import stitch_files
    from .stitching.scans import ScanExtractor
    from .stitching.stitch import StitchedObservation, stitch, unstitch
    from .stitching.summary import StitchedSummary
    from .strategies.registry import register_strategy
    from .toast3.filler import TOASTFiller
    from .toast3.volume import stitch_to_toast

_HOME = {
    "MPIAccumulator": "pipeline.accumulator",
    "MPIFileReader": "pipeline.reader",
    "MPIFrameParallelizer": "pipeline.distributor",
    "MPIIODistributor": "pipeline.distributor",
    "Progress": "pipeline.distributor",
    "MPIMapCoadder": "coadd.coadder",
    "MPIReducer": "reductions.reducer",
    "Reduction": "arrays.reduction",
    "TOASTFiller": "toast3.filler",
    "ScanExtractor": "stitching.scans",
    "StitchedObservation": "stitching.stitch",
    "StitchedSummary": "stitching.summary",
    "stitch": "stitching.stitch",
    "stitch_files": "stitching.files",
    "stitch_to_toast": "toast3.volume",
    "unstitch": "stitching.stitch",
    "coadd_files": "coadd.files",
    "digest": "maps.digest",
    "guard": "mpi.guard",
    "DuplicateError": "errors",
    "G3ReduceError": "errors",
    "InputError": "errors",
    "InterruptedByUser": "errors",
    "MismatchError": "errors",
    "OutputError": "errors",
    "ReductionError": "errors",
    "RemoteError": "errors",
    "StallError": "errors",
    "Unit": "pipeline.ledger",
    "UsageError": "errors",
    "register_strategy": "strategies.registry",
    "unit_of": "pipeline.ledger",
}

# Modules with names of their own.
_MODULES = ("reductions",)

__all__ = [
    "DuplicateError",
    "G3ReduceError",
    "InputError",
    "InterruptedByUser",
    "MPIAccumulator",
    "MPIFileReader",
    "MPIFrameParallelizer",
    "MPIIODistributor",
    "MPIMapCoadder",
    "MPIReducer",
    "MismatchError",
    "OutputError",
    "Progress",
    "Reduction",
    "ReductionError",
    "RemoteError",
    "ScanExtractor",
    "StallError",
    "StitchedObservation",
    "StitchedSummary",
    "TOASTFiller",
    "Unit",
    "UsageError",
    "coadd_files",
    "digest",
    "guard",
    "register_strategy",
    "stitch",
    "stitch_files",
    "stitch_to_toast",
    "unit_of",
    "unstitch",
]


# An error before the first module is made must end the job, too. This does not touch MPI.
if _launchers.may_be_several():
    importlib.import_module(".mpi.jobend", __name__).end_job_on_exception()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, *__all__])
