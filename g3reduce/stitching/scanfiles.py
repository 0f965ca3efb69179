"""Reading files of scans on many ranks, for restitching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spt3g import core

from .. import comm as communicators
from .. import waiting
from ..accumulate import MPIAccumulator
from ..distribute import MPIFileReader
from ..interrupts import progress_told
from ..ledger import unit_of, where_of
from ..observations import ObservationNames
from .preface import Origin, Prefaces
from .scans import Scan, ScanKeys


def read_files(
    comm: communicators.Comm, names: Sequence[str], schedule: str, take: Callable[[Any], object]
) -> None:
    """Read files, which are shared out over the ranks. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    names : sequence of str
    schedule : {"dynamic", "static"}
        As in `MPIFileReader`.
    take : callable
        Called with each frame.

    Raises
    ------
    Exception
        On all ranks, if a file is missing or broken or `take` raises. What is wrong with one file
        often is with all: the error is that of the first rank, and `RemoteError` on the others.
    """
    reader = MPIFileReader(comm, [names], schedule=schedule)
    failure: Exception | None = None
    try:
        with progress_told(reader.progress):
            for frame in reader:
                take(frame)
    except Exception as error:  # whatever it is, the other ranks must hear of it
        failure = error
        reader.stop()
    waiting.meet(comm, "the end of the files")
    failed = comm.allgather(failure is not None)
    first = failed.index(True) if True in failed else None
    communicators.agree(comm, failure if first == comm.rank else None)


class ScanFiles:
    """What is kept of files of scans: samples, and the metadata before them.

    Parameters
    ----------
    comm : communicator
    keys : sequence of ScanKeys

    Attributes
    ----------
    prefaces : Prefaces
    accumulators : list of MPIAccumulator
        One for each of the keys. Metadata are `Origin`, data `Scan`.
    """

    def __init__(self, comm: communicators.Comm, keys: Sequence[ScanKeys]):
        self._comm = comm
        self._names = ObservationNames()
        self._origin: Origin | None = None
        self.prefaces = Prefaces(comm)
        self.accumulators = [MPIAccumulator(comm, self._extractor(one)) for one in keys]

    def read(self, names: Sequence[str], schedule: str) -> None:
        """Read all files. Collective over the communicator.

        Raises
        ------
        InputError
            On all ranks, if a file is missing or broken, or if scans are not as they should be.
        """
        try:
            read_files(self._comm, names, schedule, self._take)
            for accumulator in self.accumulators:
                accumulator.finish()
        finally:
            for accumulator in self.accumulators:
                accumulator.discard()
        self.prefaces.merge()

    def _take(self, frame: Any) -> None:
        unit = unit_of(frame)
        self._names.look_at(frame)
        self.prefaces.take(frame)
        if unit is None or frame.type != core.G3FrameType.Scan:
            return
        self._origin = Origin(unit, *self._names.values_of(frame, where_of(frame)))
        self.prefaces.precede(self._origin)
        for accumulator in self.accumulators:
            accumulator.add(frame)

    def _extractor(self, keys: ScanKeys) -> Any:
        def extract(frame: Any) -> tuple[str, Origin, Scan] | None:
            if self._origin is None:
                return None
            scan = keys.read(frame, where_of(frame))
            return self._origin.group, self._origin, scan.detached()

        return extract
