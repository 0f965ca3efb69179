"""Which of the files that were given are added, and which are left out, and why."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..choices import OnDuplicateFile, OnError, SameObservation
from ..coadd.settings import Terms
from ..errors import InputError, UsageError, require_choice
from ..formats.firstlook import check_file
from ..g3files.pieces import Piece
from ..mpi import communicators, meetings
from ..mpi.agreement import collectively, from_rank
from ..mpi.deciding import decide_at
from ..pipeline.arguments import check_flags
from ..pipeline.filenames import check_files_of_rank, refuse_repeated_inputs
from ..pipeline.ledger import LeftOut
from ..progress.watching import Watch
from .examining import Examined, Problem, examine
from .feeding import Fed
from .manifest import not_given, read_manifest

if TYPE_CHECKING:  # else loaded where files are looked at before: each file costs at start-up
    from .copies import Copy
    from .survey import Found, Survey

T = TypeVar("T")

# So many bad files are listed in a message.
_SHOWN = 200


class Choice(NamedTuple):
    """The arguments of `coadd_files` that say what becomes of files that cannot be added."""

    on_error: OnError = "error"
    max_bad: int | str | None = None
    like: str | os.PathLike[str] | None = None
    check: bool = False
    manifest: str | os.PathLike[str] | None = None
    on_duplicate: OnDuplicateFile = "error"
    same_observation: SameObservation = "warn"

    @property
    def skips(self) -> bool:
        """Whether bad files are left out."""
        return self.on_error == "skip"

    def looking(self, terms: Terms) -> Terms | None:
        """The terms on which files are looked through before they are added, if they are."""
        return terms if self.skips else None

    @property
    def surveys(self) -> bool:
        """Whether files are looked at before any is added."""
        looks = self.check or self.skips or self.on_duplicate == "skip"
        return looks or self.like is not None or self.manifest is not None

    def verify(self) -> None:
        """Refuse what cannot be.

        Raises
        ------
        UsageError
        """
        require_choice("on_error", self.on_error, OnError)
        require_choice("on_duplicate", self.on_duplicate, OnDuplicateFile)
        check_flags(check=self.check)
        for name, value in (("like", self.like), ("manifest", self.manifest)):
            if value is not None and not isinstance(value, str | os.PathLike):
                raise UsageError(f"{name} is {value!r}; expected the name of a file, or None.")
        self.most_bad(1)
        if self.max_bad is not None and not self.skips:
            raise UsageError('max_bad bounds what on_error="skip" leaves out: give both.')

    def most_bad(self, n_files: int) -> float:
        """How many of so many files may be bad.

        Raises
        ------
        UsageError
            If `max_bad` is no number.
        """
        bound = self.max_bad
        if bound is None:
            return n_files
        try:
            part = isinstance(bound, str) and bound.endswith("%")
            most = float(str(bound)[:-1]) / 100 * n_files if part else float(int(str(bound)))
        except ValueError:
            most = -1.0
        if not most >= 0 or isinstance(bound, bool):
            raise UsageError(
                f"max_bad is {bound!r}; expected a number of files, or a part of them, as '5%'."
            )
        return most


class Chosen(NamedTuple):
    """The files that are to be added, of those that were given.

    Attributes
    ----------
    names : list of str
        All that were given. They keep their positions, whatever is left out.
    left_out : dict of int to str
        The positions of those that are left out, and why.
    n_bad : int
        How many of these are bad.
    """

    names: list[str]
    left_out: dict[int, str]
    n_bad: int = 0

    def of(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces of the files that are to be added."""
        return [piece for piece in pieces if piece.file not in self.left_out]

    @property
    def listed(self) -> list[LeftOut]:
        """What is left out, as ledgers list it."""
        return [LeftOut(self.names[at], -1, self.left_out[at]) for at in sorted(self.left_out)]

    def without(self, left_out: Mapping[int, str], n_bad: int, choice: Choice) -> Chosen:
        """The same without these files, by their positions, each with the reason.

        Raises
        ------
        InputError
            If more are bad than may be, or none is left.
        """
        fewer = Chosen(self.names, {**self.left_out, **left_out}, self.n_bad + n_bad)
        text = listed([(one.file, one.reason) for one in fewer.listed], len(self.names))
        if fewer.n_bad > choice.most_bad(len(self.names)):
            raise InputError(f"{text}\nThese are more than max_bad={choice.max_bad!r} allows.")
        if len(fewer.left_out) == len(self.names):
            raise InputError(text)
        return fewer

    def require_uncounted(self, done: Collection[int]) -> None:
        """Refuse to go on from sums that have files in them which are left out now.

        Raises
        ------
        InputError
        """
        counted = sorted(self.left_out.keys() & set(done))
        if counted:
            raise InputError(
                f"{self.names[counted[0]]}: this is in the checkpoint, but is to be left out now "
                f"({self.left_out[counted[0]]}). Begin without the checkpoint."
            )


