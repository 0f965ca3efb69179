"""Ctrl-C ends a command with one line, whatever the number of ranks: how far the work was."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from array import array
from types import FrameType
from typing import Any

from .. import temporary
from ..mpi.agreement import world_rank
from ..mpi.interrupts import Progress
from ..mpi.jobend import FORWARDING_S, INTERRUPTED, abort
from ..mpi.launchers import launched

# Seconds within which all ranks hear of a Ctrl-C that a launcher passes on to all of them.
_TOGETHER_S = 1.0

# The mpirun of Open MPI makes SIGTERM of a Ctrl-C, kills a quarter of a second later, and passes
# on nothing of what is said meanwhile.
_OPEN_MPI = "OMPI_COMM_WORLD_RANK"
_TOGETHER_BEFORE_KILL_S = 0.1

# A terminal and a launcher may both pass on one Ctrl-C; who means it twice takes longer.
_SAME_S = 2.0

_came: list[tuple[int, float]] = []
_many_outputs: list[str] = []  # the command that has them, if it is one


def prepare() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, once, and only while no output has its name."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    # Elsewhere SIGTERM ends a process at once, also one that waits in MPI.
    if _OPEN_MPI in os.environ and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def expect_many_outputs(command: str) -> None:
    """Let Ctrl-C end the command also after one of its outputs has its name."""
    _many_outputs.append(command)


def _interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if temporary.published and not _many_outputs:  # it comes too late
        return
    if not _came:
        _came.append((number, now))
        raise KeyboardInterrupt
    if now - _came[0][1] > _SAME_S:  # in earnest
        temporary.discard_all()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def end(interrupt: KeyboardInterrupt, command: str, outcome: str = "nothing was done") -> int:
    """Say how far the work was, on one rank, and end all of them.

    Parameters
    ----------
    interrupt : KeyboardInterrupt
        Its text tells how far, where that is known.
    command : str
    outcome : str
        What there is of the result.

    Returns
    -------
    int
        The exit code, of a process that is alone. The others end here.
    """
    how_far = interrupt.args[0] if interrupt.args else None
    world = _world()
    if world is None:
        if world_rank() == 0:  # of those that a launcher has started, and that have no MPI yet
            _say(command, how_far, outcome)
        if _has_others():
            # MPI may be in the midst of starting, and would wait for them at the end of Python.
            temporary.discard_all()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        return INTERRUPTED
    by_launcher = _came_by_launcher()
    limit = _TOGETHER_BEFORE_KILL_S if by_launcher else _TOGETHER_S
    if world.rank != 0 and not by_launcher:  # rank 0 is to speak first, and then ends all
        limit *= 2
    everywhere = _add_up(world, how_far, limit)
    if everywhere is not None:
        if world.rank == 0:
            _say(command, everywhere, outcome)
    elif world.rank == 0 or not by_launcher:
        where = f" on rank {world.rank}" if isinstance(how_far, Progress) else ""
        _say(command, f"{how_far}{where}" if how_far else None, outcome)
    temporary.discard_all()
    time.sleep(FORWARDING_S)
    if everywhere is not None and world.rank != 0:
        time.sleep(_TOGETHER_S)  # until rank 0 ends all
    if not by_launcher:
        _hush()
        abort(INTERRUPTED)
    os._exit(INTERRUPTED)


def behind(error: BaseException) -> KeyboardInterrupt | None:
    """The Ctrl-C that is the reason of an exception, of which others may have made another one."""
    if isinstance(error, KeyboardInterrupt):
        return error
    return KeyboardInterrupt() if _came else None


def _has_others() -> bool:
    told = launched()
    return told is not None and told.size != 1


def _world() -> Any:
    """The communicator of all ranks; None for a process alone."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or not mpi.Is_initialized() or mpi.Is_finalized() or mpi.COMM_WORLD.size == 1:
        return None
    return mpi.COMM_WORLD


def _add_up(world: Any, how_far: object, limit: float) -> object:
    """How far the work was on all ranks; None unless all of them are here within `limit`."""
    mine = how_far.done if isinstance(how_far, Progress) else 0
    done, total = array("q", [mine, 1]), array("q", [0, 0])
    request = world.Iallreduce(done, total)
    end = time.monotonic() + limit
    while not request.Test():
        if time.monotonic() > end:
            return None
        time.sleep(0.005)
    if isinstance(how_far, Progress):
        # Ranks that have read all they could say so for all files.
        return how_far._replace(done=min(total[0], how_far.total))
    return how_far or ""


def _hush() -> None:
    """All is said: let MPI not add that it was told to end the job."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        for fd in (1, 2):
            os.dup2(null, fd)


def _say(command: str, how_far: object, outcome: str) -> None:
    line = f"{command}: interrupted{f' when {how_far}' if how_far else ''}; {outcome}.\n"
    with contextlib.suppress(OSError):
        if _came_by_launcher():
            # Only to who sits at the terminal. Where a rank has ended the job, it has said why.
            terminal = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            os.write(terminal, line.replace("\n", "\r\n").encode(errors="replace"))
            os.close(terminal)
        else:
            sys.stderr.write(line)
            sys.stderr.flush()


def _came_by_launcher() -> bool:
    return bool(_came) and _came[0][0] == signal.SIGTERM
