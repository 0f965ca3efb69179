"""Telling an observer what happens, in a thread of rank 0."""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..spt3glog import unit_logger
from .counting import Counting
from .events import Behind, Ended, Event, FileDone, FileStarted, Observer, SetAside, Totals
from .guarding import Guarded

logger = unit_logger(__name__)

# How often rank 0 looks at the board; less often if that would take more than a part of its time.
_LOOK_S, _SELDOM_S = 0.1, 0.5
_SHARE = 0.02


class Teller:
    """Tells an observer what happens, in a thread of its own.

    Parameters
    ----------
    observer : callable
    began : float
        Time 0, as `time.perf_counter` gives it.
    """

    def __init__(self, observer: Observer, began: float):
        self._observer = Guarded(observer)
        self._process = os.getpid()
        self._began = began
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="g3reduce progress", daemon=True)
        self._totals = Totals()
        self._told: set[object] = set()
        self._bad: set[str] = set()  # files that are left out
        self._counting: Counting | None = None
        self._broken = False  # something here is wrong: the work goes on, and nothing more is told

    def start(self) -> None:
        """Begin to tell; where no thread can be started, all is told when it ends."""
        try:
            self._thread.start()
        except RuntimeError as error:  # a limit of the system, which one rank may meet alone
            logger.warning("progress is told at the end only: %s.", error)

    def end(self) -> None:
        """Tell all that has happened, and end the observer; not in a process forked off since."""
        if os.getpid() != self._process:
            return
        self._stop.set()
        if threading.current_thread() is not self._thread:  # else the collector has called this
            if self._thread.ident is not None:  # else it was not started
                self._thread.join()
            self.look()
        self._observer.close()

    def put(self, event: Event) -> None:
        """Tell of an event at the next look."""
        if not self._broken:
            self._events.append(event)

    def expect(self, n_files: int, n_bytes: float) -> None:
        """Say how much there is to do."""
        with self._lock:
            self._totals = replace(self._totals, n_files=n_files, n_bytes=n_bytes)

    def set_aside(self, left_out: Sequence[Any]) -> None:
        """Tell of what was left out, each once."""
        now = time.perf_counter() - self._began
        for one in left_out:
            if (one.file, one.frame) not in self._told:
                self._told.add((one.file, one.frame))
                self.put(SetAside(time=now, file=one.file, frame=one.frame, reason=one.reason))

    def follow(self, make: Callable[[Totals, set[str]], Counting], first: Event) -> None:
        """Count by this from now on; `make` is given the totals and bad files up to now.

        The event `first` is told before all that is counted.
        """
        with self._lock:
            self._counting = make(self._totals, self._bad)
            self._totals = self._counting.totals
            self.put(first)

    def _run(self) -> None:
        pause = _LOOK_S
        while not self._stop.wait(pause):
            begin = time.thread_time()
            self.look()
            pause = min(_SELDOM_S, max(_LOOK_S, (time.thread_time() - begin) / _SHARE))

    def look(self) -> None:
        """Tell what has happened since. The work does not end with an error of it."""
        if self._broken:
            return
        try:
            self._look()
        except Exception as error:
            self._broken = True
            logger.warning(
                "progress: %s: %s; nothing more is told, and the work goes on.",
                *(type(error).__name__, error),
            )

    def _look(self) -> None:
        with self._lock:
            now = time.perf_counter() - self._began
            # First these: what was put there later comes with the next look.
            put = [self._events.popleft() for _ in range(len(self._events))]
            of_files: list[Event] = []
            if self._counting is not None:
                before = self._totals
                of_files += self._counting.look(now, each_file=self._observer.each_file)
                self._totals = before if of_files else self._counting.totals
            both = heapq.merge(of_files, put, key=lambda one: one.time) if put else of_files
            for event in both:
                if isinstance(event, FileStarted | FileDone | Behind):
                    self._totals = event.totals
                    self._observer(event)
                    continue
                if isinstance(event, SetAside) and event.frame < 0:
                    self._count_aside(event)
                self._observer(replace(event, totals=self._totals))
            if self._counting is not None:
                self._totals = self._counting.totals
            if self._counting is not None and self._counting.failed >= 0:
                self._fail(now, self._counting.failed)
            self._observer.look(now, self._totals)

    def _fail(self, now: float, rank: int) -> None:
        """End the observer: a rank has failed, which may end the job at once."""
        reason = f"rank {rank} failed"
        self._observer(Ended(time=now, outcome="failed", reason=reason, totals=self._totals))
        self._observer.close()

    def _count_aside(self, event: SetAside) -> None:
        if self._counting is not None:
            self._totals = self._counting.count_aside(event.file)
        else:
            self._bad.add(event.file)
            self._totals = replace(self._totals, set_aside=len(self._bad))