def first_look(names: Sequence[str], comm: communicators.Comm, choice: Choice) -> None:
    """Look whether the files of this rank are there, unless all will be looked at more closely.

    Raises
    ------
    InputError, DuplicateError
        If one is missing, unreadable, empty, or visibly not what its name says, or is named twice.
    """
    if not choice.surveys:
        check_files_of_rank(names, comm, check_file)
        if choice.on_duplicate == "error" and comm.rank == 0:
            refuse_repeated_inputs(names)


def choose(
    comm: communicators.Comm,
    names: list[str],
    terms: Terms,
    choice: Choice,
    root: int,
    watch: Watch,
    *,
    whole: bool = False,
) -> tuple[Chosen, Survey | None]:
    """Choose the files to be added. Collective over `comm` if they are to be looked at.

    Returns
    -------
    chosen : Chosen
    seen : Survey or None
        What there is in all, if they were looked at and this is asked for (`whole`).

    Raises
    ------
    InputError
        On all ranks, if there are bad files that are not to be left out, or too many of them.
    """
    chosen = Chosen(names, {})
    if not choice.surveys:
        watch.stage("looking")
        return chosen, None

    def decide(seen: Survey) -> tuple[dict[int, str], int, Survey | None]:
        bad = {number: problem.fault for number, problem in seen.bad.items()}
        if seen.undecided or (bad and not choice.skips):
            raise error_of(seen)
        fewer = chosen.without({**seen.copies, **bad}, len(bad), choice)
        return fewer.left_out, fewer.n_bad, seen if whole else None

    left_out, n_bad, seen = look_at(comm, names, terms, choice, decide, root=root, watch=watch)
    return Chosen(names, left_out, n_bad), seen


def look_at(
    comm: communicators.Comm,
    names: Sequence[str],
    terms: Terms,
    choice: Choice,
    conclude: Callable[[Survey], T],
    *,
    root: int = 0,
    deep: bool = False,
    watch: Watch | None = None,
) -> T:
    """Look at all files, and compare them with one another. Collective over `comm`.

    What all ranks have found is on `root` alone, since it is something for each file. All ranks get
    what ``conclude(seen)`` makes of it there.

    Raises
    ------
    InputError
        On all ranks, if `like` or the manifest cannot be read, or if `conclude` raises it.
    """
    from .copies import copies_among
    from .survey import joined, look_through

    manifest = choice.manifest
    expected = manifest and from_rank(comm, root, lambda: read_manifest(os.fspath(manifest)))
    # The file that all must be like is looked at beside the others.
    models = [] if choice.like is None else [os.fspath(choice.like)]
    mine = look_through(
        comm, [*names, *models], terms, deep=deep, manifest=expected or None, watch=watch
    )

    def judge(everywhere: Sequence[Found]) -> T:
        seen = joined(everywhere)
        like = seen.files.pop() if models else None
        copies = copies_among(seen.files) if choice.on_duplicate != "sum" else {}
        seen.missing = not_given(names, expected) if expected else []
        _compare(seen, copies, terms, choice, like)
        return conclude(seen)

    return decide_at(comm, root, mine, judge, what="what is in the files to be compared")


