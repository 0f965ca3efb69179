"""Signals that ask the work to stop: noted, and known to all ranks at their next look."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any

from .. import temporary
from .communicators import Comm
from .counter import SharedCounter

# Slurm and others can be told to send SIGUSR1 some time before the end (``--signal=USR1@120``).
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

# The mpirun of Open MPI, when it is ended, wakes its ranks with SIGCONT a quarter of a second
# before it sends them SIGTERM, and another quarter before it kills them.
_WARNING = (signal.SIGCONT,) if "OMPI_COMM_WORLD_RANK" in os.environ else ()

# A terminal and a launcher may both pass on one Ctrl-C; a second one by hand takes longer.
_SAME_S = 2.0

# How often a rank looks whether another one was asked to stop.
_LOOK_S = 0.1


_open: list[StopRequest] = []


def are_noted() -> bool:
    """Whether signals are noted here, so that they need not end the work at once."""
    return bool(_open)


class StopRequest:
    """Whether the work is to stop: by a signal to any rank, or because its time is up.

    Signals are noted while it is open, that is, inside of ``with``; in threads other than the main
    one they are left alone. A second Ctrl-C ends the process at once. Collective over `comm`: the
    constructor, which must follow an agreement directly, as that of `SharedCounter`.

    Parameters
    ----------
    comm : communicator
    stop_after : float or None
        Seconds after which the work is to stop by itself.

    Attributes
    ----------
    warned : bool
        Whether the launcher seems to be about to end the ranks.
    """

    def __init__(self, comm: Comm, stop_after: float | None = None):
        self._flag = SharedCounter(comm)
        self._stop_at = time.monotonic() + stop_after if stop_after is not None else float("inf")
        self._number: int | None = None
        self._came_at = 0.0
        self._known = False
        self._look_at = 0.0
        self._previous: dict[int, Any] = {}
        self.warned = False

    def __enter__(self) -> StopRequest:
        _open.append(self)
        with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
            for number in (*_STOPPING, *_WARNING):
                self._previous[number] = signal.signal(number, self._catch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            # None is a handler that was not installed from Python, and cannot be from there.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()
        _open.remove(self)

    @property
    def came(self) -> bool:
        """Whether this rank was asked itself; costs next to nothing."""
        return self._number is not None or time.monotonic() >= self._stop_at

    def known(self) -> bool:
        """Whether any rank was asked, as far as this one knows. It tells the others."""
        if not self._known and self.came:
            self._known = True
            self._flag.stop()
        elif not self._known and time.monotonic() >= self._look_at:
            self._known = self._flag.stopped
            self._look_at = time.monotonic() + _LOOK_S
        return self._known

    def _catch(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number in _WARNING:
            self.warned = True
        elif self._number is None:
            self._number, self._came_at = number, now
        elif number == signal.SIGINT and now - self._came_at > _SAME_S:
            temporary.discard_all()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
