"""Waiting that can be woken, and ranks that meet before they do collective work.

Inside a guard (`g3reduce.guard`) no rank waits for another that will never come: each wait checks
whether the guard knows of a failure. Outside of guards all of this does nothing.

A guard covers the thread that opened it, but no other threads, and no processes that are forked off
inside of it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

# Waits first look as often as they can, then sleep a little: cores may be shared.
_SPINS = 200
_SHORTEST_S, _LONGEST_S = 2e-5, 1e-3


class _Here(threading.local):
    """The guards and sources that are open in one thread.

    Attributes
    ----------
    guards : list of g3reduce.mpi.guard.Guard
        The innermost last.
    sources : dict of object to communicator
        Sources of frames that have begun here, and the communicators on which they work.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.guards: list[Any] = []
        self.sources: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


_here = _Here()
os.register_at_fork(after_in_child=_here.clear)


def open_guards() -> list[Any]:
    """The guards that are open in this thread, the innermost last."""
    return _here.guards


def begun_sources() -> weakref.WeakKeyDictionary[Any, Any]:
    """Sources of frames that have begun in this thread, and their communicators."""
    return _here.sources


def check() -> None:
    """Raise if a guard knows of a failure. Modules call it with each frame."""
    for guard in _here.guards:
        guard.check()


def moved(at: object = None) -> None:
    """Tell the guards that the work goes on: a frame was read, sent, received or done.

    Parameters
    ----------
    at : object, optional
        The name of the frame that the pipeline of this rank works on now, for messages.
    """
    for guard in _here.guards:
        guard.moved(at)


def expect_to_end(source: Any, comm: Any = None) -> None:
    """Let the guards check at their end that a source of frames, which begins now, has ended.

    Parameters
    ----------
    source : object
        Has ``exhausted``: whether the last frame was asked for.
    comm : communicator, optional
        The source's own, which a guard frees if the source does not end.
    """
    _here.sources[source] = comm


def made(key: Any) -> None:
    """Tell the guards of a communicator that was made inside of them."""
    for guard in _here.guards:
        guard.made(key)


def wait(ready: Callable[[], Any], what: str) -> None:
    """Wait until ``ready()`` is true.

    Parameters
    ----------
    ready : callable
        Checks, and does what can be done meanwhile. It must not wait itself.
    what : str
        What is waited for, as messages put it after "waiting for".

    Raises
    ------
    RemoteError, StallError, InterruptedByUser
        If a guard knows of a failure.
    """
    pause = pauses()
    while not ready():
        for guard in _here.guards:
            guard.check(waiting_for=what)
        pause()


def wait_out(ready: Callable[[], Any], what: str) -> None:
    """Wait until ``ready()`` is true, whatever happens: other ranks count on this one.

    Parameters
    ----------
    ready, what
        As in `wait`.
    """
    pause = pauses()
    while not ready():
        report_failures(what)
        pause()


def report_failures(waiting_for: str) -> None:
    """Let the guards report failures of this rank to others, in a wait that must not be left."""
    for guard in _here.guards:
        guard.report_failures(waiting_for)


def pauses() -> Callable[[], None]:
    """A function that lets a little time pass: none at first, then more and more."""
    calls, length = 0, _SHORTEST_S

    def pause() -> None:
        nonlocal calls, length
        calls += 1
        if calls > _SPINS:
            time.sleep(length)
            length = min(2 * length, _LONGEST_S)

    return pause


def meet(comm: Any, what: str) -> None:
    """Wait for all ranks of `comm` before collective work. Collective over `comm`.

    All of them come, or none goes on. What follows must be the collective work itself, and
    nothing that may fail on one rank alone.

    Parameters
    ----------
    comm : communicator
    what : str
        The occasion, as messages put it after "others at".
    """
    if comm.size == 1:
        return
    for guard in reversed(_here.guards):
        if guard.covers(comm):
            guard.meet(comm, what)
            return
