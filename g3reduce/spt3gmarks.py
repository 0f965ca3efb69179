"""Marks by which spt3g's documentation tool knows G3 modules and functions (``spt3g-inspect``).

They are what ``core.indexmod`` and ``core.usefulfunc`` set, without loading spt3g.
"""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def g3module(thing: T) -> T:
    """Mark a class or a function that can be added to a pipeline."""
    marked: Any = thing
    marked.__g3module__ = True
    return thing


def useful(thing: T) -> T:
    """Mark a function or a class that users call."""
    marked: Any = thing
    marked.__g3usefulfunc__ = True
    return thing