def _compare(
    seen: Survey, copies: Mapping[int, Copy], terms: Terms, choice: Choice, like: Examined | None
) -> None:
    """Add to a survey what is wrong with files beside others."""
    from .copies import tell_of_repeated_observations
    from .majority import odd_ones, require_model, tell_of_fewer_maps

    if like is not None:
        require_model(like, seen, terms)
    for number, copy in copies.items():
        if copy.whole and choice.on_duplicate == "skip":
            seen.copies[number] = copy.fault
        else:
            message = f"{seen.files[number].name}: {copy.fault}, so it would be summed twice."
            seen.files[number].problems.append(Problem(copy.fault, message))
    usable = set(range(len(seen.files))) - seen.bad.keys() - seen.copies.keys()
    judged = odd_ones(seen, terms, usable, like)
    for number, problem in judged.odd.items():
        seen.files[number].problems.append(problem)
    seen.undecided = judged.undecided
    fine = [seen.files[number] for number in sorted(usable - judged.odd.keys())]
    tell_of_fewer_maps(fine)
    if choice.same_observation != "sum":
        # Which of them is wanted nobody can know, so that none is left out.
        ends_it = choice.same_observation == "error" and not choice.skips
        tell_of_repeated_observations(fine, ends_it=ends_it)


def error_of(seen: Survey) -> InputError:
    """The error for all that is wrong with some files."""
    bad = seen.bad
    texts = []
    if len(bad) == 1:
        ((number, problem),) = bad.items()
        error = InputError(problem.message or problem.fault, fault=problem.fault)
        error.file = seen.files[number].name
        if not seen.undecided:
            return error
        texts.append(str(error))
    elif bad:
        faults = [(seen.files[number].name, problem.fault) for number, problem in bad.items()]
        texts.append(listed(faults, len(seen.files)))
        if not seen.undecided:
            texts.append('on_error="skip" leaves such files out.')
    return InputError("\n".join([*texts, *filter(None, [seen.undecided])]))


def listed(faults: Sequence[tuple[str, str]], n_files: int) -> str:
    """Files that cannot be used, and why, one a line."""
    which = f"{len(faults)} of {n_files} files" if len(faults) < n_files else f"All {n_files} files"
    if n_files == 1:
        which = "The only file"
    lines = [f"\n  {name}: {fault}" for name, fault in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"\n  ... and {len(faults) - _SHOWN} more")
    return f"{which} cannot be used:{''.join(lines)}"


def after_feeding(
    comm: communicators.Comm, chosen: Chosen, fed: Fed, terms: Terms, choice: Choice
) -> tuple[Chosen, bool]:
    """Leave out what turned out to be bad while it was added, on any rank.

    Collective over `comm` if bad files are left out.

    Returns
    -------
    chosen : Chosen
    again : bool
        Whether all is to be added again, because frames of such a file may have been counted.

    Raises
    ------
    InputError
        On all ranks, if more are bad than may be, or none is left.
    """
    if not choice.skips:
        return chosen, False
    told = meetings.come_together(
        comm,
        "the end of adding",
        failed=fed.failure is not None,
        number=bool(fed.bad or fed.again),
    )
    if any(told.failed) or not any(told.numbers):
        return chosen, False  # where any has failed, all ranks raise when they join
    bad: dict[int, str] = {}
    again = False
    for theirs, begins_again in comm.allgather((fed.bad, fed.again is not None)):
        bad = theirs | bad
        again |= begins_again
    if bad:
        # Which rank came to which fault first, and how, is chance; that of the whole file is not.
        names = chosen.names
        bad = from_rank(
            comm, 0, lambda: {at: _first_fault(names[at], terms, bad[at]) for at in sorted(bad)}
        )
        chosen = collectively(comm, lambda: chosen.without(bad, len(bad), choice))
    return chosen, again


def _first_fault(name: str, terms: Terms, otherwise: str) -> str:
    problems = examine(name, terms, deep=True).problems
    return next((problem.fault for problem in problems if problem.ends_it), otherwise)
