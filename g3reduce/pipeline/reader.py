"""Reading .g3 files on many ranks at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ..errors import InputError, UsageError
from ..g3files.decoding import frames_of
from ..g3files.fileframe import SPT3G_ERRORS, FileFrame, first_line
from ..g3files.names import check_files
from ..mpi import communicators, transfer, waiting
from ..mpi.agreement import agreed_arguments, collectively
from ..mpi.counter import SharedCounter
from ..mpi.interrupts import Progress
from .arguments import frame_types
from .blockhead import merged_leaders
from .ledger import Unit, attach
from .sources import Keeper, await_source, note_source, pipeline_begins

logger = logging.getLogger(__name__)

PathLike: TypeAlias = "str | os.PathLike[str]"
Files: TypeAlias = "Sequence[PathLike | Sequence[PathLike]]"

SCHEDULES = ("dynamic", "static")


@dataclass(frozen=True)
class Block:
    """Files that are read together: one that every rank sees, or several that are shared out."""

    files: tuple[str, ...]
    shared: bool
    first_position: int  # of its files, in the whole list


class MPIFileReader:
    """Read .g3 files, several at once on the ranks of a communicator; a first G3 module.

    `files` is a list. The frames of a file that stands in it by itself reach every rank: it is
    read once, on rank 0. A list inside the list is a parallel block: each of its files is read by
    one rank, whole and in order. So with ``["calibration.g3", ["obs1.g3", "obs2.g3"]]`` every rank
    first sees the calibration, then the frames of those observations that fall to it.

    Each frame carries the name of where it came from (`g3reduce.unit_of`), by which
    `MPIMapCoadder` knows its inputs and notices one that comes twice.

    Collective over `mpicomm`: the constructor, and reading a file that every rank sees.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    files : list of (str, path, or list of these)
        The same on all ranks. The list is not changed.
    schedule : {"dynamic", "static"}
        How the files of a parallel block are shared out: each to the next rank that is free, or
        dealt out in order (file ``i`` to rank ``i % size``), the same in each run.
    leaders_of : sequence of G3FrameType, optional
        Types of data frames. If given, the metadata that lead the files of a parallel block are
        merged, and reach every rank before the block's data; see `MPIIODistributor`.

    Attributes
    ----------
    exhausted : bool
        Whether the pipeline has seen the last frame. It has not if it was halted.

    Raises
    ------
    InputError
        On all ranks, if a file is missing, empty or no .g3 file; later, on the rank that reads
        it, if a file turns out to be broken (with the file and the index of the frame), or if,
        with `leaders_of`, metadata come after data in a file of a parallel block.
    MismatchError
        On all ranks, if, with `leaders_of`, metadata of a parallel block contradict each other.
    UsageError
        If the arguments are of the wrong kind or differ between ranks.

    Examples
    --------
    >>> pipe.Add(MPIFileReader, mpicomm=comm, files=["cal.g3", ["a.g3", "b.g3"]])  # doctest: +SKIP
    """

    def __init__(
        self,
        mpicomm: communicators.Comm | None,
        files: Files,
        *,
        schedule: str = "dynamic",
        leaders_of: Sequence[Any] | None = None,
    ):
        self._comm = communicators.private(mpicomm)
        self._schedule = schedule
        # Called before this rank may have to wait for the others.
        self.before_waiting: Callable[[], object] = lambda: None

        def check() -> tuple[Any, dict[str, object]]:
            blocks = blocks_of(files, schedule)
            types = None if leaders_of is None else frame_types("leaders_of", leaders_of)
            listed = [block.files[0] if block.shared else list(block.files) for block in blocks]
            return (blocks, types), {"files": listed, "schedule": schedule}

        self._blocks, self._data_types = agreed_arguments(
            self._comm, "The arguments of MPIFileReader", check
        )
        self._counters = [SharedCounter(self._comm) for block in self._blocks if not block.shared]
        collectively(self._comm, self._check_own_share)  # so the counters may be used
        self._frames: Iterator[Any] = self._read()
        self._keeper = Keeper()
        self._files_begun = 0
        self._warned_of: set[int] = set()  # files, by their positions
        self.begun = self.exhausted = False
        await_source(self)

    def __call__(self, frame: Any) -> Any:
        """Return the next frame of this rank, or an empty list when there is none (spt3g's way)."""
        self._begin()
        waiting.check()
        note_source(self)
        following = next(self._frames, None)
        if following is None:
            self.exhausted = True
            return []
        return self._keeper.keep(following, self)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the frames of this rank, without a pipeline."""
        self._begin()
        note_source(self)
        for frame in self._frames:
            waiting.check()
            yield frame
        self.exhausted = True

    def _begin(self) -> None:
        if not self.begun:
            communicators.require_rank(self._comm)
            self.begun = True
            pipeline_begins()
            waiting.expect_to_end(self)

    def progress(self) -> Progress:
        """How many files this rank has begun, and how many there are for all ranks."""
        total = sum(len(block.files) for block in self._blocks)
        return Progress(self._files_begun, total, "files were begun")

    def stop(self) -> None:
        """Let no rank begin another file, because something went wrong on this one."""
        for counter in self._counters:
            counter.stop()

    @staticmethod
    def open_file(file: str) -> Iterator[Any]:
        """The frames of one file; what a reader of another kind of frames does in its own way."""
        return frames_of(file)

    def _check_own_share(self) -> None:
        # Each rank looks at some of the files: thousands of them on a network take a while.
        files = [file for block in self._blocks for file in block.files]
        check_files(files[self._comm.rank :: self._comm.size])

    def _read(self) -> Iterator[Any]:
        counters = iter(self._counters)
        for block in self._blocks:
            self.before_waiting()
            if block.shared:
                yield from self._read_for_all(block)
                continue
            if self._data_types is not None:
                yield from self._leaders_of(block)
            counter = next(counters)
            if self._schedule == "static":
                for number in self._dealt_to_me(block):
                    if not counter.stopped:
                        yield from self._share_of(block, number)
            else:
                while (number := counter.next()) < self._n_shares(block):
                    yield from self._share_of(block, number)
        self.before_waiting()

    def _n_shares(self, block: Block) -> int:
        """In how many shares a parallel block is handed out: here, a file is one."""
        return len(block.files)

    def _dealt_to_me(self, block: Block) -> Sequence[int]:
        """Which of them are for this rank, where they are dealt out in order."""
        return range(self._comm.rank, len(block.files), self._comm.size)

    def _share_of(self, block: Block, number: int) -> Iterator[Any]:
        """The frames of a share."""
        yield from self._data_of(block, number)

    def _leaders_of(self, block: Block) -> Iterator[Any]:
        """The metadata at the head of the files of a parallel block, merged, for all ranks."""
        for leader, frame in merged_leaders(
            self._comm,
            len(block.files),
            lambda number: self._frames_of(block, number),
            self._is_data,
        ):
            attach(frame, replace(unit_in(block, leader.position, leader.index), shared=True))
            yield frame

    def _data_of(self, block: Block, number: int) -> Iterator[Any]:
        """The frames of a file of a parallel block, without its leaders if those were merged."""
        data_came = self._data_types is None
        for frame in self._frames_of(block, number):
            if self._is_data(frame):
                data_came = True
            elif data_came:
                raise InputError(
                    f"{frame.unit}: a {frame.type} frame, which is "
                    "metadata, comes after data in a file of a parallel block, so its place among "
                    "the data of the other files is not known. Read this file by itself (not in a "
                    f"nested list), or count {frame.type} among the dataframetype."
                )
            if data_came:
                yield frame

    def _frames_of(self, block: Block, number: int) -> Iterator[Any]:
        """The frames of one file, each with its unit."""
        index = 0
        self._files_begun += 1
        with naming(block.files[number], lambda: index):
            for frame in self.open_file(block.files[number]):
                attach(frame, unit_in(block, number, index))
                self._warn_of_maps(frame)
                yield frame
                index += 1
            if not index:  # what spt3g makes of a compressed file that is broken
                raise RuntimeError(
                    "there is no frame in it, or it is not compressed as its name says"
                )

    def _warn_of_maps(self, frame: Any) -> None:
        """Tell of maps in a frame of another type, once a file."""
        keys = getattr(frame, "maps_inside", ())
        if keys and frame.unit.position not in self._warned_of:
            self._warned_of.add(frame.unit.position)
            logger.warning(
                "%s: this is a frame of type %s, so it is not counted as a map, but it has maps "
                "(%s). No checksum covers the type of a frame: was it changed?",
                *(frame.unit, frame.type, ", ".join(keys)),
            )

    def _is_data(self, frame: Any) -> bool:
        return self._data_types is None or frame.type in self._data_types

    def _read_for_all(self, block: Block) -> Iterator[Any]:
        if isinstance(self._comm, communicators.OneProcess):
            for frame in self._frames_of(block, 0):
                if self._data_types is not None and self._is_data(frame):
                    # Where there are several ranks, it would come to one of them.
                    attach(frame, replace(frame.unit, shared=False))
                yield frame
            return
        frames = self._frames_of(block, 0)
        index = 0

        def following() -> tuple[Any, bytes | None]:
            frame = next(frames, None) if self._comm.rank == 0 else None
            return frame, None if frame is None else frame.__getstate__()[1]

        while True:
            # If this fails on rank 0, the others must not wait for a frame.
            frame, data = collectively(self._comm, following)
            if not self._comm.bcast(data is not None):
                return
            data = transfer.broadcast_bytes(self._comm, data)
            if frame is None:
                frame = FileFrame()
                frame._cereal_loads(data)
                attach(frame, unit_in(block, 0, index))
            index += 1
            yield frame


@contextmanager
def naming(file: str, index: Callable[[], int]) -> Iterator[None]:
    """Let errors of spt3g say which file it was, and which frame."""
    try:
        yield
    except SPT3G_ERRORS as error:
        raise InputError(
            f"{file}, frame {index()}: this frame cannot be read, the file is broken or cut off "
            f"here ({first_line(error)}). `spt3g-verify` shows what can be read."
        ) from error


def check_schedule(schedule: str) -> None:
    """Refuse what is no way to share out files.

    Raises
    ------
    UsageError
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"schedule is {schedule!r}; expected one of {', '.join(SCHEDULES)}.")


