"""Plain lines about how far the work is, where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import ClassVar

from .events import Begun, Ended, Event, ReadAgain, StageBegun, Totals
from .screen import aside
from .wording import about, bad_in, parts_of

# Work that ends sooner needs no line; then one comes with each part that is done, but not more
# often than the shortest time, and one after the longest time also if less was done.
_FIRST_S, _SHORTEST_S, _LONGEST_S = 10.0, 5.0, 30.0
_PART = 0.05


class PlainLines:
    """Writes a line to standard error each 30 s, or each 5 % of the work."""

    each_file: ClassVar[bool] = False

    def __init__(self) -> None:
        self._task = ""
        self._stage: StageBegun | None = None
        self._rate_from = (0.0, 0)
        self._last = (0.0, 0.0)  # time and fraction of the last line

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Begun):
            self._task = event.task
        elif isinstance(event, StageBegun | ReadAgain):
            self._rate_from = event.time, event.totals.bytes
            if isinstance(event, StageBegun):
                self._stage = event
        elif isinstance(event, Ended):
            self._last = (float("inf"), 0.0)

    def look(self, now: float, totals: Totals) -> None:
        """Write a line if it is time for one."""
        at, fraction = self._last
        passed = now - at
        by_part = totals.fraction - fraction >= _PART and passed >= _SHORTEST_S
        if now < _FIRST_S or not (by_part or passed >= _LONGEST_S):
            return
        self._last = now, totals.fraction
        parts = parts_of(totals, now, *self._rate_from, bad_in(self._task))
        parts.insert(0, f"{100 * totals.fraction:.0f} %")
        with aside(), contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{about(self._task, self._stage)}: {', '.join(parts)}\n")
            sys.stderr.flush()
