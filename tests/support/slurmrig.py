"""A real Slurm on the hosts of a rig: its controller on ``login``, a node on each host.

Everything of it lies in one folder and is told by ``SLURM_CONF``; what the system has of Slurm is
not touched. It ends with the rig.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostrig import LOGIN, NETWORK, Rig
from patience import HANGS_S

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "squeue")
# Slurm looks for the library by a name that Debian has in the package of headers only.
PMIX = Path("/usr/lib/x86_64-linux-gnu/pmix2/lib")

# Requeued jobs may start when the credentials of their last start have expired: by default after
# two minutes. A node that does not answer is down after SlurmdTimeout. Some sites kill a step as
# soon as one rank ends with a code other than 0, which scripts have to undo.
_CONF = """
ClusterName=rig
SlurmctldHost=login({login})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
SlurmctldPort=6817
SlurmdPort=6818
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=12
KillWait=2
KillOnBadExit=1
JobRequeue=1
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

_END = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")


def why_no_slurm() -> str | None:
    """Why there is no Slurm here, or None if there is one."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking or not (PMIX / "libpmix.so.2").exists():
        missing = ", ".join(lacking or ["PMIx of Slurm"])
        return f"no {missing} (Debian: slurmctld slurmd slurm-client munge libpmix2)"
    return None


class Slurm:
    """Slurm on the hosts of a rig, inside of a ``with``.

    Parameters
    ----------
    rig : Rig
        Its slots are the cores of the nodes.
    folder : path
        On the file system that all hosts see; for what Slurm keeps.
    """

    def __init__(self, rig: Rig, folder: Path):
        self.rig = rig
        self.folder = folder

    def __enter__(self) -> Slurm:
        self.folder.chmod(0o755)  # munged looks at it
        for name in ("munge", "state", *(f"spool-{host}" for host in self.rig.names)):
            (self.folder / name).mkdir(mode=0o755)
        nodes = [
            f"NodeName={name} NodeAddr={NETWORK}.{number} CPUs={slots} RealMemory=2000\n"
            for number, (name, slots) in enumerate(self.rig.slots.items(), 1)
        ]
        text = _CONF.format(login=LOGIN, folder=self.folder)
        (self.folder / "slurm.conf").write_text(text + "".join(nodes))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "mpi.conf").write_text(f"PMIxCliTmpDirBase={self.rig.private}\n")
        self._start_controller()
        self._bind_pmix("login")
        for name in self.rig.names:
            self.start_node(name)
        self._wait_for(self._all_idle, "nodes that are idle")
        return self

    def __exit__(self, *error: object) -> None:
        for pid in ("slurmctld.pid", "munge/pid"):  # nodes end with the rig
            self.rig.run(["bash", "-c", f"kill $(cat {shlex.quote(str(self.folder / pid))})"])

    def _start_controller(self) -> None:
        munge = self.folder / "munge"
        key = munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        named = {"key-file": key, "socket": munge / "socket", "pid-file": munge / "pid"}
        named |= {"log-file": munge / "log", "seed-file": munge / "seed"}
        self._checked(["munged", "--force", *(f"--{name}={path}" for name, path in named.items())])
        self._checked(["slurmctld", "-c"])

    def start_node(self, host: str) -> None:
        """Start Slurm's daemon on a host, as when the node boots."""
        self._bind_pmix(host)
        self._checked(["slurmd", "-N", host], host=host)

    def _bind_pmix(self, host: str) -> None:
        names = self.folder / "pmix"
        if not names.exists():
            shutil.copytree(PMIX, names, symlinks=True)
            (names / "libpmix.so").unlink(missing_ok=True)
            (names / "libpmix.so").symlink_to("libpmix.so.2")
        bind = f"mountpoint -q {PMIX} || mount --bind {names} {PMIX}"
        self._checked(["bash", "-c", bind], host=host)

    def log(self) -> str:
        """What the controller has logged last."""
        return (self.folder / "slurmctld.log").read_text()[-4000:]

    def mend(self) -> None:
        """Cancel all jobs, and start the nodes that are down."""
        self._checked(["scancel", "--user=root"])
        for line in self._checked(["sinfo", "-hN", "-o", "%N %T"]).splitlines():
            name, state = line.split()
            if state.startswith(("down", "unk")):
                self.start_node(name)
        self._wait_for(self._all_idle, "nodes that are idle")

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of Slurm's commands."""
        # What a job would inherit, if the tests themselves ran in one.
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        return mine | {"SLURM_CONF": str(self.folder / "slurm.conf")} | dict(more or {})

    def run(
        self, command: Sequence[str], *, seconds: float = HANGS_S, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm on ``login``: see `Rig.run`."""
        environment = self.environment(more.pop("env", None))
        return self.rig.run(command, seconds=seconds, env=environment, **more)

    def sbatch(self, script: Path, *options: str, **more: object) -> str:
        """Submit a script, and return the number of the job."""
        return self._checked(["sbatch", "--parsable", *options, str(script)], **more).strip()

    def jobs(self, job: str) -> list[dict[str, str]]:
        """What Slurm says of a job, or of each of an array, as ``scontrol show job``."""
        lines = self._checked(
            ["scontrol", "--oneliner", "show", "job", *([job] if job else [])]
        ).splitlines()
        return [dict(w.split("=", 1) for w in line.split() if "=" in w) for line in lines if line]

    def nodes_of(self, job: str) -> list[str]:
        """The names of the nodes that a job has, or had last."""
        told = self.jobs(job)[0]["NodeList"]
        return self._checked(["scontrol", "show", "hostnames", told]).split()

    def update(self, job: str, *changes: str) -> None:
        """Change a job: ``"TimeLimit=2"`` (minutes)."""
        self._checked(["scontrol", "update", f"JobId={job}", *changes])

    def wait(self, *numbers: str) -> list[dict[str, str]]:
        """Wait for the end of jobs.

        Returns
        -------
        list of dict
            What Slurm says of each, at the end.
        """
        self._wait_for(
            lambda: all(each["JobState"] in _END for job in numbers for each in self.jobs(job)),
            f"the end of {', '.join(numbers)}",
        )
        return [each for job in numbers for each in self.jobs(job)]

    def wait_until(self, job: str, holds) -> dict[str, str]:
        """Wait until something holds of what Slurm says of a job."""
        told: dict[str, str] = {}

        def seen() -> bool:
            told.update(self.jobs(job)[0])
            return holds(told)

        self._wait_for(seen, f"job {job}")
        return told

    @staticmethod
    def _output(told: dict[str, str]) -> str:
        path = Path(told["StdOut"])
        said = path.read_text()[-2000:] if path.exists() else "nothing"
        return f"Job {told['JobId']} ({told['JobState']}) said:\n{said}"

    def _all_idle(self) -> bool:
        states = self._checked(["sinfo", "-hN", "-o", "%T"]).split()
        return states == ["idle"] * len(self.rig.names)

    def _wait_for(self, holds, what: str) -> None:
        started = time.monotonic()
        while not holds():
            if time.monotonic() - started > HANGS_S:
                outputs = [self._output(told) for told in self.jobs("") if "StdOut" in told]
                said = "\n".join([*outputs, self.log()])
                raise AssertionError(f"Waited {HANGS_S} s for {what}.\n{said}")
            time.sleep(0.2)

    def _checked(self, command: Sequence[str], host: str = "login", **more: object) -> str:
        done = self.run(command, host=host, cwd=more.pop("cwd", "/"), **more)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed on {host}: {done.stderr}")
        return done.stdout
