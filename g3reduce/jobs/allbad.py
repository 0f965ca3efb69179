"""When one bad file ends a coadd: all that are bad are named, so that nobody finds them in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ..coadd.settings import Terms
from ..errors import (
    DuplicateError,
    InputError,
    InterruptedByUser,
    MismatchError,
    RemoteError,
    StallError,
)
from ..mpi import communicators, meetings
from ..mpi.agreement import world_rank
from .choosing import Choice, listed, look_at
from .examining import fault_of

if TYPE_CHECKING:  # else loaded where files are looked at
    from .survey import Survey

# The error of a rank: something else, one of another rank, one of a file.
_OTHER, _REMOTE, _INPUT = range(3)

# Errors that a rank may have by itself.
_NOT_TOGETHER = (meetings.ApartError, InterruptedByUser, StallError)


class AllBadNamed:
    """A context in which an error of one file is told together with all other files that are bad.

    What is done inside must raise on all ranks if on any. They look at the files then, at headers
    and attributes only. Collective over the communicator, if an error comes.

    Parameters
    ----------
    comm : communicator
    choice : Choice

    Attributes
    ----------
    names : sequence of str
        The files, as soon as their names are known; the same on all ranks.
    terms : Terms or None
    """

    def __init__(self, comm: communicators.Comm, choice: Choice):
        self._comm = comm
        self._choice = choice
        self.names: Sequence[str] = ()
        self.terms: Terms | None = None

    def __enter__(self) -> AllBadNamed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, _NOT_TOGETHER):
            return
        better = None
        with contextlib.suppress(Exception):  # whatever comes now, the first error counts
            better = self._with_all(error)
        if better is not None:
            raise better from error

    def _with_all(self, error: Exception) -> Exception | None:
        """The error that names all; None if there is nothing to add. Collective."""
        state = _REMOTE if isinstance(error, RemoteError) else _OTHER
        if isinstance(error, InputError):
            state = _INPUT
        if self._choice.surveys or not self.names or self.terms is None:
            state = _OTHER
        what = "the look at all files after an error"
        states = meetings.come_together(self._comm, what, number=state).numbers
        if _OTHER in states or _INPUT not in states or self.terms is None:
            return None
        told = self._comm.allgather((world_rank(), *_told(error)))
        reporter, first, *_ = told[states.index(_INPUT)]
        faults = look_at(self._comm, self.names, self.terms, self._choice, _faults_of)
        faults |= {file: fault for _, _, file, fault, _ in told if file and file not in faults}
        # Of files that do not agree, either may be the odd one: the survey says which.
        compared = any(mismatch for *_, mismatch in told)
        if len(faults) + compared < 2:
            return None
        text = f"{first}\n{listed(list(faults.items()), len(self.names))}"
        if len(faults) > 1:
            text += '\non_error="skip" leaves such files out.'
        better: InputError | RemoteError = RemoteError({states.index(_INPUT): text})
        if isinstance(error, InputError):
            better = type(error)(text, fault=error.fault)
        better.reporter = reporter
        return better


def _faults_of(seen: Survey) -> dict[str, str]:
    """What is wrong with files that are bad, by their names."""
    return {seen.files[number].name: problem.fault for number, problem in seen.bad.items()}


def _told(error: Exception) -> tuple[str, str, str, bool]:
    """What is told of an error of a file to other ranks.

    Its text; the file that is bad by itself, and what is wrong with it; and whether it is instead
    that files do not agree.
    """
    mismatch = isinstance(error, MismatchError)
    if not isinstance(error, InputError) or isinstance(error, DuplicateError) or mismatch:
        return str(error), "", "", mismatch
    return str(error), error.file or "", fault_of(error) if error.file else "", False
