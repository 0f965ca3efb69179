"""What is shown of work that does not come to its end is ended, too: before tracebacks, at exit."""

from __future__ import annotations

import os
import sys
import weakref
from types import TracebackType
from typing import Any

from ..mpi.jobend import at_end
from .watching import Watch

_open: weakref.WeakSet[Watch] = weakref.WeakSet()
_shells: weakref.WeakSet[Any] = weakref.WeakSet()
os.register_at_fork(after_in_child=_open.clear)


def end_with(watch: Watch, holder: object) -> None:
    """Give a watch up when an exception ends the process, a cell of a notebook, or its holder.

    Parameters
    ----------
    watch : Watch
        One that is not a context manager where it is used.
    holder : object
        What holds it: a module of a pipeline.
    """
    _open.add(watch)
    weakref.finalize(holder, _dropped, watch, os.getpid())
    at_end(_give_up_all, first=True)  # the memory in which it looks is released then
    _before_tracebacks()
    _after_cells()


def _dropped(watch: Watch, pid: int) -> None:
    if os.getpid() == pid:  # and not in a process that was forked off
        watch.give_up(None)


def _give_up_all(error: BaseException | None = None) -> None:
    for watch in list(_open):
        watch.give_up(error)
    _open.clear()


def _before_tracebacks() -> None:
    previous = sys.excepthook
    if getattr(previous, "ends_progress", False):
        return

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        _give_up_all(error)
        previous(kind, error, traceback)

    hook.ends_progress = True  # type: ignore[attr-defined]
    hook.ends_job = getattr(previous, "ends_job", False)  # type: ignore[attr-defined]
    sys.excepthook = hook


def _after_cells() -> None:
    """In a notebook: a cell that ends while a pipeline is at work has failed."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and shell not in _shells:
        _shells.add(shell)
        shell.events.register("post_run_cell", _cell_ended)


def _cell_ended(result: Any) -> None:
    _give_up_all(result.error_in_exec)
