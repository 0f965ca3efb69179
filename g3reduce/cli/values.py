"""Values of options, which are refused before any work begins."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any


def count(word: str) -> int:
    """A number of things, of which there has to be one at least."""
    return _whole_number(word, 1)


def seed(word: str) -> int:
    """The seed of a random generator."""
    return _whole_number(word, 0)


def _whole_number(word: str, least: int) -> int:
    try:
        number = int(word)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(
            f"{word!r} is no whole number of {least} or more, as is expected"
        )
    return number


class Bounds(argparse.Action):
    """Takes one number, or words such as ``T=3.5``; gives a number or a dictionary."""

    def __call__(
        self, parser: Any, namespace: Any, words: str | Sequence[Any] | None, option: Any = None
    ) -> None:
        """Put the bounds in their place, or tell what is wrong with them."""
        words = [str(word) for word in words or ()]
        earlier = getattr(namespace, self.dest)
        bounds: dict[str, float] = {"": earlier} if isinstance(earlier, float) else earlier or {}
        for word in words:
            name, _, number = word.rpartition("=")
            if name in bounds:
                what = f"two bounds for {name}" if name else "two numbers"
                raise self._error(words, f"there are {what}; expected one, or MAP=X for each map")
            bounds[name] = self._positive(number, word)
        if "" in bounds and len(bounds) > 1:
            raise self._error(words, "expected one number, or MAP=X for each map, not both")
        setattr(namespace, self.dest, bounds.get("", bounds))

    def _positive(self, number: str, word: str) -> float:
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not 0 < bound < math.inf:
            raise self._error([word], "expected X or MAP=X with a positive, finite number X")
        return bound

    def _error(self, words: Sequence[str], what: str) -> argparse.ArgumentError:
        return argparse.ArgumentError(self, f"{' '.join(words)!r}: {what}")
