"""A live line on a terminal, and a bar in a notebook: both drawn by tqdm."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
from typing import Any, ClassVar

from .events import Begun, Ended, Event, ReadAgain, StageBegun, Totals
from .screen import SCREEN
from .terminal import Terminal
from .wording import about, bad_in, parts_of

# Work that ends sooner needs no line.
_FIRST_S = 0.5
_STEPS = 1000

# Columns of the task, the percentage and the bar.
_BAR = 10


class _Bar:
    """What the line and the bar of a notebook have in common."""

    each_file: ClassVar[bool] = False
    _drawn: ClassVar[str] = f"{{bar:{_BAR}}}"

    def __init__(self) -> None:
        self._bar: Any = None
        self._task = ""
        self._stage: StageBegun | None = None
        self._rate_from = (0.0, 0)  # when reading began, and how much was done then

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Begun):
            self._task = event.task
        elif isinstance(event, StageBegun):
            self._stage = event
            self._rate_from = event.time, event.totals.bytes
        elif isinstance(event, ReadAgain):
            self._rate_from = event.time, event.totals.bytes
        elif isinstance(event, Ended):
            self.close()

    def look(self, now: float, totals: Totals) -> None:
        """Draw how far the work is."""
        if now < _FIRST_S:
            return
        with SCREEN.lock:
            if self._bar is None:
                self._bar = self._made()
            bar = self._bar
            bar.n = int(_STEPS * totals.fraction)
            what = about(self._task, self._stage)
            bad = bad_in(self._task)
            text = self._fitted(what, parts_of(totals, now, *self._rate_from, bad))
            bar.bar_format = f"{what} {{percentage:3.0f}}% |{self._drawn}| {text}"
            bar.refresh()

    def close(self) -> None:
        """Take the line away."""
        with SCREEN.lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def _made(self) -> Any:
        raise NotImplementedError

    def _fitted(self, what: str, parts: list[str]) -> str:
        return ", ".join(parts)


class LiveLine(_Bar):
    """One line on a terminal, which is drawn anew.

    Parameters
    ----------
    terminal : Terminal
    """

    def __init__(self, terminal: Terminal):
        super().__init__()
        self._terminal = terminal

    def close(self) -> None:
        """Take the line away, so that nothing of it stays."""
        with SCREEN.lock, contextlib.suppress(OSError, ValueError):
            SCREEN.line = None if SCREEN.line is self else SCREEN.line
            self.hide()
            super().close()

    def hide(self) -> None:
        """Clear the line, for messages in its place."""
        if self._bar is not None:
            self._bar.clear(nolock=True)

    def show(self) -> None:
        """Draw the line again; behind a launcher with the next look, since messages come later."""
        if self._bar is not None and not self._terminal.behind_launcher:
            self._bar.refresh(nolock=True)

    def _made(self) -> Any:
        bar = _line()(
            total=_STEPS,
            file=self._terminal,
            leave=False,
            ncols=self._columns(),
            # The whole line is redrawn when it is looked at, not when something was counted.
            mininterval=0,
            delay=_FIRST_S,
            ascii=not _speaks_unicode(),
        )
        SCREEN.line = self
        return bar

    def _columns(self) -> int:
        """How many columns the line may have: one less than the terminal, which would turn over."""
        return max(1, self._terminal.columns() - 1)  # of 0 tqdm makes a line of its own

    def _fitted(self, what: str, parts: list[str]) -> str:
        """As many parts as fit on the line; those at the beginning matter most."""
        self._bar.ncols = columns = self._columns()
        room = columns - len(what) - _BAR - len(" 100% || ")
        while len(parts) > 1 and len(", ".join(parts)) > room:
            parts.pop()
        return ", ".join(parts)


class NotebookBar(_Bar):
    """A bar under the cell of a notebook: of ipywidgets if they are there, else of letters."""

    _drawn = "{bar}"

    def _made(self) -> Any:
        stays = importlib.util.find_spec("ipywidgets") is not None
        if stays:
            from tqdm.notebook import tqdm
        else:  # letters in a row, which are taken away as on a terminal
            from tqdm.std import tqdm

        return tqdm(total=_STEPS, leave=stays, mininterval=0, delay=_FIRST_S)


def _line() -> Any:
    """tqdm, but with locks and a list of bars that it shares with nobody."""
    from tqdm.std import tqdm

    class Line(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread that looks after it

    Line.set_lock(threading.RLock())
    return Line


def _speaks_unicode() -> bool:
    return "utf" in (getattr(sys.stderr, "encoding", None) or "").lower()
