"""Signal handlers in place of TOAST's: signals end the process, also while it waits inside MPI.

TOAST's handlers remove its shared memory and exit with code 0, as if the work were done. On a rank
that waits inside MPI they never run: Python runs handlers between its own instructions only. The
handlers here end the process by the signal, and a thread ends it if they do not run in time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from .. import temporary
from ..limits import LIMITS
from ..mpi import interrupts
from ..mpi.agreement import world_rank

# Those for which pshmem, TOAST's shared memory, installs a handler.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def take_over() -> None:
    """Replace TOAST's handlers, once it is imported. Does nothing outside the main thread."""
    theirs = _handler_of_toast()
    if theirs is None or threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is theirs:
            # Python's own handler raises KeyboardInterrupt, so that `finally` clauses run.
            interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupt else _end)
    _start_watching()


def _handler_of_toast() -> Any:
    return getattr(sys.modules.get("pshmem.registry"), "_signal_handler", None)


def _end(number: int, frame: FrameType | None) -> None:
    """Clean up, and end the process by the signal."""
    _clean_up()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


@functools.cache
def _start_watching() -> None:
    """Start a thread that ends the process if the main thread does not react to a signal."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    if before != -1:  # another one is in use, such as asyncio's
        signal.set_wakeup_fd(before)
        os.close(ours)
        os.close(theirs)
        return
    os.register_at_fork(after_in_child=_restore_in_child)
    threading.Thread(target=_watch, args=(ours,), name="g3reduce signals", daemon=True).start()


def _restore_in_child() -> None:
    """Restore the default handlers in a forked process."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)


def _watch(pipe: int) -> None:
    noted: dict[int, int] = {}  # how often guards had noted each signal when it was last looked at
    waiting: set[int] = set()
    while waiting := waiting or set(os.read(pipe, 64)):
        number = waiting.pop()
        if not _is_handled(number, noted.get(number, 0)):
            _kill(number)
        # Python runs a handler once for all signals of a number that came until then.
        waiting |= _those_in(pipe) - {number}
        noted[number] = interrupts.noted(number)


def _those_in(pipe: int) -> set[int]:
    """The signals that have come meanwhile."""
    is_any = select.select([pipe], [], [], 0)[0]
    return set(os.read(pipe, 64)) if is_any else set()


def _is_handled(number: int, noted_before: int) -> bool:
    """Whether the main thread reacts to a signal, or another handler than ours is responsible."""
    # This thread may come late: a guard that has caught the signal may be closed already.
    if interrupts.noted(number) > noted_before:
        return True
    if signal.getsignal(number) in (_end, _handler_of_toast()):
        patience = LIMITS.script_reacts_s  # it ends earlier if it reacts
    elif number != signal.SIGINT and any(one.catches(number) for one in interrupts.catching()):
        patience = LIMITS.guards_react_s
    else:
        return True
    time.sleep(patience)
    return interrupts.noted(number) > noted_before


def _kill(number: int) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.write(
            f"g3reduce: rank {world_rank()} waits in TOAST or MPI and does not react to "
            f"{signal.Signals(number).name}; it is ended.\n"
        )
        sys.stderr.flush()
        _clean_up()
    os.kill(os.getpid(), signal.SIGKILL)


def _clean_up() -> None:
    """Remove incomplete outputs, and the names of TOAST's shared memory, so that the system frees
    it when the last process that uses it ends."""
    temporary.discard_all()
    registry: Any = sys.modules.get("pshmem.registry")
    for buffer, node_rank in list(registry.registry.reg.values()) if registry else []:
        if node_rank == 0:
            with contextlib.suppress(OSError):
                buffer.unlink()
