"""Signals in a process that has imported TOAST: they end it, also while it waits for other ranks.

TOAST catches signals, tidies up its shared memory, and exits with 0, as if all were well. A rank
that waits inside of MPI does not even come to that: Python runs handlers between its own
instructions only. So what is installed here in their place dies by the signal, and a thread does
so for a rank that does not hear.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from .. import temporary
from ..mpi import interrupts
from ..mpi.agreement import world_rank

# Those for which pshmem, TOAST's shared memory, installs a handler.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)

# How long the main thread may take to hear of a signal.
_PATIENCE_S, _PATIENCE_IN_GUARDS_S = 2.0, 5.0


def take_over() -> None:
    """Once TOAST is imported, let signals end the process where TOAST's handlers would.

    In other threads than the main one it does nothing.
    """
    theirs = _handler_of_toast()
    if theirs is None or threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is theirs:
            # Python's own makes KeyboardInterrupt of it, which tidies up on its way.
            interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupt else _end)
    _look_out()


def _handler_of_toast() -> Any:
    return getattr(sys.modules.get("pshmem.registry"), "_signal_handler", None)


def _end(number: int, frame: FrameType | None) -> None:
    """Tidy up, and die by the signal."""
    _tidy_up()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


@functools.cache
def _look_out() -> None:
    """Let a thread see to it that signals are heard."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    if before != -1:  # somebody else's, such as asyncio's
        signal.set_wakeup_fd(before)
        os.close(ours)
        os.close(theirs)
        return
    os.register_at_fork(after_in_child=_let_go)
    threading.Thread(target=_watch, args=(ours,), name="g3reduce signals", daemon=True).start()


def _let_go() -> None:
    """Leave the signals of a process that was forked off to itself."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)


def _watch(pipe: int) -> None:
    while numbers := os.read(pipe, 64):
        for number in numbers:
            if not _is_heard(number):
                _end_from_aside(number)


def _is_heard(number: int) -> bool:
    """Whether the main thread obeys a signal; or whether that is somebody else's affair."""
    if signal.getsignal(number) in (_end, _handler_of_toast()):
        time.sleep(_PATIENCE_S)  # it ends before that, if it hears
        return False
    # Who catches it now may be closed when we look again.
    by = [one for one in interrupts.catching() if one.catches(number)]
    if number == signal.SIGINT or not by:
        return True
    time.sleep(_PATIENCE_IN_GUARDS_S)
    return any(one.number is not None for one in by)


def _end_from_aside(number: int) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.write(
            f"g3reduce: {signal.Signals(number).name} came; rank {world_rank()} "
            "waits in TOAST or MPI, does not hear it, and is ended.\n"
        )
        sys.stderr.flush()
        _tidy_up()
    os.kill(os.getpid(), signal.SIGKILL)


def _tidy_up() -> None:
    """Remove outputs that are not whole, and the names of TOAST's shared memory, of which the last
    user lets go by its end."""
    temporary.discard_all()
    registry: Any = sys.modules.get("pshmem.registry")
    for buffer, node_rank in list(registry.registry.reg.values()) if registry else []:
        if node_rank == 0:
            with contextlib.suppress(OSError):
                buffer.unlink()
