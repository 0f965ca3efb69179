"""Scans that hold a number, and what MPIReducer makes of them in one process."""

from spt3g import core

import g3reduce
from g3reduce.mpi.communicators import OneProcess
from g3reduce.pipeline.ledger import Unit, set_unit


def scan(i, unit=None):
    """A Scan frame with a number and one of three wafers; `unit` says where it was read."""
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["Number"], frame["Wafer"] = i, f"w{i % 3}"
    if unit is not None:
        set_unit(frame, Unit(*unit))
    return frame


def numbers(n=4):
    """The first scans."""
    return [scan(i) for i in range(n)]


def reducer_of(reduction, frames=(), **options):
    """A reducer that has taken these frames."""
    reducer = g3reduce.MPIReducer(reduction, OneProcess(), **options)
    for frame in frames:
        reducer.add(frame)
    return reducer


def result_of(reduction, frames, **options):
    """The result over these frames."""
    reducer = reducer_of(reduction, frames, **options)
    reducer.finish()
    return reducer.result
