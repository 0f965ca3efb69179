"""Frame by frame from M readers to N workers: the distributor."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from spt3g import core
from spt3g.core.modconstruct import pipesegment_nodoc

from ..errors import InputError, MismatchError, UsageError
from ..g3files.fileframe import FileFrame
from ..mpi import communicators, foreign, waiting
from ..mpi.agreement import agreed_arguments, collectively, same_everywhere
from ..mpi.interrupts import forget_halt
from ..progress.events import Totals
from ..spt3gmarks import g3module
from ..spt3gtypes import Frame
from .arguments import check_functions, frame_types
from .counted import Counted
from .dispatch import DATA, Receiver, Sender
from .endmodule import hush_binners
from .leaders import JOINED
from .ledger import Unit, set_unit, unit_of
from .parallelblock import Files, blocks_of
from .reader import MPIFileReader
from .sources import Keeper, pipeline_begins
from .units import bytes_in_file, source_of

if TYPE_CHECKING:
    from mpi4py import MPI

DATA_FRAMES = (core.G3FrameType.Timepoint, core.G3FrameType.Scan)

# With so many ranks one of them reads, with twice as many two; a reader keeps several workers busy.
_RANKS_PER_READER = 8


@dataclass
class Progress:
    """Counts of the frames that this rank has read, sent, received and done so far.

    Attributes
    ----------
    rank : int
    read, sent : int
        On a reader: frames that it has read, and data frames that it has given to workers.
    received, done : int
        On a worker: data frames that it has got, and those that its pipeline is through with.
    """

    rank: int
    read: int = 0
    sent: int = 0
    received: int = 0
    done: int = 0
    _counted: Counted | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def totals(self) -> Totals | None:
        """Files, bytes and frames that all readers have read; None but on the first rank."""
        return None if self._counted is None else self._counted.totals()


OnProgress = Callable[[Progress], object]


@g3module
class MPIFrameParallelizer:
    """Hand frames from the ranks that read to the ranks that work; a G3 module.

    On a reader it takes the frames of an `MPIFileReader`, and nothing comes out but the end. On a
    worker it is the first module of the pipeline. `MPIIODistributor` puts it where it belongs.

    Each data frame reaches exactly one worker: the one that is free. All other frames are
    metadata and reach every worker, in order, and each data frame comes between the same metadata
    as in the input. Between workers there is no order.

    Collective over `cpucomm`: the constructor, and the end of processing.

    Parameters
    ----------
    iocomm : mpi4py.MPI.Intracomm or None
        The readers; None on workers.
    cpucomm : mpi4py.MPI.Intracomm
        Readers and workers, the readers first.
    cpucomm_startrank : int
        The first rank of `cpucomm` that works: how many readers there are.
    dataframetype : sequence of G3FrameType
        What counts as data.
    on_progress : callable, optional
        ``on_progress(progress)`` is called upon each frame, with this rank's `Progress`.

    Attributes
    ----------
    progress : Progress
        What has happened on this rank.
    exhausted : bool
        Whether all frames have come, and the pipeline has seen them.

    Raises
    ------
    MismatchError
        On a reader, if metadata come that not all readers see.
    G3ReduceError
        On a worker, if a frame was lost on the way.
    """

    def __init__(
        self,
        iocomm: communicators.Comm | None,
        cpucomm: communicators.Comm,
        cpucomm_startrank: int,
        dataframetype: Sequence[Any] = DATA_FRAMES,
        *,
        on_progress: OnProgress | None = None,
    ):
        self._comm = cast("MPI.Intracomm", communicators.duplicate(cpucomm))

        def check() -> tuple[tuple[Any, ...], dict[str, object]]:
            types = _checked_types(dataframetype, on_progress)
            self._check(iocomm, cpucomm_startrank)
            return types, {
                "cpucomm_startrank": cpucomm_startrank,
                "dataframetype": list(map(str, types)),
            }

        self._types = agreed_arguments(self._comm, "The arguments of MPIFrameParallelizer", check)
        self._several_readers = cpucomm_startrank > 1
        self._first = self._comm.rank == 0
        self._sender = self._receiver = None
        if self._comm.rank < cpucomm_startrank:
            self._sender = Sender(self._comm, cpucomm_startrank)
        else:
            self._receiver = Receiver(self._comm, cpucomm_startrank)
        self._keeper = Keeper()
        self._readers: Any = None
        self._counted: Counted | None = None
        self._straight_from_files = False
        self._sources: weakref.WeakSet[Any] = weakref.WeakSet()
        self.progress = Progress(self._comm.rank)
        self._on_progress = on_progress
        self.begun = self.exhausted = False

    def __call__(self, frame: Frame) -> Any:
        """Send a frame, on a reader; return the next one, on a worker (spt3g calls this)."""
        if not self.begun:
            communicators.require_rank(self._comm)
            self.begun = True
            if self._receiver is not None:
                pipeline_begins()
            waiting.expect_to_end(self, self._comm)
        waiting.check()
        if self._receiver is not None:
            return self._next(self._receiver)
        if frame.type == core.G3FrameType.EndProcessing:
            self._end()
            return None
        self.send(frame)
        return []

    def send(self, frame: Frame) -> None:
        """Hand a data frame to a worker, or metadata to all workers. On a reader only."""
        sender = self._as_reader("send")
        unit = unit_of(frame)
        if unit is None and str(frame.type) == JOINED:
            return  # of the reader's own pipeline; that of each worker has one of its own
        if (source := source_of(frame)) is not None:
            self._sources.add(source)
        self.progress.read += 1
        if frame.type not in self._types:
            self._send_metadata(sender, frame, unit)
        # Frames of a file that all readers see: one of them sends the data.
        elif self._first or unit is None or not unit.shared:
            content = bytes_in_file(frame) if self._straight_from_files else None
            sender.data(content or _serialized(frame), unit and replace(unit, shared=False))
            self.progress.sent += 1
        if self._counted is not None:
            self._counted.count(frame)
        self._report()

    def reads_from(self, reader: MPIFileReader, readers: Any, files: Files) -> None:
        """Tell which reader stands before it, before any frame comes. On a reader only.

        Collective over `readers`.

        Parameters
        ----------
        reader : MPIFileReader
        readers : mpi4py.MPI.Intracomm
            On which it reads. It is freed at the end.
        files : list
            Those that it reads.
        """
        comm = communicators.private(readers)
        if comm.bcast(self._on_progress is not None, 0):
            self.progress._counted = self._counted = Counted(comm, _names(files))
        self._readers = readers
        # Workers must not be short of frames that lie here because other readers are busy.
        reader.before_waiting = self.flush
        # A pipeline may be halted before its first frame.
        self._sources.add(reader)
        # No module comes between them, so frames are what they are in their files.
        self._straight_from_files = True

    def flush(self) -> None:
        """Wait until workers have asked for all data that were sent. On a reader only."""
        self._as_reader("flush").flush()

    def _check(self, iocomm: communicators.Comm | None, n_readers: int) -> None:
        size = self._comm.size
        if not isinstance(n_readers, int) or not 0 < n_readers < size:
            raise UsageError(
                f"cpucomm_startrank is {n_readers!r}; expected the number of readers, 1 to "
                f"{size - 1}, so that of the {size} ranks of cpucomm some read and some work."
            )
        if self._comm.rank < n_readers and (iocomm is None or iocomm.size != n_readers):
            held = "None" if iocomm is None else f"of {iocomm.size} ranks"
            raise UsageError(
                f"iocomm is {held} on rank {self._comm.rank}; expected a communicator of the first "
                f"{n_readers} ranks of cpucomm, which read."
            )

    def _as_reader(self, what: str) -> Sender:
        if self._sender is None:
            raise UsageError(f"{what}() is for ranks that read, and rank {self._comm.rank} works.")
        return self._sender

    def _send_metadata(self, sender: Sender, frame: Frame, unit: Unit | None) -> None:
        if self._several_readers and unit is not None and not unit.shared:
            raise MismatchError(
                f"{unit}: a {frame.type} frame came to one of several readers only, so workers "
                "could not all see it in its place. MPIIODistributor merges the metadata at the "
                f"head of the files of a parallel block; or count {frame.type} among the "
                "dataframetype."
            )
        where = unit or "made in the pipeline"
        content = _serialized(frame) if self._first else None
        sender.metadata(content, unit, f"a {frame.type} frame ({where})")

    def _end(self) -> None:
        if not all(source.exhausted for source in self._sources):
            forget_halt()
            raise InputError(
                f"The pipeline on rank {self._comm.rank}, a reader, was halted before all files "
                "were read (by Ctrl-C?), so the workers have not got all frames."
            )
        sender = self._as_reader("end")
        sender.end()
        if self._counted is not None:
            self._counted.end()
            self._report()
        self.exhausted = True
        if sender.data_came:
            hush_binners(self)  # the next modules see the end of processing, but saw no data
        self._comm.Free()
        if self._readers is not None:
            self._readers.Free()

    def _next(self, receiver: Receiver) -> Any:
        self.progress.done = self.progress.received
        self._report()
        parcel = receiver.next()
        if parcel is None:
            self.exhausted = True
            if not self.progress.received:
                hush_binners(self)
            self._comm.Free()
            return []
        frame = FileFrame()
        frame._cereal_loads(parcel.content)
        if parcel.unit is not None:
            set_unit(frame, parcel.unit)
        if parcel.what == DATA:
            self.progress.received += 1
            self._report()
        return self._keeper.keep(frame, self)

    def _report(self) -> None:
        waiting.moved()
        if self._on_progress is not None:
            self._on_progress(self.progress)


class _Alone:
    """The module behind the reader of a rank that reads and works: it counts progress."""

    def __init__(self, types: Sequence[Any], files: Files, on_progress: OnProgress):
        self._types = tuple(types)
        self._on_progress = on_progress
        self._counted = Counted(communicators.OneProcess(), _names(files))
        self._progress = Progress(0)
        self._progress._counted = self._counted

    def __call__(self, frame: Frame) -> None:
        self._progress.done = self._progress.received
        if frame.type != core.G3FrameType.EndProcessing:
            self._progress.read += 1
            self._counted.count(frame)
            if frame.type in self._types:
                self._progress.sent += 1
                self._progress.received += 1
        else:
            self._counted.end()
        self._on_progress(self._progress)


@pipesegment_nodoc  # type: ignore[untyped-decorator]
def MPIIODistributor(
    pipe: Any,
    mpicomm: communicators.Comm | None = None,
    n_io: int | None = None,
    files: Files = (),
    dataframetype: Sequence[Any] = DATA_FRAMES,
    *,
    on_progress: OnProgress | None = None,
) -> None:
    """Read files on some ranks and work on their frames on the others; a pipeline segment.

    Add it as the first module, in place of a ``G3Reader``. The first `n_io` ranks read, and their
    pipelines see nothing but their own PipelineInfo and the end. On the others, each data frame
    comes to exactly one rank, the one that is free, and all other frames, metadata, come to every
    rank: for ``M N 1 2 3 4 5 P Q 6 7`` (letters metadata, digits data) one may see ``M N 1 3 4 P
    Q 7`` and another ``M N 2 5 P Q 6``. One rank alone reads and works.

    `files` is as in `MPIFileReader`. In a parallel block (a nested list) metadata lead each file.
    They are merged in list order, equal ones kept once, and reach every worker before the block's
    data.

    Collective over `mpicomm`.

    Parameters
    ----------
    pipe : spt3g.core.G3Pipeline
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    n_io : int, optional
        How many ranks read. Default: one of eight, at least one, and no more than there are files
        to read at once.
    files : list of (str, path, or list of these)
        The same on all ranks.
    dataframetype : sequence of G3FrameType
        What counts as data. Add ``core.G3FrameType.Map`` to share out maps.
    on_progress : callable, optional
        ``on_progress(progress)`` is called upon each frame, with this rank's `Progress`.

    Raises
    ------
    MismatchError
        If metadata at the head of the files of a block contradict each other, or if metadata come
        after data in such a file; with files and frames, and the way out.

    Examples
    --------
    >>> pipe.Add(MPIIODistributor, mpicomm=comm, n_io=2,
    ...          files=["calibration.g3", ["0000.g3", "0001.g3"]])  # doctest: +SKIP
    """
    comm = communicators.duplicate(mpicomm)
    if isinstance(comm, communicators.OneProcess):
        _number_of_readers(n_io, comm.size, files)
        _checked_types(dataframetype, on_progress)
        pipe.Add(MPIFileReader(comm, files, leaders_of=dataframetype))
        if on_progress is not None:
            pipe.Add(_Alone(dataframetype, files, on_progress))
        return
    readers: Any = None
    try:
        n_readers = collectively(comm, lambda: _number_of_readers(n_io, comm.size, files))
        same_everywhere(comm, "The number of readers", n_readers)
        reads = comm.rank < n_readers
        readers = communicators.split(comm, 0 if reads else 1)
        parallelizer = MPIFrameParallelizer(
            readers if reads else None, comm, n_readers, dataframetype, on_progress=on_progress
        )
        # Workers, too, raise if a file cannot be read.
        reader = foreign.together(
            comm,
            "the making of the readers",
            lambda: MPIFileReader(readers, files, leaders_of=dataframetype) if reads else None,
        )
    finally:
        comm.Free()
    if reader is not None:
        parallelizer.reads_from(reader, readers, files)
        pipe.Add(reader)
    else:
        readers.Free()
    # The pipeline adds its PipelineInfo behind this segment, so that of a reader goes to no worker.
    pipe.Add(parallelizer)


def _checked_types(dataframetype: Any, on_progress: Any) -> tuple[Any, ...]:
    check_functions(on_progress=on_progress)
    return frame_types("dataframetype", dataframetype)


def _number_of_readers(n_io: int | None, size: int, files: Files) -> int:
    blocks = blocks_of(files)
    if n_io is None:
        at_once = max((len(block.files) for block in blocks if not block.shared), default=1)
        return max(1, min(size // _RANKS_PER_READER, at_once))
    # One rank alone reads and works, whatever the script says of more of them.
    most = size - 1 if size > 1 else n_io
    if not isinstance(n_io, int) or isinstance(n_io, bool) or not 0 < n_io <= most:
        raise UsageError(
            f"n_io is {n_io!r}; expected how many of the {size} ranks read, 1 to "
            f"{max(size - 1, 1)}, or None."
        )
    return n_io


def _names(files: Files) -> list[str]:
    return [file for block in blocks_of(files) for file in block.files]


def _serialized(frame: Frame) -> bytes:
    content: bytes = frame.__getstate__()[1]
    return content
