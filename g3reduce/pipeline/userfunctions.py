"""Functions that users give to modules: calls whose errors name the frame; and ``by=``."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NoReturn

from ..errors import G3ReduceError, ReductionError, UsageError, text_of
from ..spt3gtypes import Frame


class UserFunctions:
    """The functions that a user gave to a module, on one rank.

    Parameters
    ----------
    owner : str
        Whose they are, as messages put it after "of".
    on_rank : str
        How messages name this rank, see `g3reduce.mpi.agreement.describe_rank`.
    """

    def __init__(self, owner: str, on_rank: str):
        self._owner = owner
        self._on_rank = on_rank

    def call(self, name: str, function: Callable[..., Any], where: str, *arguments: Any) -> Any:
        """Call a function.

        Parameters
        ----------
        name : str
            What it is to its owner: ``"extract"``, say.
        function : callable
        where : str
            On what it works, as messages put it after "at".
        *arguments

        Raises
        ------
        ReductionError
            If the function raises, with its error as the cause.
        """
        try:
            return function(*arguments)
        except G3ReduceError:  # it names what is wrong
            raise
        except Exception as error:
            self.fail(name, where, f"failed: {type(error).__name__}: {text_of(error)}", error)

    def fail(self, name: str, where: str, text: str, cause: Exception | None = None) -> NoReturn:
        """Say that a function is not as it should be, or returned what it should not."""
        raise ReductionError(
            f"{name} of {self._owner} {text} (at {where}{self._on_rank})"
        ) from cause


def check_by(by: Any) -> None:
    """Refuse what is neither a name nor a function.

    Raises
    ------
    UsageError
    """
    if by is not None and not isinstance(by, str) and not callable(by):
        raise UsageError(
            f"by is {by!r}; expected the name of a key of frames, a function that returns the key "
            "of a frame's group, or None."
        )


class Grouping:
    """The rule by which frames are shared out to groups.

    Parameters
    ----------
    by : str, callable or None
        The key of a frame, a function of it, or None: all belong to one group, ``()``.
    functions : UserFunctions
    """

    def __init__(self, by: str | Callable[[Frame], Hashable] | None, functions: UserFunctions):
        self._by = by
        self._functions = functions
        self._latest: Hashable = None

    @property
    def several(self) -> bool:
        """Whether there may be several groups."""
        return self._by is not None

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which group those after it belong."""
        if isinstance(self._by, str) and self._by in frame:
            self._latest = frame[self._by]

    def key_of(self, frame: Frame, where: str) -> Hashable:
        """The group of a frame that was looked at; None if it belongs to none."""
        if self._by is None:
            return ()
        if isinstance(self._by, str):
            key = self._latest
            if key is None:
                self._functions.fail(
                    "by", where, f"names the key {self._by!r}, which no frame had so far"
                )
        else:
            key = self._functions.call("by", self._by, where, frame)
        try:
            hash(key)
        except TypeError as error:
            text = f"gives {key!r} ({type(key).__name__}); expected a key that is hashable"
            self._functions.fail("by", where, text, error)
        return key
