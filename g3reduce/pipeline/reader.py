"""Reading .g3 files on many ranks at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ..choices import Schedule
from ..errors import InputError, about_file
from ..g3files.decoding import frames_of
from ..g3files.fileframe import SPT3G_ERRORS, FileFrame, first_line
from ..g3files.pieces import Piece
from ..mpi import communicators, transfer, waiting
from ..mpi.agreement import agreed_arguments, collectively
from ..mpi.counter import SharedCounter
from ..mpi.interrupts import Progress
from ..progress.reading import NoReading
from ..spt3glog import unit_logger
from ..spt3gmarks import g3module
from ..spt3gtypes import Frame
from .arguments import frame_types
from .endmodule import hush_binners
from .filenames import check_files_of_rank
from .leaders import merged_leaders
from .parallelblock import Files, ParallelBlock, blocks_of
from .sources import Keeper, await_source, note_source, pipeline_begins
from .units import fingerprint_of, length_in_file, set_unit

logger = unit_logger(__name__, "MPIFileReader")


class Opener(Protocol):
    """How a reader opens the files of a parallel block."""

    def pieces(self, comm: communicators.Comm, files: Sequence[str]) -> list[Piece]:
        """The pieces in which files are handed out to ranks. Collective over `comm`."""

    def frames(self, file: str, piece: Piece) -> Iterator[tuple[int, Frame]]:
        """The frames of a piece with their numbers in the file; None for one that is left out."""


class WholeFiles:
    """The `Opener` that gives every file whole, with frames as spt3g has them."""

    def pieces(self, comm: communicators.Comm, files: Sequence[str]) -> list[Piece]:
        """One piece for each file."""
        return list(map(Piece, range(len(files))))

    def frames(self, file: str, piece: Piece) -> Iterator[tuple[int, Frame]]:
        """All frames."""
        return enumerate(frames_of(file))


def numbered_frames(opener: Opener, file: str, piece: Piece) -> Iterator[tuple[int, Frame]]:
    """The frames of a piece that are not left out, with their numbers in the file.

    Raises
    ------
    InputError
        If the file cannot be read, or is broken; it says which file.
    """
    index = -1
    with about_file(file):
        try:
            for index, frame in opener.frames(file, piece):
                waiting.moved()
                if frame is not None:
                    yield index, frame
            if index < 0 and piece.is_whole:  # what spt3g makes of a compressed file that is broken
                raise RuntimeError(
                    "there is no frame in it, or it is not compressed as its name says"
                )
        except SPT3G_ERRORS as error:
            raise InputError(
                f"{file}, frame {index + 1}: this frame cannot be read, the file is broken or cut "
                f"off here ({first_line(error)}). `spt3g-verify` shows what can be read.",
                fault=f"broken in frame {index + 1}",
            ) from error


@g3module
class MPIFileReader:
    """Read .g3 files, several at once on the ranks of a communicator; a first G3 module.

    `files` is a list. The frames of a file that stands in it by itself reach every rank: it is
    read once, on rank 0. A list inside the list is a parallel block: each of its files is read by
    one rank, whole and in order. So with ``["calibration.g3", ["obs1.g3", "obs2.g3"]]`` every rank
    first sees the calibration, then the frames of those observations that fall to it.

    Each frame carries its unit, that is, its file and index (`g3reduce.unit_of`), by which
    `MPIMapCoadder` lists its inputs and refuses one that comes twice.

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
    opener : Opener, optional
        How files are opened. Default: whole, with frames as spt3g has them.

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
        schedule: Schedule = "dynamic",
        leaders_of: Sequence[Any] | None = None,
        opener: Opener | None = None,
    ):
        comm = communicators.private(mpicomm)
        opener = opener or WholeFiles()

        def check() -> tuple[Any, dict[str, object]]:
            blocks = blocks_of(files, schedule)
            types = None if leaders_of is None else frame_types("leaders_of", leaders_of)
            listed = [block.files[0] if block.shared else list(block.files) for block in blocks]
            return (blocks, types), {"files": listed, "schedule": schedule}

        blocks, types = agreed_arguments(comm, "The arguments of MPIFileReader", check)
        parallel = [block for block in blocks if not block.shared]
        counters = [SharedCounter(comm) for _ in parallel]
        listed = [file for block in blocks for file in block.files]
        collectively(comm, lambda: check_files_of_rank(listed, comm))
        pieces = [opener.pieces(comm, block.files) for block in parallel]
        # Last: a reader that could not be made is not one that awaits its pipeline.
        self._set_up(comm, blocks, schedule, opener, counters, pieces, types)

    def _set_up(
        self,
        comm: communicators.Comm,
        blocks: Sequence[ParallelBlock],
        schedule: Schedule,
        opener: Opener,
        counters: Sequence[SharedCounter],
        pieces: Sequence[Sequence[Piece]],
        data_types: Sequence[Any] | None = None,
    ) -> None:
        """The part of the constructor that is not collective, once ranks agree on the arguments."""
        self._comm = comm
        self._blocks = blocks
        self._schedule = schedule
        self._opener = opener
        self._counters = counters
        self._pieces = pieces
        self._data_types = data_types
        # Called before this rank may have to wait for the others.
        self.before_waiting: Callable[[], object] = lambda: None
        # Told of each piece, where the files are those of one parallel block without leaders.
        self.reading = NoReading()
        self._frames: Iterator[Frame] = self._read()
        self._keeper = Keeper()
        self._files_begun = 0
        self._idle = True  # no file of a parallel block has fallen to this rank
        self._warned_of: set[int] = set()  # files, by their positions
        self.begun = self.exhausted = False
        await_source(self)

    def __call__(self, frame: Frame) -> Any:
        """Return the next frame of this rank, or an empty list when there is none (spt3g's way)."""
        self._begin()
        waiting.check()
        note_source(self)
        following = next(self._frames, None)
        if following is None:
            self.exhausted = True
            if self._idle and any(not block.shared for block in self._blocks):
                hush_binners(self)  # others have read them, and their binners complain if need be
            return []
        return self._keeper.keep(following, self)

    def __iter__(self) -> Iterator[Frame]:
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

    def _read(self) -> Iterator[Frame]:
        parallel = zip(self._pieces, self._counters, strict=True)
        for block in self._blocks:
            self.before_waiting()
            if block.shared:
                yield from self._read_for_all(block)
                continue
            if self._data_types is not None:
                yield from self._leaders_of(block)
            for piece in self._mine(*next(parallel)):
                self._idle = False
                yield from self._data_of(block, piece)
        self.before_waiting()

    def _mine(self, pieces: Sequence[Piece], counter: SharedCounter) -> Iterator[Piece]:
        """The pieces of a parallel block that this rank reads."""
        if self._schedule == "static":
            for piece in pieces:
                # A file of which all frames begin in one piece is dealt out like one that is whole.
                mine = (piece.file + piece.part) % self._comm.size == self._comm.rank
                if mine and not counter.stopped:
                    yield piece
        else:
            while (number := counter.next()) < len(pieces):
                yield pieces[number]

    def _leaders_of(self, block: ParallelBlock) -> Iterator[Frame]:
        """The metadata at the head of the files of a parallel block, merged, for all ranks."""
        for leader, frame in merged_leaders(
            self._comm,
            len(block.files),
            lambda number: self._frames_of(block, Piece(number)),
            self._is_data,
        ):
            set_unit(frame, replace(block.unit(leader.position, leader.index), shared=True))
            yield frame

    def _data_of(self, block: ParallelBlock, piece: Piece) -> Iterator[Frame]:
        """The frames of a piece of a parallel block, without leaders if those were merged."""
        data_came = self._data_types is None
        for frame in self._frames_of(block, piece):
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

    def _frames_of(self, block: ParallelBlock, piece: Piece) -> Iterator[Frame]:
        """The frames of one file, or of a piece of it, each with its unit."""
        self._files_begun += not piece.part
        self.reading.began(piece)
        n_frames = 0
        # In a compressed file, lengths of frames do not say how far one is.
        counts = self.reading.watched and block.files[piece.file].endswith(".g3")
        for frame in self._frames_in(block, piece):
            n_frames += frame.type is not None  # those before a piece are of another piece
            yield frame
            if counts:
                self.reading.passed(piece, length_in_file(frame), n_frames)
        self.reading.done(piece, block.files[piece.file], n_frames)

    def _frames_in(self, block: ParallelBlock, piece: Piece) -> Iterator[Frame]:
        file = block.files[piece.file]
        for index, frame in numbered_frames(self._opener, file, piece):
            set_unit(frame, block.unit(piece.file, index, fingerprint_of(frame)))
            self._warn_of_maps(frame)
            yield frame

    def _warn_of_maps(self, frame: Frame) -> None:
        """Warn of maps in a frame of another type, once for each file."""
        keys = getattr(frame, "maps_inside", ())
        if keys and frame.unit.position not in self._warned_of:
            self._warned_of.add(frame.unit.position)
            logger.warning(
                "%s: this is a frame of type %s, so it is not counted as a map, but it has maps "
                "(%s). No checksum covers the type of a frame: was it changed?",
                *(frame.unit, frame.type, ", ".join(keys)),
            )

    def _is_data(self, frame: Frame) -> bool:
        return self._data_types is None or frame.type in self._data_types

    def _read_for_all(self, block: ParallelBlock) -> Iterator[Frame]:
        if isinstance(self._comm, communicators.OneProcess):
            for frame in self._frames_of(block, Piece(0)):
                if self._data_types is not None and self._is_data(frame):
                    # Where there are several ranks, it would come to one of them.
                    set_unit(frame, replace(frame.unit, shared=False))
                yield frame
            return
        frames = self._frames_of(block, Piece(0))
        index = 0

        def following() -> tuple[Any, bytes | None]:
            frame = next(frames, None) if self._comm.rank == 0 else None
            return frame, None if frame is None else frame.__getstate__()[1]

        while True:
            # If this fails on rank 0, the others must not wait for a frame.
            frame, data = collectively(self._comm, following)
            more, fingerprint = self._comm.bcast((data is not None, fingerprint_of(frame)))
            if not more:
                return
            data = transfer.broadcast_bytes(self._comm, data)
            if frame is None:
                frame = FileFrame()
                frame._cereal_loads(data)
                set_unit(frame, block.unit(0, index, fingerprint))
            index += 1
            yield frame
