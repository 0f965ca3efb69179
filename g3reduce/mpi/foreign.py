"""Collective work in which no rank can be woken: that of other libraries, or of some ranks only.

`agreement.collectively` is for work that each rank does by itself. Work in which ranks wait for
each other, as TOAST's does, belongs here: a rank that fails in it leaves the others waiting for
ever.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import format_exception
from typing import Any, TypeVar

from ..limits import LIMITS
from . import communicators, jobend, launchers, waiting
from .agreement import agree

T = TypeVar("T")


@contextmanager
def garbage_collected_together() -> Iterator[None]:
    """Collect garbage here, on all ranks at the same point, and not again within the block.

    Objects of other libraries free communicators when they are collected, as TOAST's do, and MPI
    lets that wait for the other ranks. Were it left to Python, some ranks would collect them while
    others wait for these elsewhere.
    """
    # Off within another such block, and where the caller collects by hand.
    if launchers.size_of_running_mpi() <= 1 or not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def together(
    comm: communicators.Comm,
    what: str,
    work: Callable[[], T],
    *,
    clear_up: Callable[[], object] = lambda: None,
) -> T:
    """Do work of another library in which ranks wait for each other. Collective over `comm`.

    If it fails on some ranks and the others come out of it as well, all raise, as from
    `collectively`. If others do not come within a few seconds, the rank that failed ends the job.

    Parameters
    ----------
    comm : communicator
        Of all ranks that do the work, or wait until it is done.
    what : str
        The work, as messages put it after "failed in".
    work : callable
    clear_up : callable
        What to do before the job is ended, on a rank that failed.

    Raises
    ------
    Exception
        What `work` raised, on the ranks on which it did.
    RemoteError
        On the other ranks.
    """
    if comm.size == 1:
        return work()
    waiting.meet(comm, what)
    result, failure = None, None
    try:
        with garbage_collected_together():
            result = work()
    except (Exception, SystemExit) as error:  # others catch signals, and then call sys.exit
        failure = error
    _wait_for_others(comm, what, failure, clear_up)
    agree(comm, failure)
    return result  # type: ignore[return-value]


def _wait_for_others(
    comm: Any, what: str, failure: BaseException | None, clear_up: Callable[[], object]
) -> None:
    request = comm.Ibarrier()
    begin = time.monotonic()
    pause = waiting.pauses()
    while not request.Test():
        # A rank that is in the barrier stays there: others may count on it.
        waiting.report_failures(f"other ranks after {what}")
        if failure is not None and time.monotonic() - begin > LIMITS.foreign_failed_s:
            _end_job(comm, what, failure, clear_up)
        pause()


def _end_job(comm: Any, what: str, failure: BaseException, clear_up: Callable[[], object]) -> None:
    try:
        sys.stdout.flush()
        # In one piece, so that the output of other ranks does not come in between.
        sys.stderr.write(
            f"g3reduce: rank {comm.rank} of {comm.size} failed in {what}, in which others still "
            f"wait, and ends the job:\n{''.join(format_exception(failure))}"
        )
        sys.stderr.flush()
        time.sleep(jobend.FORWARDING_S)
        clear_up()
    finally:
        jobend.abort()
