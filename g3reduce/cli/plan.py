"""``g3reduce plan``: what a coadd will take on several nodes, and the script of its job."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from ..mpi.agreement import world_rank
from . import adding, splitting
from .lists import files_of
from .options import add_files, add_result, add_strategy, add_verbose, count, words_of
from .otherfiles import refuse_other_file
from .streams import result, say

DESCRIPTION = """\
Say how many ranks a coadd should run on, and what it will take: time, memory,
checkpoints. The sizes of all files are looked up, and some files are added by
this process, to see how fast that is and how the sums grow. With --write, write
a job for Slurm that goes on by itself when its time is up.

Say here what you will say to g3reduce coadd: splits, bundles, sign flips and
--result sharded are reckoned with. Bundles and sign flips count by their
numbers: each bundle is taken to get as many maps as any other.
"""

EXAMPLE = """\
examples:
  g3reduce plan 'obs/*.g3' --nodes 4 --collate
  g3reduce plan 'obs/*.g3' --nodes 4 --cores-per-node 128 --memory-per-node 480G
  g3reduce plan 'obs/*.g3' --nodes 4 -o season.g3 --collate --write job.sh
  g3reduce plan 'obs/*.g3' --signflips 100 --no-checkpoints --write job.sh
  g3reduce plan first/*.g3 --files-total 20000 --nodes 16 --json
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "plan",
        help="ranks, memory, time and a job for a coadd",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.set_defaults(run=run, command="plan")
    group = add_files(parser)
    group.add_argument(
        "--files-total",
        type=count,
        metavar="N",
        help="how many files the coadd will be of, if not all are there yet",
    )
    group.add_argument(
        "--sample",
        type=count,
        default=6,
        metavar="N",
        help="how many files are added here, at most (default: %(default)s)",
    )
    _add_nodes(parser.add_argument_group("nodes, and their file system"))
    _add_job(parser.add_argument_group("the report, and the job"))
    added = parser.add_argument_group(
        "what is added, and how", "Say here what you will say to g3reduce coadd."
    )
    adding.add_flags(added)
    _add_joining(added)
    splitting.add_splits(parser)
    add_verbose(parser)


def _add_joining(group: argparse._ActionsContainer) -> None:
    add_strategy(group)
    add_result(group)


def _add_nodes(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--nodes", type=count, default=1, metavar="N", help="how many (default: %(default)s)"
    )
    group.add_argument(
        "--cores-per-node",
        type=count,
        default=64,
        metavar="N",
        help="the most ranks on each (default: %(default)s)",
    )
    sizes = {
        "--memory-per-node": ("256G", "bytes of memory of each, for all ranks on it"),
        "--read-rate": ("100G", "bytes that the file system gives to all nodes in a second"),
        "--read-rate-node": ("10G", "bytes that it gives to one node in a second"),
        "--write-rate": ("1G", "bytes that one rank writes in a second"),
    }
    for flag, (default, text) in sizes.items():
        group.add_argument(
            flag, type=size, default=size(default), metavar="SIZE", help=f"{text} ({default})"
        )


def _add_job(group: argparse._ActionsContainer) -> None:
    group.add_argument("--json", action="store_true", help="print the plan as JSON")
    group.add_argument("--write", metavar="JOB", help="write a job for sbatch (- prints it)")
    group.add_argument(
        "-o",
        "--output-file",
        default="map_coadd.g3",
        metavar="OUT",
        help="the output of the coadd (default: %(default)s)",
    )
    kept = group.add_mutually_exclusive_group()
    kept.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="folder for its checkpoints (default: the output's name and .checkpoints)",
    )
    kept.add_argument(
        "--no-checkpoints",
        dest="checkpoints",
        action="store_false",
        help="have none, as --result sharded has none: then sign flips take far less",
    )
    group.add_argument(
        "--mpi",
        metavar="TYPE",
        help="what srun has to speak, its --mpi (default: by the MPI library that mpi4py finds "
        "here; none: as the site has chosen)",
    )
    group.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="another option of sbatch, as --sbatch=--partition=long; may be repeated",
    )


def size(word: str) -> float:
    """A number of bytes, such as ``256G``."""
    found = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([kMGT]?)B?", word)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if found is None or not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not valid; expected a size above 0, as 256G or 1.5T"
        )
    return number * 1000.0 ** "_kMGT".index(found[2] or "_")


def run(options: argparse.Namespace) -> int | None:
    """Plan, on one rank."""
    if world_rank() != 0:
        return None
    from ..jobs.planning import plan_coadd
    from ..mpi import communicators

    comm = communicators.OneProcess()
    files = files_of(options, comm, needed=options.atomic is None)
    if options.write is not None or options.checkpoint is not None:
        _check_job(options, files)
    assigned = splitting.assigned(options, comm)
    plan = plan_coadd(
        files,
        nodes=options.nodes,
        cores_per_node=options.cores_per_node,
        memory_per_node=options.memory_per_node,
        files_total=options.files_total,
        sample=options.sample,
        read_rate=options.read_rate,
        read_rate_node=options.read_rate_node,
        write_rate=options.write_rate,
        strategy=options.strategy,
        result=options.result,
        checkpoints=options.checkpoints,
        **assigned,
        **adding.arguments(options),
    )
    lines = [json.dumps(plan.as_data(), indent=1)] if options.json else plan.lines()
    for line in lines:
        result(line)
    if options.write is not None:
        _write(options, plan)
    return None


def _check_job(options: argparse.Namespace, files: Sequence[str]) -> None:
    """See that the job can be written, and that it would not end at once, before the work begins.

    Raises
    ------
    InputError, OutputError, UsageError
    """
    from ..errors import UsageError
    from ..jobs.inputs import Atomic, names_of
    from ..jobs.outputs import check_output_argument, endings_of
    from ..pipeline.output import check_output

    output = options.output_file
    check_output_argument(
        output,
        sharded=options.result == "sharded",
        checkpointed=_checkpointed(options),
        exact=False,
        unweight=False,
    )
    if options.write is None:
        return
    if options.write != "-":
        refuse_other_file(options, "write", "job.sh")
        check_output(options.write, endings=("",))
    elif options.json:
        raise UsageError("write is '-', and json: both are printed. Write the job to a file.")
    names, _ = names_of(files, Atomic(options.atomic, options.where))
    check_output(output, names, endings_of(output))


def _checkpointed(options: argparse.Namespace) -> bool:
    """Whether the job is to have checkpoints: if nothing is said, unless it has shards."""
    usual: bool = options.checkpoints and options.result != "sharded"
    return usual or options.checkpoint is not None


def _write(options: argparse.Namespace, plan: Any) -> None:
    from ..jobs.jobscript import slurm_script
    from ..pipeline.output import write_output

    words = [*(f"@{name}" for name in options.from_file or ()), *options.files]
    command = [sys.executable, "-m", "g3reduce", "coadd", *words, "-o", options.output_file]
    command += words_of(options, adding.add_flags, splitting.add_splits, _add_joining)
    folder = None
    if _checkpointed(options):
        folder = options.checkpoint or f"{options.output_file}.checkpoints"
        command += ["--checkpoint", folder, "--resume"]
    mpi, environment = _srun(options.mpi)
    script = slurm_script(
        plan,
        command,
        folder=os.getcwd(),
        checkpoints=folder,
        mpi=mpi,
        environment=environment,
        sbatch=options.sbatch,
    )
    if options.write == "-":
        result(script.rstrip())
        return
    write_output(options.write, lambda output: output.write(os.fsencode(script)))
    if not options.json:
        say(f"Wrote {options.write}, for sbatch.")


def _srun(wished: str | None) -> tuple[str | None, dict[str, str]]:
    """The ``--mpi`` of ``srun``, or None for that of the site; and what it needs to be started so.

    Who says how ranks are to be started says it all.
    """
    if wished is not None:
        return None if wished == "none" else wished, {}
    from ..mpi.launch import library_of_mpi4py
    from ..mpi.launchers import needs_under_srun, srun_speaks

    library = library_of_mpi4py() or ""
    return srun_speaks(library), needs_under_srun(library)
