"""The few exceptions of g3reduce: what was received, what was expected, what to do, and where."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, get_args

__all__ = [
    "DuplicateError",
    "G3ReduceError",
    "InputError",
    "InterruptedByUser",
    "MismatchError",
    "OutputError",
    "ReductionError",
    "RemoteError",
    "StallError",
    "Stopped",
    "UsageError",
]


def text_of(error: BaseException) -> str:
    """The text of an error, also where its own ``__str__`` fails."""
    try:
        return str(error)
    except Exception as failure:  # of somebody else's __str__
        return f"(no text: its __str__ failed with {type(failure).__name__})"


def lines_of_the_user(error: BaseException) -> list[str]:
    """The lines of a traceback that are not inside of this package or of IPython, and the text."""
    import traceback

    inside = (os.path.dirname(__file__) + os.sep, f"{os.sep}IPython{os.sep}")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in inside)
    ]
    lines = "".join(traceback.format_list(frames)).rstrip().splitlines()
    return [*lines, f"{type(error).__name__}: {text_of(error)}"]


class G3ReduceError(Exception):
    """Base class of every error that g3reduce raises on purpose.

    Attributes
    ----------
    reporter : int or None
        The rank that should show this error to the user, once all ranks know of it.
        None while only this rank knows of it.
    """

    reporter: int | None = None

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows: those of the user's own code, and the message.

        Frames of this package say nothing to whoever has given it a wrong argument or file.
        """
        return lines_of_the_user(self)


class UsageError(G3ReduceError, ValueError):
    """An argument cannot be used: unknown name, wrong type, or not the same on all ranks."""


class InputError(G3ReduceError):
    """Input that cannot be read, is not what was asked for, or is broken.

    Parameters
    ----------
    *args
        The message.
    fault : str
        What is wrong, in a few words: ``"cut off at byte 9197"``. May be empty.

    Attributes
    ----------
    file : str or None
        The file that cannot be used, as it was named; None if it is not one file alone.
    """

    file: str | None = None

    def __init__(self, *args: object, fault: str = ""):
        super().__init__(*args)
        self.fault = fault


class Difference(NamedTuple):
    """What two frames of maps differ in.

    Attributes
    ----------
    attribute : str
        ``"units"``; of frames of which one lacks a plane, ``"planes"``.
    mine, theirs : str
        Both values.
    plane : str
        Of which plane; empty if of all.
    """

    attribute: str
    mine: str
    theirs: str
    plane: str = ""

    def __str__(self) -> str:
        return f"{self.attribute}, {self.mine} and {self.theirs}"


class MismatchError(InputError):
    """Map frames that must not be added to each other, because they do not agree.

    Parameters
    ----------
    *args, fault
        As of `InputError`.
    differences : tuple of Difference
        Where two frames were compared, what they differ in.
    """

    def __init__(self, *args: object, fault: str = "", differences: tuple[Difference, ...] = ()):
        super().__init__(*args, fault=fault)
        self.differences = differences


class DuplicateError(InputError):
    """The same unit of input would be counted twice."""


class InterruptedByUser(G3ReduceError):
    """SIGINT (Ctrl-C) or SIGTERM came while a guard was open."""


class Stopped(G3ReduceError):
    """The work was stopped as it was asked to, and its checkpoints let it go on."""


class StallError(G3ReduceError):
    """Nothing has moved on any rank for as long as the guard allows."""


class OutputError(G3ReduceError):
    """The result cannot be written."""


class ReductionError(G3ReduceError):
    """A function of a reduction has failed, or has returned what cannot be used."""


class about_file:
    """A context that lets errors of input from inside say which file they are about.

    Parameters
    ----------
    name : str
        The file, as it was named.
    """

    __slots__ = ("_name",)  # it is entered for each frame

    def __init__(self, name: str):
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, InputError) and error.file is None:
            error.file = self._name


def require_choice(name: str, value: object, kind: Any) -> None:
    """Refuse a value that is not among the choices of an argument.

    Parameters
    ----------
    name : str
        The argument.
    value : object
    kind : Literal
        One of `g3reduce.choices`.

    Raises
    ------
    UsageError
        With the list of what can be chosen.
    """
    choices = get_args(kind)
    if not (isinstance(value, str) and value in choices):
        raise UsageError(f"{name} is {value!r}; expected one of {', '.join(choices)}.")


class RemoteError(G3ReduceError):
    """Another rank failed; raised on the ranks without an error of their own.

    Parameters
    ----------
    failures : dict of int to str
        What happened, for each rank that failed.
    """

    def __init__(self, failures: dict[int, str]):
        self.failures = failures
        listed = "; ".join(f"rank {rank}: {text}" for rank, text in sorted(failures.items()))
        super().__init__(f"another rank failed ({listed})")

    def __reduce__(self) -> tuple[type[RemoteError], tuple[dict[int, str]]]:
        return RemoteError, (self.failures,)
