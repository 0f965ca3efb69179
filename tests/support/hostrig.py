"""Several hosts on one machine, each with a network, a name and memory of its own.

A host is a set of Linux namespaces: its processes see their own network, host name, process
numbers, ``/dev/shm`` and temporary folder, but the file system of the machine, as one that all
nodes of a cluster share. Hosts are joined by a bridge, and by nothing else; so what one reads of
another has crossed the network, and the counters of the interfaces tell how much.

The bridge is in a further such host, ``login``, from which jobs are started as from the login node
of a cluster. All of them live inside of the process namespace of ``login``. When it ends, the
kernel ends every process in it and takes interfaces and mounts away. It ends when this process
closes a pipe or is gone, in whatever way. Nothing of it can be seen from outside, so that any
number of rigs, of several checkouts, are there at the same time under the same names and addresses.

By hand, as root, a shell in ``login``, in which ``$AGENT h1 COMMAND`` runs a command on a host::

    python tests/support/hostrig.py bash
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from patience import HANGS_S

NETWORK = "10.77.0"
LOGIN = f"{NETWORK}.254"
TOOLS = ("ip", "tc", "nsenter", "unshare", "mount", "hostname", "bash")
PREFIX = "g3reduce-hosts-"
# In a folder that hosts share Open MPI must not keep what belongs to one of them.
_OF_ONE_HOST = "PRTE_MCA_prte_tmpdir_base"

# A process of its own in all namespaces. Children that it inherits are reaped by the kernel, since
# it ignores their end; a plain `sleep` would leave zombies.
_UNSHARE = "unshare --net --uts --ipc --pid --fork --mount --mount-proc --kill-child"

_HOST = """
set -e
hostname "$1"
mount -t tmpfs -o size="$MEMORY" none /dev/shm
mount -t tmpfs none "$RIG/tmp"
ip link set lo up
touch "$RIG/$1.up"
trap '' CHLD
exec sleep infinity
"""

_LOGIN = f"""
set -e
hostname login
mount -t tmpfs none "$RIG/tmp"
mount --bind "$RIG/etc-hosts" /etc/hosts
ip link set lo up
ip link add name bridge type bridge
ip addr add {LOGIN}/24 dev bridge
ip link set bridge up
number=0
for name in $NAMES; do
  number=$((number + 1))
  {_UNSHARE} bash "$RIG/host.sh" "$name" </dev/null &
  outer=$!
  until [ -e "$RIG/$name.up" ]; do sleep 0.01; kill -0 $outer; done
  inner=$(tr -d " " <"/proc/$outer/task/$outer/children")
  ip link add name "to-$name" type veth peer name eth0 netns "$inner"
  ip link set "to-$name" master bridge up
  nsenter -t "$inner" -n ip addr add {NETWORK}.$number/24 dev eth0
  nsenter -t "$inner" -n ip link set eth0 up
  echo "$name $inner" >>"$RIG/processes"
done
mv "$RIG/processes" "$RIG/ready"
trap '' CHLD
exec cat >/dev/null
"""

# What is called as ssh is, and enters the host that is named.
_AGENT = """#!/usr/bin/env bash
while [[ ${1-} == -* ]]; do shift; done
while read -r name process; do
  [ "$name" != "${1-}" ] || exec nsenter -t "$process" -n -u -i -p -m --wd="$PWD" \
    env TMPDIR="$RIG/tmp" HOSTNAME="$name" bash -c "${*:2}"
