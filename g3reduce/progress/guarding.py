"""An observer whose errors do not end the work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from ..spt3glog import unit_logger
from .events import Event, Observer, Totals

logger = unit_logger(__name__)


class Guarded:
    """Hands events to an observer; none after its first error, since the work matters more.

    Parameters
    ----------
    observer : callable

    Attributes
    ----------
    each_file : bool
        Whether it is to be told of each file: some need only totals from time to time.
    """

    def __init__(self, observer: Observer):
        self._observer = observer
        self._ended = False
        self.each_file: bool = getattr(observer, "each_file", True)
        self._look: Callable[..., object] | None = getattr(observer, "look", None)
        self._close: Callable[..., object] | None = getattr(observer, "close", None)

    def __call__(self, event: Event) -> None:
        """Tell of an event."""
        self._call(self._observer, event)

    def look(self, now: float, totals: Totals) -> None:
        """Tell how far the work is, if it wants to know."""
        self._call(self._look, now, totals)

    def close(self) -> None:
        """End it, once."""
        self._call(self._close)
        self._ended = True

    def _call(self, call: Callable[..., object] | None, *arguments: object) -> None:
        if self._ended or call is None:
            return
        try:
            call(*arguments)
        # Of any kind: the user's. One that ended this rank alone would let the others wait.
        except (Exception, SystemExit) as error:
            self._ended = True
            with contextlib.suppress(Exception):
                if self._close is not None:
                    self._close()
            logger.warning(
                "progress: %s failed (%s: %s) and is told nothing more; the work goes on.",
                *(getattr(self._observer, "__name__", self._observer), type(error).__name__, error),
            )
