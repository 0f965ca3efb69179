"""A watch that notices when nothing moves any more, on any rank."""

from __future__ import annotations

import faulthandler
import sys
import time
from collections.abc import Callable


class StallWatch:
    """Watch over when something last moved, on this rank or on others.

    A rank that moves sends a message to the others, a few times within the limit. If a rank that
    waits receives none for longer than that, nothing moves any more. For a rank that does not even
    wait, because it is in one frame for ever, a thread of C prints its stack and ends the process.

    Parameters
    ----------
    limit : float
        Seconds.
    n_ranks : int
    tell_others : callable
        Lets the other ranks hear that this one moves.
    """

    def __init__(self, limit: float, n_ranks: int, tell_others: Callable[[], None]):
        self.limit = limit
        self._tell_others = tell_others
        self._told_at = 0.0
        # Others may have moved, unheard, for a quarter of the limit since we last heard of them.
        self._patience = 1.25 * limit
        # Ranks that wait come first, so that they can say what they were waiting for.
        self._alone = (1.0 if n_ranks == 1 else 2.0) * limit
        self._armed_at = 0.0
        self._last = time.monotonic()
        self.arm()

    def moved(self) -> None:
        """Take note that something moved here."""
        self._last = now = time.monotonic()
        if now - self._told_at > self.limit / 4:
            self._told_at = now
            self._tell_others()
        self.arm()

    def heard(self) -> None:
        """Take note that something moved elsewhere."""
        self._last = time.monotonic()

    def stalled(self) -> bool:
        """Whether it is time to give up. A rank that waits asks this again and again."""
        self.arm()
        return time.monotonic() - self._last > self._patience

    def arm(self) -> None:
        """Put off the end of this process: its Python is alive."""
        now = time.monotonic()
        if now - self._armed_at > self.limit / 10:
            self._armed_at = now
            faulthandler.dump_traceback_later(
                self._alone + self.limit / 10, exit=True, file=sys.__stderr__ or sys.stderr
            )

    def print_where(self, text: str) -> None:
        """Print why the work ends, and where this rank is.

        The error that follows is not told where another rank cannot be reached: ranks are ended
        while they wait for it.
        """
        stream = sys.__stderr__ or sys.stderr
        stream.write(f"g3reduce: {text} when nothing had moved on any rank for {self.limit:g} s:\n")
        stream.flush()
        faulthandler.dump_traceback(file=stream, all_threads=False)

    def close(self) -> None:
        """End the watch."""
        faulthandler.cancel_dump_traceback_later()
