"""The script of a Slurm job that goes on by itself where its time or a node has ended it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

from .planning import CoaddPlan

# So long before its time is up, a job is told to write a last checkpoint and to end.
_WARNING_S = 120

_SCRIPT = """\
#!/bin/bash
# {summary}
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={ranks_per_node}
#SBATCH --cpus-per-task=1
#SBATCH --mem={memory}M
#SBATCH --time={time}
#SBATCH --signal=USR1@{warning}
#SBATCH --requeue
#SBATCH --open-mode=append
{lines}
cd {folder} || exit 1
export OMP_NUM_THREADS=1
{exports}checkpoints={checkpoints}
before=$(ls "$checkpoints"/set-*.json 2>/dev/null)
# MPICH needs a step of another number for each start: what a killed one has left in memory is
# named after it.
for ((i = 0; i < ${{SLURM_RESTART_COUNT:-0}}; i++)); do srun --nodes=1 --ntasks=1 true; done
# Each rank is to end by itself: what one of them reports must not kill the others.
srun {srun} --kill-on-bad-exit=0 --wait=60 \\
  {command}
code=$?
after=$(ls "$checkpoints"/set-*.json 2>/dev/null)
# 75: stopped with a checkpoint. Above 3: killed, or a node was lost; with new checkpoints, go on.
if [ $code -eq 75 ] || {{ [ $code -gt 3 ] && [ "$after" != "$before" ]; }}; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"""


def slurm_script(
    plan: CoaddPlan,
    command: Sequence[str],
    *,
    folder: str,
    checkpoints: str,
    name: str = "coadd",
    mpi: str | None = None,
    environment: Mapping[str, str] | None = None,
    sbatch: Sequence[str] = (),
) -> str:
    """The script, as ``sbatch`` takes it.

    Parameters
    ----------
    plan : CoaddPlan
    command : list of str
        What each rank runs, with its arguments. It must go on where it was stopped, and end with
        the code 75 if it was.
    folder : str
        Where it runs.
    checkpoints : str
        The folder of its checkpoints, as seen from there.
    name : str
        Of the job.
    mpi : str, optional
        What ``srun`` has to speak to the MPI library. Default: what the site has chosen.
    environment : dict of str to str, optional
        What the library needs in the environment to be started so.
    sbatch : list of str
        Further options of ``sbatch``, such as ``"--partition=long"``.

    Returns
    -------
    str
    """
    one = plan.chosen
    summary = plan.summary()
    return _SCRIPT.format(
        summary=summary,
        name=name,
        nodes=one.nodes,
        ranks_per_node=one.ranks_per_node,
        memory=math.ceil(plan.memory_limit / 2**20),
        time=_time(plan.time_limit),
        warning=_WARNING_S,
        lines="".join(f"#SBATCH {option}\n" for option in sbatch),
        folder=shlex.quote(folder),
        checkpoints=shlex.quote(checkpoints),
        exports="".join(
            f"export {name}={shlex.quote(value)}\n" for name, value in (environment or {}).items()
        ),
        srun=" ".join([*([f"--mpi={mpi}"] if mpi else []), f"--ntasks={one.ranks}"]),
        command=_wrapped(command),
    )


def _time(seconds: int) -> str:
    """As Slurm writes times: hours, minutes, seconds."""
    return f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"


def _wrapped(words: Sequence[str]) -> str:
    """The words of a command for a shell, on lines that are not too long."""
    lines = [""]
    for word in map(shlex.quote, words):
        if lines[-1] and len(lines[-1]) + len(word) > 90:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n    ".join(lines)
