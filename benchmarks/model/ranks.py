"""Ranks that run in turn, one thread each, with clocks of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

STACK = 2**19  # bytes of a thread: there are many


class Deadlock(RuntimeError):
    """All ranks wait for each other."""


class _Ended(BaseException):
    """Another rank has failed."""


class Ranks:
    """Simulated ranks. One of them runs at a time: the one whose clock shows the least.

    Parameters
    ----------
    size : int

    Attributes
    ----------
    clocks : list of float
        Seconds that have passed for each rank.
    current : int
        The rank that runs.
    """

    def __init__(self, size: int):
        self.size = size
        self.clocks = [0.0] * size
        self.current = 0
        self._turns = [threading.Semaphore(0) for _ in range(size)]
        self._ready = [True] * size
        self._done = threading.Event()
        self._left = size
        self._failure: BaseException | None = None

    def run(self, work: Callable[[int], T]) -> list[T]:
        """Call ``work(rank)`` on each rank, and return what they returned."""
        results: list[Any] = [None] * self.size

        def body(rank: int) -> None:
            try:
                self._turns[rank].acquire()
                if self._failure is None:
                    results[rank] = work(rank)
            except _Ended:
                pass
            except BaseException as error:  # told by the thread that started all
                self._failure = self._failure or error
            self._ready[rank] = False
            self._left -= 1
            self._next()

        before = threading.stack_size(STACK)
        try:
            threads = [
                threading.Thread(target=body, args=(rank,), daemon=True)
                for rank in range(self.size)
            ]
            for thread in threads:
                thread.start()
        finally:
            threading.stack_size(before)
        self._next()
        self._done.wait()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return results

    def spend(self, seconds: float) -> None:
        """Let time pass for the rank that runs."""
        self.clocks[self.current] += seconds

    def wait(self) -> None:
        """Let others run until one of them calls `wake` for this rank."""
        mine = self.current
        self._ready[mine] = False
        self._next()
        self._turns[mine].acquire()
        if self._failure is not None:
            raise _Ended

    def wake(self, rank: int, clock: float) -> None:
        """Let a rank that waits go on, at that time."""
        self.clocks[rank] = clock
        self._ready[rank] = True

    def _next(self) -> None:
        """Give the turn to another rank."""
        if self._failure is not None:
            for turn in self._turns:
                turn.release()
        if not self._left:
            self._done.set()
            return
        if self._failure is not None:
            return
        ready = [rank for rank in range(self.size) if self._ready[rank]]
        if not ready:
            self._failure = Deadlock(f"{self._left} simulated ranks wait for each other")
            for turn in self._turns:
                turn.release()
            return
        self.current = min(ready, key=self.clocks.__getitem__)
        self._turns[self.current].release()
