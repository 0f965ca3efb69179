"""Ranks of MPI on the hosts of a rig: the command lines of both MPIs, and the fixture's skips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache

from hostrig import LOGIN, NETWORK, Rig, why_not
from patience import HANGS_S

from g3reduce.mpi.launch import find_mpirun, is_open_mpi, mpirun_environment

HOSTS = "G3REDUCE_TEST_HOSTS"


@cache
def why_no_hosts() -> str | None:
    """Why tests on several hosts are left out, or None if they run."""
    if HOSTS not in os.environ:
        return f"runs with {HOSTS}=1, as root"
    return why_not() or (None if find_mpirun() else "there is no mpirun")


def ranks_command(rig: Rig, command: Sequence[str], slots: Mapping[str, int]) -> list[str]:
    """The command line, for ``login``, that starts ranks on hosts, as many as `slots` says.

    The ranks of each host are neighbours, in the order of `slots`.
    """
    mpirun = find_mpirun()
    if mpirun is None:
        raise FileNotFoundError("There is no mpirun.")
    places = ",".join(f"{name}:{number}" for name, number in slots.items())
    if is_open_mpi(mpirun):
        return [
            *(mpirun, "--prtemca", "plm", "ssh", "--prtemca", "plm_ssh_agent", rig.agent),
            *("--prtemca", "prte_if_include", f"{NETWORK}.0/24", "--mca", "pml", "ob1"),
            *("--mca", "btl", "tcp,self,sm", "--mca", "btl_tcp_if_include", "eth0"),
            # Else waiting ranks take the cores from those that work, for 15 times as long.
            *("--mca", "mpi_yield_when_idle", "1", "--bind-to", "none"),
            *("--host", places, "-n", str(sum(slots.values())), *command),
        ]
    return [
        *(mpirun, "-launcher", "ssh", "-launcher-exec", rig.agent, "-hosts", places),
        *("-localhost", LOGIN, "-n", str(sum(slots.values())), *command),
    ]


def ranks_environment(rig: Rig) -> dict[str, str]:
    """The environment for `ranks_command`."""
    return mpirun_environment() | rig.environment()


def on_ranks(
    rig: Rig,
    command: Sequence[str],
    *,
    slots: Mapping[str, int] | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = HANGS_S,
) -> subprocess.CompletedProcess[str]:
    """Run a command on ranks of all hosts, with a time limit: see `Rig.run`.

    After a fault the exit code of a launcher says little: look for what the ranks print last.
    """
    line = ranks_command(rig, command, slots or rig.slots)
    return rig.run(line, env=ranks_environment(rig) | dict(env or {}), seconds=seconds)


def start_ranks(
    rig: Rig, command: Sequence[str], *, slots: Mapping[str, int] | None = None, **how: object
) -> subprocess.Popen:
    """Start a command on ranks and go on: see `Rig.popen`."""
    line = ranks_command(rig, command, slots or rig.slots)
    return rig.popen(line, env=ranks_environment(rig), **how)


def told_by_ranks(rig: Rig, command: Sequence[str], **how):
    """What a Python program tells, as the last line of its output, in JSON.

    Raises
    ------
    AssertionError
        If there is no such line, with what there is.
    """
    done = on_ranks(rig, [sys.executable, *command], **how)
    lines = done.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        raise AssertionError(
            f"The ranks told nothing ({done.returncode}):\n{done.stdout}\n{done.stderr}"
        ) from None
