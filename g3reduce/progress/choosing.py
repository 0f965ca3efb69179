"""Which observer suits: a line on a terminal, a bar in a notebook, or plain lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .events import Event, Observer, Totals
from .guarding import Guarded


def chosen(progress: bool | Observer | None) -> Observer | None:
    """The observer that an argument ``progress`` stands for.

    Parameters
    ----------
    progress : None, bool or callable
        None or False: none. True: a live line if standard error is a terminal, a bar in a
        notebook, else plain lines. A callable is called with each event.
    """
    if progress is None or progress is False:
        return None
    if progress is not True:
        return progress
    return to_the_screen()


def to_the_screen() -> Observer:
    """The observer that shows progress to people, where this process writes its messages."""
    from .terminal import terminal_behind

    if in_notebook():
        from .bar import NotebookBar

        return NotebookBar()
    terminal = terminal_behind(sys.stderr)
    if terminal is not None:
        from .bar import LiveLine

        return LiveLine(terminal)
    from .lines import PlainLines

    return PlainLines()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class Several:
    """Hands events to several observers; an error of one does not concern the others.

    Parameters
    ----------
    observers : sequence of callable
    """

    def __init__(self, observers: Sequence[Observer]):
        self._observers = [Guarded(observer) for observer in observers]
        self.each_file = any(observer.each_file for observer in self._observers)

    def __call__(self, event: Event) -> None:
        """Hand an event on."""
        for observer in self._observers:
            observer(event)

    def look(self, now: float, totals: Totals) -> None:
        """Hand on how far the work is."""
        for observer in self._observers:
            observer.look(now, totals)

    def close(self) -> None:
        """End all of them."""
        for observer in self._observers:
            observer.close()
