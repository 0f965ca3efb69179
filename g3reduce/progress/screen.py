"""One screen for a live line and for messages: the line is taken away while others are written."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any


class _Screen:
    """What is drawn now.

    Attributes
    ----------
    line : object or None
        The live line: it has ``hide()`` and ``show()``.
    lock : threading.RLock
        Held by who writes.
    """

    def __init__(self) -> None:
        self.line: Any = None
        self.lock = threading.RLock()


SCREEN = _Screen()


def _forget() -> None:
    """In a process that was forked off, where the thread that draws is not there any more."""
    SCREEN.line, SCREEN.lock = None, threading.RLock()


os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Take the live line away, if there is one, to write messages in its place."""
    with SCREEN.lock:
        line = SCREEN.line
        if line is None:
            yield
            return
        line.hide()
        try:
            yield
        finally:
            if SCREEN.line is line:
                line.show()