def blocks_of(files: Files, schedule: str = SCHEDULES[0]) -> tuple[Block, ...]:
    """What is to be read by all ranks, and what is shared out.

    Raises
    ------
    UsageError
        If an argument cannot be used.
    """
    check_schedule(schedule)
    entries: Any = [files] if isinstance(files, str | os.PathLike) else files
    if isinstance(entries, bytes) or not isinstance(entries, Iterable):
        raise UsageError(
            f"files is {files!r}; expected a list of names of files, and of lists of names for "
            "what is to be read in parallel."
        )
    blocks: list[Block] = []
    position = 0
    for entry in entries:
        shared = isinstance(entry, str | os.PathLike)
        listed = isinstance(entry, Iterable) and not isinstance(entry, bytes)
        names: list[Any] = list(entry) if listed and not shared else [entry]
        for name in names:
            if not isinstance(name, str | os.PathLike):
                raise UsageError(
                    f"files holds {name!r} ({type(name).__name__}); expected names of files, and "
                    "lists of names for what is to be read in parallel."
                )
        block = Block(tuple(map(os.fspath, names)), shared, position)
        position += len(block.files)
        blocks.append(block)
    return tuple(blocks)


def unit_in(block: Block, number: int, index: int) -> Unit:
    """The name of a frame of one of the files of a block."""
    return Unit(block.files[number], index, block.first_position + number, block.shared)
