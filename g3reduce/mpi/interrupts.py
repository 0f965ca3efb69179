"""SIGINT and SIGTERM: noted instead of obeyed at once; and how far the work was when they came.

G3Pipeline has a handler of SIGINT of its own, which halts all pipelines of the process until one
comes to its end. A pipeline that an error ends leaves both behind, until `forget_halt` or `obey`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from ..errors import lines_of_the_user

_NUMBERS = (signal.SIGINT, signal.SIGTERM)

# A terminal and a launcher may both pass on one Ctrl-C; a second Ctrl-C comes later than this.
_SAME_S = 2.0

# G3Pipeline puts a handler of its own in the place of ours each time it runs.
_CATCH_AGAIN_S = 0.1


class Progress(NamedTuple):
    """How far the work of this rank was when it was interrupted."""

    done: int
    total: int
    doing: str

    def __str__(self) -> str:
        return f"{self.done} of {self.total} {self.doing}"

    @classmethod
    def all_read(cls, n_files: int, doing: str) -> Progress:
        """The progress after the last file."""
        return cls(n_files, n_files, f"files were read, and {doing}")


@contextlib.contextmanager
def progress_in_interrupt(progress: Callable[[], Progress]) -> Iterator[None]:
    """Put how far the work was into a KeyboardInterrupt that passes, as its argument.

    A notebook shows it without the frames inside of this package.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not interrupt.args:
            interrupt.args = (progress(),)
        shown: Any = interrupt  # IPython asks the object for its lines
        shown._render_traceback_ = functools.partial(lines_of_the_user, interrupt)
        raise


def obey() -> None:
    """Let SIGINT come to Python's handler, also where a pipeline that failed has left spt3g's."""
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def forget_halt() -> None:
    """Let the next pipeline begin, though one was halted that ends in an error.

    Only a pipeline that comes to its end does so by itself. In threads other than the main one this
    does nothing: pipelines of other threads are to be halted, too.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    from spt3g import core

    pipe = core.G3Pipeline()
    pipe.Add(lambda frame: [])
    pipe.Run(signal_halt=False)
    obey()


class Interrupts:
    """Catches signals while it is open. In threads other than the main one it does nothing.

    Attributes
    ----------
    number : int or None
        The signal that came first.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._came_at = 0.0
        self._previous: dict[int, Any] = {}
        self._again_at = float("inf")

    def open(self) -> None:
        """Begin to catch."""
        try:
            for number in _NUMBERS:
                self._previous[number] = signal.signal(number, self._catch)
            self._again_at = 0.0
            _catching.append(self)
        except ValueError:  # not the main thread: signals are somebody else's
            return

    def stay_open(self) -> None:
        """Take the place of G3Pipeline's handler, which would only halt the pipeline."""
        now = time.monotonic()
        if now >= self._again_at:
            self._again_at = now + _CATCH_AGAIN_S
            signal.signal(signal.SIGINT, self._catch)

    def close(self) -> None:
        """Restore the handlers that were there before."""
        self._again_at = float("inf")
        if self in _catching:
            _catching.remove(self)
        for number, handler in self._previous.items():
            # None is a handler that was not installed from Python, and cannot be from there.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def catches(self, number: int) -> bool:
        """Whether it is this object that would note a signal."""
        return signal.getsignal(number) == self._catch

    def pass_on(self) -> None:
        """Let the signal that came have its usual effect."""
        signal.raise_signal(self.number or 0)

    def name(self) -> str:
        """The name of the signal that came."""
        return signal.Signals(self.number or 0).name

    def _catch(self, number: int, frame: FrameType | None) -> None:
        _noted[number] += 1
        now = time.monotonic()
        if self.number is None:
            self.number, self._came_at = number, now
        elif now - self._came_at > _SAME_S:  # in earnest: not even the other ranks are awaited
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


_catching: list[Interrupts] = []
_noted: Counter[int] = Counter()


def noted(number: int) -> int:
    """How many times a signal was noted in this process, by whichever object caught it."""
    return _noted[number]


def catching() -> list[Interrupts]:
    """Those that are open in this process, the innermost last."""
    return list(_catching)


def _close_all() -> None:
    """Let a process that was forked off obey its signals: no guard is open there."""
    for one in reversed(catching()):
        one.close()


os.register_at_fork(after_in_child=_close_all)
