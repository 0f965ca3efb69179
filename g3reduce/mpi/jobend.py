"""The end of the whole job when one rank is lost, so that the others do not wait for ever."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
import weakref
from collections.abc import Callable
from traceback import format_exception
from types import TracebackType
from typing import Any, NoReturn

from .. import temporary

# How long a rank that is well waits for the one that failed to print its traceback first.
_GRACE_S = 2.0
# How long the launcher may take to pass on what was printed, before it ends the job.
FORWARDING_S = 0.25

# The exit code after Ctrl-C: as shells have it for a process that SIGINT ended. With 1 the work has
# failed; here an output may have got its name before.
INTERRUPTED = 130


def end_job_on_exception() -> None:
    """Let an uncaught exception end the whole MPI job, with its traceback.

    Without it, the other ranks wait for the lost one until the queue's time is up. Ranks whose
    error was already reported by another one leave the printing to that one. A rank that just ends,
    by ``sys.exit`` for example, while a module has not (see `must_end`), ends the job, too.
    Installing it twice does nothing. It does not touch MPI, and does nothing without: it may be
    installed before MPI has started. Exceptions in threads do not pass here, and those in processes
    that are forked off concern these alone.
    """
    if getattr(sys.excepthook, "ends_job", False):
        return
    previous, pid = sys.excepthook, os.getpid()
    atexit.register(_end, pid)

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        MPI = _running_mpi()
        if MPI is None or MPI.COMM_WORLD.size == 1 or os.getpid() != pid:
            previous(kind, error, traceback)
            return
        world = MPI.COMM_WORLD
        try:
            if _another_reports(error, world.rank):
                time.sleep(_GRACE_S)
            else:
                sys.stdout.flush()
                text = f"g3reduce: rank {world.rank} of {world.size} failed and ends the job:\n"
                if previous is sys.__excepthook__:
                    text += "".join(format_exception(kind, error, traceback))
                # In one piece, so that the output of other ranks does not come in between.
                sys.stderr.write(text)
                if previous is not sys.__excepthook__:
                    previous(kind, error, traceback)
                sys.stderr.flush()
                time.sleep(FORWARDING_S)
        finally:  # also where nothing can be printed
            abort(INTERRUPTED if issubclass(kind, KeyboardInterrupt) else 1)

    hook.ends_job = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _running_mpi() -> Any:
    """The module `mpi4py.MPI`, if this process has started MPI and not ended it; else None."""
    module: Any = sys.modules.get("mpi4py.MPI")
    running = module is not None and module.Is_initialized() and not module.Is_finalized()
    return module if running else None


def _another_reports(error: BaseException, rank: int) -> bool:
    try:
        return getattr(error, "reporter", None) not in (None, rank)
    except Exception:  # of somebody else's class
        return False


# Modules of which other ranks may be waiting for this one, as long as they are `unfinished`.
_modules: weakref.WeakSet[Any] = weakref.WeakSet()
_releases: list[Callable[[], None]] = []
_farewells: list[Callable[[], None]] = []


def must_end(module: Any) -> None:
    """Let the job end if this process does while the module is ``unfinished``.

    The other ranks would wait for it, and what it has summed would be lost.
    """
    _modules.add(module)


def _forget() -> None:
    """A process that was forked off has no rank that waits for it."""
    for held in (_modules, _releases, _farewells):
        held.clear()


os.register_at_fork(after_in_child=_forget)


def let_go(module: Any, error: BaseException) -> None:
    """Forget a module of `must_end`, if all ranks raise this error, so that none waits for it.

    That it is still there, because the traceback of the error holds it, means nothing then.
    """
    if getattr(error, "reporter", None) is not None:
        _modules.discard(module)


def release_modules() -> None:
    """Forget the modules of `must_end`: all ranks know of a failure, and wait no more."""
    _modules.clear()


def at_end(release: Callable[[], None], *, first: bool = False) -> None:
    """Do something at the end of the process, together with all ranks, if no module is unfinished.

    The last that was named is done first, except that those with `first` come before all others.
    """
    if not first:
        _releases.append(release)
    elif release not in _farewells:
        _farewells.append(release)


def run_at_end() -> None:
    """Do what `at_end` was called with, once: a script may end MPI itself, before it ends."""
    releases = [*_farewells, *reversed(_releases)]
    _farewells.clear()
    _releases.clear()
    for release in releases:
        release()


def _end(pid: int) -> None:
    MPI = _running_mpi()
    if MPI is None or os.getpid() != pid:
        return
    left = {type(module).__name__ for module in _modules if module.unfinished}
    if not left:
        run_at_end()
        return
    end_job(
        f"g3reduce: rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size} ends before its "
        f"{' and '.join(sorted(left))} has joined its sums with the other ranks, and ends the job."
    )


def end_job(why: str) -> NoReturn:
    """Print why, and end the whole job."""
    try:
        with contextlib.suppress(Exception):  # what was printed before
            sys.stdout.flush()
        sys.stderr.write(f"{why}\n")
        sys.stderr.flush()
        time.sleep(FORWARDING_S)
    finally:  # also where nothing can be printed
        abort()


def abort(code: int = 1) -> NoReturn:
    """End the whole job; what this rank has written in part is removed before."""
    from mpi4py import MPI

    temporary.discard_all()
    MPI.COMM_WORLD.Abort(code)
    os._exit(code)  # that of MPICH may come back, and this rank would go on until it is killed
