"""Calls of functions that users wrote: an error in one says where, and of what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import G3ReduceError, ReductionError, text_of


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
