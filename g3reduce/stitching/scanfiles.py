"""Scans and metadata of files that are shared out over the ranks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from spt3g import core

from ..choices import Schedule
from ..g3files.pieces import Piece
from ..mpi import communicators, meetings
from ..mpi.agreement import collectively, raise_together
from ..mpi.interrupts import progress_in_interrupt
from ..pipeline.accumulator import MPIAccumulator
from ..pipeline.ledger import Unit, set_unit, unit_of, where_of
from ..pipeline.observations import ObservationNames
from ..pipeline.reader import MPIFileReader
from ..progress.watching import Watch
from ..spt3gtypes import Frame
from .prefaces import Origin, Prefaces
from .scans import Scan, ScanKeys


def read_files(
    comm: communicators.Comm,
    names: Sequence[str],
    schedule: Schedule,
    take: Callable[[Frame], object],
    watch: Watch,
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
    watch : Watch
        Is told of each file.

    Raises
    ------
    Exception
        On all ranks, if a file is missing or broken or `take` raises. Often many ranks fail in the
        same way; the error is that of the first of them, and `RemoteError` on the others.
    """
    reader = MPIFileReader(comm, [names], schedule=schedule)
    reader.reading = watch.reading(names, list(map(Piece, range(len(names)))))
    failure: Exception | None = None
    try:
        with progress_in_interrupt(reader.progress):
            for frame in reader:
                take(frame)
            reader.reading.end()
    except Exception as error:  # of any kind: the other ranks must fail, too
        failure = error
        reader.stop()
    answers = meetings.come_together(comm, "the end of the files", failed=failure is not None)
    if any(answers.failed):
        raise_together(comm, failure if answers.failed.index(True) == comm.rank else None)


class _ScanRead(NamedTuple):
    """A scan with what its own file says about its observation."""

    unit: Unit
    names: tuple[Any, ...]
    number_before: int  # of metadata frames in its file
    scans: list[Scan]


class ScanFiles:
    """Samples of scans from files, and the metadata before them.

    Parameters
    ----------
    comm : communicator
    keys : sequence of ScanKeys
    observation_keys : str, sequence of str, or None
        As in `ObservationNames`.
    metadata_lasts : bool
        Whether metadata count for later files, too, in the order in which files are named. Scans
        whose file does not name their observation are named after all files were read, so that it
        does not matter which rank reads which file when.

    Attributes
    ----------
    prefaces : Prefaces
    accumulators : list of MPIAccumulator
        One for each of the keys. Its metadata are `Origin`, its data `Scan`.
    """

    def __init__(
        self,
        comm: communicators.Comm,
        keys: Sequence[ScanKeys],
        observation_keys: str | Sequence[str] | None = None,
        metadata_lasts: bool = False,
    ):
        self._comm = comm
        self._keys = keys
        self._names = ObservationNames(observation_keys)
        self._lasts = metadata_lasts
        self._next: tuple[Origin, Scan] | None = None
        self._unnamed: list[_ScanRead] = []
        self._at_end: dict[int, dict[str, Any]] = {}  # by the position of the file
        self.prefaces = Prefaces(comm, lasting=metadata_lasts)
        self.accumulators = [MPIAccumulator(comm, self._extract) for _ in keys]

    def read(self, names: Sequence[str], schedule: Schedule, watch: Watch) -> None:
        """Read all files. Collective over the communicator.

        Raises
        ------
        InputError
            On all ranks, if a file is missing or broken, or if scans are not as they should be.
        """
        try:
            read_files(self._comm, names, schedule, self._take, watch)
            if self._lasts:
                everywhere = self._comm.allgather(self._at_end)
                at_end = {position: end for ends in everywhere for position, end in ends.items()}
                collectively(self._comm, lambda: self._name_unnamed(at_end))
            for accumulator in self.accumulators:
                accumulator.finish()
        finally:
            for accumulator in self.accumulators:
                accumulator.discard()
        self.prefaces.merge()

    def _take(self, frame: Frame) -> None:
        unit = unit_of(frame)
        self._names.observe(frame)
        self.prefaces.take(frame)
        if unit is None:
            return
        if frame.type == core.G3FrameType.Observation:
            self._at_end[unit.position] = self._names.latest_of(unit.file)
        if frame.type != core.G3FrameType.Scan:
            return
        where = where_of(frame)
        names = self._names.known_of(frame, where)
        unknown = any(name is None for name in names)
        if unknown and not (self._lasts and unit.position not in self._at_end):
            raise self._names.unknown(names, where)
        scans = [keys.read(frame, where).detached() for keys in self._keys]
        scan = _ScanRead(unit, names, self.prefaces.number_before(unit), scans)
        if unknown:
            self._unnamed.append(scan)
        else:
            self._keep(scan)

    def _name_unnamed(self, at_end: dict[int, dict[str, Any]]) -> None:
        """Keep the scans whose observation is named by earlier files."""
        positions = sorted(at_end)
        for scan in self._unnamed:
            # It is before all Observation frames of its own file, so only earlier files count.
            number = bisect_left(positions, scan.unit.position) - 1
            before = at_end[positions[number]] if number >= 0 else {}
            names = tuple(
                before.get(key) if name is None else name
                for key, name in zip(self._names.keys, scan.names, strict=True)
            )
            self._names.check_values(names, str(scan.unit))
            if any(name is None for name in names):
                raise self._names.unknown(names, str(scan.unit))
            self._keep(scan._replace(names=names))
        self._unnamed.clear()

    def _keep(self, read: _ScanRead) -> None:
        names = zip(self._names.keys, read.names, strict=True)
        origin = Origin(read.unit, tuple(names))
        self.prefaces.add_scan(origin, read.number_before)
        stub = core.G3Frame(core.G3FrameType.Scan)
        set_unit(stub, read.unit)
        for accumulator, scan in zip(self.accumulators, read.scans, strict=True):
            self._next = origin, scan
            accumulator.add(stub)
        self._next = None

    def _extract(self, _: Any) -> tuple[str, Origin, Scan] | None:
        if self._next is None:
            return None
        origin, scan = self._next
        return origin.group, origin, scan
