"""Events: what happens while files are worked on, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from .timing import RankTiming


@dataclass(frozen=True)
class Totals:
    """How far the work is, on all ranks together.

    Attributes
    ----------
    files, n_files : int
        Files that are done, and files in all. Those that are set aside count as done.
    bytes : int
        Bytes of the files that are done.
    n_bytes : float
        About how many bytes there are in all.
    frames : int
        Frames that were read.
    set_aside : int
        Files that were left out.
    behind : tuple of int
        The ranks that have worked on their file for much longer than others on theirs.
    """

    files: int = 0
    n_files: int = 0
    bytes: int = 0
    n_bytes: float = 0.0
    frames: int = 0
    set_aside: int = 0
    behind: tuple[int, ...] = ()

    @property
    def fraction(self) -> float:
        """Which part of the work is done, from 0 to 1: by bytes, or by files if none are known."""
        if self.n_files and self.files >= self.n_files:
            return 1.0
        if self.n_bytes > 0:
            return min(1.0, self.bytes / self.n_bytes)
        return self.files / self.n_files if self.n_files else 0.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that has happened; the class says what.

    Attributes
    ----------
    time : float
        When, in seconds since the work began.
    rank : int
        On which rank.
    totals : Totals
        How far all ranks are.
    """

    kind: ClassVar[str] = ""

    time: float
    rank: int = 0
    totals: Totals = Totals()


@dataclass(frozen=True, kw_only=True)
class Begun(Event):
    """The work has begun.

    Attributes
    ----------
    task : str
        Which: "coadd", "stitch", ...
    n_ranks : int
    started : str
        The date and time of time 0, as ISO 8601 has it, in UTC.
    host : str
        That of rank 0.
    command : tuple of str
        The command line.
    versions : mapping of str to str
        Of this package, and of those that it works with.
    """

    kind: ClassVar[str] = "begun"

    task: str
    n_ranks: int = 1
    started: str = ""
    host: str = ""
    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StageBegun(Event):
    """A stage of the work has begun, on rank 0.

    Attributes
    ----------
    stage : str
        "looking", "planning", "reading", "joining" or "writing".
    number, n_passes : int
        Which pass over all files it is of, and how many of them are planned: splits that do not
        fit in memory are made in several.
    """

    kind: ClassVar[str] = "stage"

    stage: str
    number: int = 1
    n_passes: int = 1


@dataclass(frozen=True, kw_only=True)
class FileStarted(Event):
    """A rank has begun to read a file, or a part of one.

    A file that is done within a fraction of a second comes as `FileDone` alone.

    Attributes
    ----------
    file : str
    part : int
        Which part, of a large file that several ranks read.
    """

    kind: ClassVar[str] = "file started"

    file: str
    part: int = 0


@dataclass(frozen=True, kw_only=True)
class FileDone(Event):
    """A rank has read a file, or a part of one.

    Attributes
    ----------
    file : str
    part : int
        Which part, of a large file that several ranks read.
    began : float
        When this rank began with it, in seconds since the work began.
    n_bytes, n_frames : int
        Of the file, or of the part.
    sound : bool
        False if it is bad and was passed over; `SetAside` says why.
    """

    kind: ClassVar[str] = "file done"

    file: str
    part: int = 0
    began: float = 0.0
    n_bytes: int = 0
    n_frames: int = 0
    sound: bool = True


@dataclass(frozen=True, kw_only=True)
class SetAside(Event):
    """A file, or a frame of one, was left out.

    Attributes
    ----------
    file : str
    frame : int
        The index of the frame; -1 for the whole file.
    reason : str
    """

    kind: ClassVar[str] = "set aside"

    file: str
    reason: str
    frame: int = -1


@dataclass(frozen=True, kw_only=True)
class Behind(Event):
    """A rank has worked on a file for three times as long as the median of those that are done.

    Attributes
    ----------
    file : str
    seconds, median : float
    """

    kind: ClassVar[str] = "behind"

    file: str
    seconds: float
    median: float


@dataclass(frozen=True, kw_only=True)
class ReadAgain(Event):
    """All files are read once more.

    Attributes
    ----------
    reason : str
    """

    kind: ClassVar[str] = "read again"

    reason: str


@dataclass(frozen=True, kw_only=True)
class Checkpointed(Event):
    """A set of checkpoints was committed.

    Attributes
    ----------
    number : int
        Of the set.
    n_files : int
        How many files are in it.
    """

    kind: ClassVar[str] = "checkpoint"

    number: int
    n_files: int


@dataclass(frozen=True, kw_only=True)
class Joined(Event):
    """The sums of all ranks were joined.

    Attributes
    ----------
    n_coadds : int
    """

    kind: ClassVar[str] = "joined"

    n_coadds: int


@dataclass(frozen=True, kw_only=True)
class Written(Event):
    """An output file is complete.

    Attributes
    ----------
    file : str
    n_bytes : int
    """

    kind: ClassVar[str] = "written"

    file: str
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class Summarised(Event):
    """All is done, and this is what it took.

    Attributes
    ----------
    strategy : str
        How the sums of all ranks were joined: see `g3reduce.strategies.Statistics`.
    why : str
        Why so.
    nodes : int
        How many nodes there were.
    seconds, predicted : float
        Of the joining itself, on the rank that took the longest; and what was predicted.
    bytes_moved : int
        What ranks have sent, or moved in each other's memory, to join their sums.
    ranks : tuple of RankTiming
        The stages and the memory of each rank.
    """

    kind: ClassVar[str] = "summary"

    strategy: str
    why: str
    nodes: int = 1
    seconds: float = 0.0
    predicted: float = 0.0
    bytes_moved: int = 0
    ranks: tuple[RankTiming, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ended(Event):
    """The work has ended.

    Attributes
    ----------
    outcome : str
        "done", "stopped" (with a checkpoint), "failed" or "interrupted".
    reason : str
        What went wrong, if anything did.
    """

    kind: ClassVar[str] = "ended"

    outcome: str
    reason: str = ""


Observer: TypeAlias = Callable[[Event], object]

CLASSES: Mapping[str, type[Event]] = {
    each.kind: each
    for each in (
        *(Begun, StageBegun, FileStarted, FileDone, SetAside, Behind),
        *(ReadAgain, Checkpointed, Joined, Written, Summarised, Ended),
    )
}
