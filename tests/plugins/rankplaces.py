"""Where the ranks of tests run: on this machine, or on several hosts that are made of it.

With ``G3REDUCE_TEST_HOSTS=ranks`` it is hosts, of unequal size, and all tests on ranks run there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from g3reduce.mpi.launch import mpirun_command, mpirun_environment

# How many ranks the hosts have: more than one on some, and not the same number on all.
SLOTS = {
    1: {"h1": 1},
    2: {"h1": 1, "h2": 1},
    3: {"h1": 2, "h2": 1},
    4: {"h1": 1, "h2": 2, "h3": 1},
    5: {"h1": 2, "h2": 1, "h3": 2},
}


class OneMachine:
    """The ranks are processes of this machine."""

    def start(self, n_ranks, command, **how):
        """Start a command on ranks: a `subprocess.Popen`, the first of its process group."""
        how["env"] = mpirun_environment() | how["env"]
        return subprocess.Popen(
            # With less priority: what this process runs meanwhile may be in a hurry.
            ["nice", *mpirun_command(n_ranks, command)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **how,
        )

    def ask_for_stacks(self, notes):
        """Let the ranks write their stacks, by what they have noted of themselves."""
        for note in notes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(note["pid"], signal.SIGUSR1)

    def end(self, process):
        """End all ranks."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self):
        """Give up what belongs to all jobs."""


class SeveralHosts(OneMachine):
    """The ranks are on hosts, which see each other over a network and share a file system."""

    def __init__(self):
        from hostrig import Rig, why_not

        reason = why_not()
        if reason:
            raise RuntimeError(f"No ranks on several hosts: {reason}.")
        self.rig = Rig()
        self.rig.__enter__()

    def start(self, n_ranks, command, **how):
        from hostmpi import ranks_command, ranks_environment

        line = ranks_command(self.rig, command, SLOTS[n_ranks])
        how["env"] = ranks_environment(self.rig) | how["env"]
        return self.rig.popen(line, stdin=subprocess.DEVNULL, **how)

    def ask_for_stacks(self, notes):
        for note in notes:
            # The number of a process is that on its host.
            self.rig.run(["kill", "-USR1", str(note["pid"])], host=note["host"])

    def end(self, process):
        super().end(process)
        self.rig.kill_all()

    def close(self):
        self.rig.close()


def on_several_hosts():
    """Whether the environment asks for it."""
    return os.environ.get("G3REDUCE_TEST_HOSTS") == "ranks"


def place_of_ranks():
    """The place that the environment asks for."""
    return SeveralHosts() if on_several_hosts() else OneMachine()
