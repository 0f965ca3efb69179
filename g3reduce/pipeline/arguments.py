"""Checks of arguments that several constructors take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from spt3g import core

from ..errors import UsageError


def check_flags(**flags: object) -> None:
    """Refuse what is neither True nor False.

    Raises
    ------
    UsageError
    """
    for name, value in flags.items():
        boolean = isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1))
        if not boolean:
            raise UsageError(f"{name} is {value!r}; expected True or False.")


def check_functions(**functions: object) -> None:
    """Refuse what cannot be called, and is not None.

    Raises
    ------
    UsageError
    """
    for name, value in functions.items():
        if value is not None and not callable(value):
            raise UsageError(f"{name} is {value!r}; expected a function, or None.")


def frame_types(name: str, types: Any) -> tuple[Any, ...]:
    """Types of frames, from what a user may give.

    Raises
    ------
    UsageError
        If they are none.
    """
    found = tuple(types) if isinstance(types, Iterable) else ()
    if not found or not all(isinstance(one, core.G3FrameType) for one in found):
        raise UsageError(
            f"{name} is {types!r}; expected types of frames, such as [core.G3FrameType.Scan]."
        )
    return found