done <"$RIG/ready"
echo "There is no host ${1-}." >&2
exit 255
"""


def why_not() -> str | None:
    """Why this machine cannot have hosts, or None if it can."""
    if not sys.platform.startswith("linux"):
        return "hosts are made of namespaces of Linux"
    if os.geteuid() != 0:
        return "hosts are made by root only"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"no {', '.join(lacking)} (Debian: iproute2 util-linux mount hostname bash)"
    trial = subprocess.run(
        f"{_UNSHARE} bash -c 'ip link add name a type bridge && mount -t tmpfs none /dev/shm'",
        shell=True,
        capture_output=True,
        text=True,
    )
    return f"hosts cannot be made here: {trial.stderr.strip()}" if trial.returncode else None


@dataclass(frozen=True)
class Counters:
    """Bytes that each host has received from and sent to the others, headers included."""

    received: dict[str, int]
    sent: dict[str, int]

    def __sub__(self, before: Counters) -> Counters:
        return Counters(
            {name: count - before.received[name] for name, count in self.received.items()},
            {name: count - before.sent[name] for name, count in self.sent.items()},
        )


class Rig:
    """Hosts that are there inside of a ``with``.

    Parameters
    ----------
    slots : mapping of str to int
        How many ranks each host has room for.
    memory : str
        The size of ``/dev/shm`` of each, as ``mount`` takes it. It is used when it is written.
    """

    def __init__(self, slots: Mapping[str, int] | None = None, memory: str = "2g"):
        self.slots = dict(slots or {"h1": 2, "h2": 2, "h3": 2})
        self.memory = memory

    @property
    def names(self) -> list[str]:
        """The names of the hosts."""
        return list(self.slots)

    @property
    def agent(self) -> str:
        """The program that is called as ssh is."""
        return str(self.folder / "agent")

    @property
    def private(self) -> str:
        """The temporary folder, of which each host sees one of its own."""
        return str(self.folder / "tmp")

    def __enter__(self) -> Rig:
        _remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = _locked(self.folder)
        (self.folder / "tmp").mkdir()
        addresses = [f"{NETWORK}.{number} {name}" for number, name in enumerate(self.slots, 1)]
        lines = ["127.0.0.1 localhost", f"{LOGIN} login", *addresses]
        (self.folder / "etc-hosts").write_text("\n".join(lines) + "\n")
        for name, text in (("host.sh", _HOST), ("login.sh", _LOGIN), ("agent", _AGENT)):
            (self.folder / name).write_text(text)
        os.chmod(self.agent, 0o755)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        output = self.folder / "output"
        with output.open("w") as file:
            self._login = subprocess.Popen(
                [*_UNSHARE.split(), "bash", str(self.folder / "login.sh")],
                env=self.environment() | {"NAMES": " ".join(self.slots), "MEMORY": self.memory},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for this process, which ends the hosts
            )
        started = time.monotonic()
        while not (self.folder / "ready").exists():
            late = time.monotonic() - started > HANGS_S
            if late or self._login.poll() is not None:
                raise RuntimeError(f"The hosts did not start: {output.read_text()}")
            time.sleep(0.01)
        parent = self._login.pid
        self._inside = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0]

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the hosts and all that runs on them."""
        login = getattr(self, "_login", None)
        if login is not None:
            login.stdin.close()
            try:
                login.wait(5)
            except subprocess.TimeoutExpired:
                login.kill()  # and with it its child
                login.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def environment(self) -> dict[str, str]:
        """The environment of commands on ``login``, from which jobs inherit theirs."""
        mine = {"RIG": str(self.folder), "AGENT": self.agent, "TMPDIR": self.private}
        return dict(os.environ) | mine

    def popen(self, command: Sequence[str], *, host: str = "login", **more: object):
        """Start a command on a host: a `subprocess.Popen`, in a session of its own."""
        enter = ["nsenter", "-t", self._inside, "-n", "-u", "-i", "-p", "-m"]
        enter.append(f"--wd={more.pop('cwd', None) or os.getcwd()}")
        if host != "login":
            enter += [self.agent, host, "exec", *(_quoted(word) for word in command)]
        else:
            enter += command
        environment = self.environment() | dict(more.pop("env", None) or {})
        environment.pop(_OF_ONE_HOST, None)
        return subprocess.Popen(enter, env=environment, start_new_session=True, **more)

    def run(
        self,
        command: Sequence[str],
        *,
        host: str = "login",
        seconds: float = HANGS_S,
        **more: object,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host, with a time limit after which it and its ranks are killed.

        Returns
        -------
        subprocess.CompletedProcess
            With output and errors as text. The exit code is ``-9`` after the time limit.
        """
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = self.popen(command, host=host, stdin=subprocess.DEVNULL, **(pipes | more))
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            self.kill_all()
            out, err = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def kill_all(self, *names: str) -> None:
        """Kill all processes of these hosts, of all by default, as when their power goes off."""
        for name in names or self.names:
            self._sh(f'"$AGENT" {name} "kill -9 -1"', check=False)

    def counters(self) -> Counters:
        """What the network interfaces of the hosts have counted since these were made."""
        text = self._sh(
            'while read -r name process; do read -r line < <(grep eth0: "/proc/$process/net/dev"); '
            'echo "$name $line"; done <"$RIG/ready"'
        )
        fields = [line.split() for line in text.splitlines()]
        return Counters({f[0]: int(f[2]) for f in fields}, {f[0]: int(f[10]) for f in fields})

    def slow(self, rate: str | None) -> None:
        """Limit the links of all hosts, in both directions, as in ``"200mbit"``; None: no more."""
        shape = f"tbf rate {rate} burst 128kb latency 100ms" if rate else "pfifo_fast"
        for name in self.names:
            self._sh(f"tc qdisc replace dev to-{name} root {shape}")
            self._sh(f"tc qdisc replace dev eth0 root {shape}", host=name)

    def cut(self, *names: str) -> None:
        """Pull the cable of these hosts."""
        for name in names:
            self._sh(f"ip link set to-{name} down")

    def mend(self, *names: str) -> None:
        """Put the cable of these hosts, of all by default, in again."""
        for name in names or self.names:
            self._sh(f"ip link set to-{name} up")
        # Whoever had asked in vain where a host is would take it for unreachable up to a second
        # longer, and refuse new connections to it: "No route to host".
        for name in ("login", *self.names):
            self._sh("ip neigh flush all", host=name)

    def _sh(self, script: str, host: str = "login", check: bool = True) -> str:
        done = self.run(["bash", "-c", script], host=host, cwd="/")
        if check and done.returncode:
            raise RuntimeError(f"On {host}, {script!r} failed: {done.stderr}")
        return done.stdout


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _locked(folder: Path) -> IO[str]:
    """A lock that is free when this process is gone. Only with it a folder may be a leftover."""
    lock = open(folder / "unlocked", "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(folder / "unlocked", folder / "lock")
    return lock


def _remove_leftovers() -> None:
    """Remove the folders of rigs whose process was killed; their hosts went with it."""
    for lock in Path(tempfile.gettempdir()).glob(PREFIX + "*/lock"):
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # it is in use
            continue


def main() -> int:
    """Run a command on ``login``, with hosts of two slots each."""
    reason = why_not()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    with Rig() as rig:
        process = rig.popen(sys.argv[1:] or ["bash"])
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
