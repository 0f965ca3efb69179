"""Ctrl-C ends a command on all ranks, with one line that says how far the work was."""

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
from ..mpi.launcherprocess import standard_error_of_launcher
from ..mpi.launchers import launched

# Seconds within which all ranks receive a Ctrl-C that a launcher passes on to all of them.
_TOGETHER_S = 1.0

# The mpirun of Open MPI turns Ctrl-C into SIGTERM, kills the ranks a quarter of a second later, and
# drops what they print in between.
_OPEN_MPI = "OMPI_COMM_WORLD_RANK"
_TOGETHER_BEFORE_KILL_S = 0.06

# Of the message by which a rank tells the first one that it has printed how far the work was.
_TOLD = 6733

# A terminal and a launcher may both pass on one Ctrl-C; a second one by hand takes longer.
_SAME_S = 2.0

_received: list[tuple[int, float]] = []  # the first signal, and when
_several_outputs: list[str] = []  # the command, if it writes several
_under_way: list[Any] = []  # requests of MPI


def prepare() -> None:
    """Let Ctrl-C raise KeyboardInterrupt once, and only before an output has its final name."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    # Elsewhere SIGTERM ends a process at once, also one that waits in MPI.
    if _OPEN_MPI in os.environ and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def expect_several_outputs(command: str) -> None:
    """Let Ctrl-C end the command also after one of its outputs has its final name."""
    _several_outputs.append(command)


def _interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if temporary.published and not _several_outputs:  # the work is done
        return
    if not _received:
        _received.append((number, now))
        raise KeyboardInterrupt
    if now - _received[0][1] > _SAME_S:  # a second Ctrl-C
        temporary.discard_all()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def end(interrupt: KeyboardInterrupt, command: str, outcome: str = "nothing was done") -> int:
    """Print how far the work was, on one rank, and end all ranks.

    Parameters
    ----------
    interrupt : KeyboardInterrupt
        Its argument says how far, where that is known.
    command : str
    outcome : str
        What there is of the result.

    Returns
    -------
    int
        The exit code of a process that is alone. With several ranks all end here.
    """
    how_far = interrupt.args[0] if interrupt.args else None
    world = _world()
    if world is None:
        if world_rank() == 0:  # a launcher may have started several, which have no MPI yet
            _say(command, how_far, outcome)
        if _has_others():
            # MPI may be starting, and would wait for the other ranks at the end of Python.
            temporary.discard_all()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        return INTERRUPTED
    by_open_mpi = _is_from_open_mpi()
    limit = _TOGETHER_BEFORE_KILL_S if by_open_mpi else _TOGETHER_S
    if world.rank != 0 and not by_open_mpi:  # rank 0 prints first, and then ends all
        limit *= 2
    everywhere = _add_up(world, how_far, limit)
    if everywhere is not None:
        text, says_it = everywhere, world.rank == 0
    else:
        where = f" on rank {world.rank}" if isinstance(how_far, Progress) else ""
        text, says_it = f"{how_far}{where}" if how_far else None, not by_open_mpi or world.rank == 0
    if says_it and not (by_open_mpi and _is_told(world)):
        _say(command, text, outcome)
        _under_way.append(world.Isend(array("b"), 0, _TOLD))
    temporary.discard_all()
    time.sleep(FORWARDING_S)
    if everywhere is not None and world.rank != 0:
        time.sleep(_TOGETHER_S)  # until rank 0 ends all
    if not by_open_mpi:
        _silence_mpi()
        abort(INTERRUPTED)
    os._exit(INTERRUPTED)


def behind(error: BaseException) -> KeyboardInterrupt | None:
    """The KeyboardInterrupt behind an exception; libraries may have raised another one instead."""
    if isinstance(error, KeyboardInterrupt):
        return error
    return KeyboardInterrupt() if _received else None


def _has_others() -> bool:
    launch = launched()
    return launch is not None and launch.size != 1


def _world() -> Any:
    """The communicator of all ranks; None for a process alone."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or not mpi.Is_initialized() or mpi.Is_finalized() or mpi.COMM_WORLD.size == 1:
        return None
    return mpi.COMM_WORLD


def _add_up(world: Any, how_far: object, limit: float) -> object:
    """How far the work was on all ranks; None unless all of them come here within `limit`."""
    mine = how_far.done if isinstance(how_far, Progress) else 0
    done, total = array("q", [mine, 1]), array("q", [0, 0])
    request = world.Iallreduce(done, total)
    end = time.monotonic() + limit
    while not request.Test():
        if time.monotonic() > end:
            return None
        time.sleep(0.005)
    if isinstance(how_far, Progress):
        # A rank that has read all of its files reports those of all ranks.
        return how_far._replace(done=min(total[0], how_far.total))
    return how_far or ""


def _is_told(world: Any) -> bool:
    """Whether another rank has printed how far the work was, and ends the job by itself."""
    told: bool = world.Iprobe(tag=_TOLD)
    return told


def _silence_mpi() -> None:
    """Keep MPI from printing that it was asked to end the job."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        for fd in (1, 2):
            os.dup2(null, fd)


def _say(command: str, how_far: object, outcome: str) -> None:
    line = f"{command}: interrupted{f' when {how_far}' if how_far else ''}; {outcome}.\n"
    with contextlib.suppress(OSError):
        if _is_from_open_mpi():
            _say_past_launcher(line)
        else:
            sys.stderr.write(line)
            sys.stderr.flush()


def _say_past_launcher(line: str) -> None:
    """Write a line to where mpirun writes, which passes on nothing any more, or to the terminal."""
    for name in (standard_error_of_launcher(), "/dev/tty"):
        if name is None:
            continue
        with contextlib.suppress(OSError):
            # To the end of a file, and without a wait for the reader of a pipe.
            file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                end = "\r\n" if os.isatty(file) else "\n"
                os.write(file, line.replace("\n", end).encode(errors="replace"))
            finally:
                os.close(file)
            return


def _is_from_open_mpi() -> bool:
    return bool(_received) and _received[0][0] == signal.SIGTERM
