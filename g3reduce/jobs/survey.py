"""A look at all files on all ranks, before anything is added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..coadd.settings import Terms
from ..g3files.pieces import Piece
from ..maps.framekind import FrameKind
from ..mpi import communicators
from ..mpi.agreement import collectively
from ..mpi.counter import SharedCounter
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..progress.reading import NoReading
from ..progress.watching import Watch
from .examining import Examined, Problem, examine
from .manifest import Expected, expected_of


@dataclass
class Survey:
    """What there is in some files, and what is wrong with them.

    Attributes
    ----------
    files : list of Examined
        In the order in which they were named. The `kind` of a frame is a number.
    kinds : list of FrameKind
        The kinds of frames that there are.
    copies : dict of int to str
        Files that can be left out because files before them have all their frames: the number of
        each, and which file has them.
    undecided : str
        Why it is not known which files do not fit the others; empty if it is.
    missing : list of str
        Files that a manifest lists, and that were not given.
    """

    files: list[Examined]
    kinds: list[FrameKind]
    copies: dict[int, str] = field(default_factory=dict)
    undecided: str = ""
    missing: list[str] = field(default_factory=list)

    @property
    def bad(self) -> dict[int, Problem]:
        """The files with which a coadd would end in an error, by their numbers, and the error."""
        found = {}
        for number, file in enumerate(self.files):
            problem = next((one for one in file.problems if one.ends_it), None)
            if problem is not None:
                found[number] = problem
        return found


Found: TypeAlias = "tuple[dict[int, Examined], list[FrameKind]]"
"""What one rank has found in the files that it has looked at, by their numbers, and their kinds."""


def look_through(
    comm: communicators.Comm,
    names: Sequence[str],
    terms: Terms,
    *,
    deep: bool = False,
    manifest: Mapping[str, Expected] | None = None,
    watch: Watch | None = None,
) -> Found:
    """Look at files, each on the next rank that is free. Collective over `comm`.

    Call this directly after an agreement of all ranks.

    Parameters
    ----------
    comm : communicator
    names : list of str
        The same on all ranks.
    terms : Terms
    deep : bool
        Whether to read all pixels.
    manifest : dict of str to Expected, optional
        What a manifest says of files.
    watch : Watch, optional
        Is told of each file.

    Returns
    -------
    Found
        What this rank has found. Whatever is wrong with a file is no error here.
    """
    counter = SharedCounter(comm)
    reading = NoReading()
    if watch is not None:
        reading = watch.reading(names, list(map(Piece, range(len(names)))), "looking")
    kinds = _Kinds()

    mine: dict[int, Examined] = {}

    def look() -> None:
        while (number := counter.next()) < len(names):
            name, piece = names[number], Piece(number)
            reading.began(piece)
            expected = expected_of(name, manifest)
            found = examine(name, terms, position=number, deep=deep, expected=expected)
            mine[number] = kinds.numbered(found)
            if found.is_bad:
                reading.bad(piece)
            reading.done(piece, name, found.n_frames)
        reading.end()

    with progress_in_interrupt(lambda: Progress(len(mine), len(names), "files were looked at")):
        collectively(comm, look)
    return mine, kinds.all


def joined(everywhere: Iterable[Found]) -> Survey:
    """What there is in all files, of what each rank has found. It is used up."""
    files: dict[int, Examined] = {}
    together = _Kinds()
    for theirs, known in everywhere:
        for number, found in theirs.items():
            found.frames = [one._replace(kind=known[one.kind]) for one in found.frames]
            files[number] = together.numbered(found)
    return Survey([files[number] for number in range(len(files))], together.all)


class _Kinds:
    """Kinds of frames, each once, by the bytes of its empty maps."""

    def __init__(self) -> None:
        self.all: list[FrameKind] = []
        self._by_identity: dict[int, tuple[int, FrameKind]] = {}
        self._by_content: dict[Any, int] = {}

    def numbered(self, found: Examined) -> Examined:
        """The same with numbers in place of kinds."""
        found.frames = [one._replace(kind=self._number_of(one.kind)) for one in found.frames]
        return found

    def _number_of(self, kind: FrameKind) -> int:
        if id(kind) not in self._by_identity:
            stubs = sorted((name, stub._cereal_dumps()) for name, stub in kind.stubs.items())
            content = (*stubs, kind.apply_weights, kind.flipped)
            number = self._by_content.setdefault(content, len(self.all))
            if number == len(self.all):
                self.all.append(kind)
            self._by_identity[id(kind)] = number, kind  # held, so that no other has this id
        return self._by_identity[id(kind)][0]
