"""The script of a Slurm job that goes on by itself where its time or a node has ended it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

from .coaddplan import CoaddPlan

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
{lines}
cd {folder} || exit 1
export OMP_NUM_THREADS=1
{exports}{before}\
# MPICH needs a step of another number for each start: what a killed one has left in memory is
# named after it.
for ((i = 0; i < ${{SLURM_RESTART_COUNT:-0}}; i++)); do srun --nodes=1 --ntasks=1 true; done
# Each rank is to end by itself: what one of them reports must not kill the others.
srun {srun} --kill-on-bad-exit=0 --wait=60 \\
  {command}
code=$?
{after}exit $code
"""

_SETS = '$(ls "$checkpoints"/set-*.json 2>/dev/null)'

_GOING_ON = f"""\
after={_SETS}
# 75: stopped with a checkpoint. Above 3: killed, or a node was lost; with new checkpoints, go on.
if [ $code -eq 75 ] || {{ [ $code -gt 3 ] && [ "$after" != "$before" ]; }}; then
  scontrol requeue "$SLURM_JOB_ID"
fi
"""

_NOT_GOING_ON = "# This job has no checkpoints: if it ends early, all has to be added again.\n"


def slurm_script(
    plan: CoaddPlan,
    command: Sequence[str],
    *,
    folder: str,
    checkpoints: str | None,
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
        What each rank runs, with its arguments. With checkpoints it must go on where it was
        stopped, and end with the code 75 if it was.
    folder : str
        Where it runs.
    checkpoints : str or None
        The folder of its checkpoints, as seen from there; None if it has none.
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
    options, before, after = [*sbatch], _NOT_GOING_ON, ""
    if checkpoints is not None:
        going_on = [f"--signal=USR1@{_WARNING_S}", "--requeue", "--open-mode=append"]
        options = [*going_on, *sbatch]
        before = f"checkpoints={shlex.quote(checkpoints)}\nbefore={_SETS}\n"
        after = _GOING_ON
    return _SCRIPT.format(
        summary=summary,
        name=name,
        nodes=one.nodes,
        ranks_per_node=one.ranks_per_node,
        memory=math.ceil(plan.memory_limit / 2**20),
        time=_time(plan.time_limit),
        lines="".join(f"#SBATCH {option}\n" for option in options),
        folder=shlex.quote(folder),
        before=before,
        after=after,
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
