"""``g3reduce check``: look at the files of a coadd without adding them."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..choices import OnDuplicate, choices_of
from . import adding, progress, setaside
from .lists import files_of
from .options import add_files, add_verbose
from .otherfiles import refuse_other_file
from .streams import result

DESCRIPTION = """\
Look at .g3 files before a coadd: which cannot be read or are broken, which do
not fit the others, which are there twice; and about how much memory and time
their coadd takes. All problems of all files are told at once. On several ranks
they share the files.
"""

EXAMPLE = """\
examples:
  g3reduce check obs/*.g3
  mpirun -n 8 g3reduce check 'obs/*.g3' --deep --collate
  g3reduce check 'obs/*.g3' --write-manifest obs/MANIFEST

The exit code is 0 if a coadd would not end because of any file, else 1.
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "check", help="look at files before a coadd", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="check")
    add_files(parser)
    look = parser.add_argument_group("the look, and its report")
    look.add_argument(
        "--deep",
        action="store_true",
        help="read all pixels, too: checksums, NaN, negative and singular weights",
    )
    look.add_argument("--json", action="store_true", help="print the report as JSON")
    look.add_argument(
        "--write-manifest",
        metavar="FILE",
        help="write how many frames there are in each file; with --deep also its SHA-256",
    )
    adding.add_flags(
        parser.add_argument_group(
            "what would be added, and how", "Say here what you will say to g3reduce coadd."
        )
    )
    bad = parser.add_argument_group("input that is bad, or there twice")
    setaside.add_comparing(bad)
    setaside.add_repeated(bad, choices_of(OnDuplicate))
    progress.add_flags(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Look, and print the report."""
    from ..jobs.checking import check_files
    from ..mpi import communicators
    from ..mpi.agreement import collectively

    comm = communicators.resolve(None)
    if options.write_manifest is not None:
        collectively(
            communicators.private(comm),
            lambda: _check_manifest(options) if comm.rank == 0 else None,
        )
    checked = check_files(
        files_of(options, comm, needed=options.atomic is None),
        mpicomm=comm,
        deep=options.deep,
        collate=options.collate,
        **adding.arguments(options),
        on_duplicate=options.on_duplicate,
        same_observation=options.same_observation,
        like=options.like,
        manifest=options.manifest,
        progress=progress.observer_of(options, communicators.private(comm)),
    )
    if comm.rank == 0:
        lines = [json.dumps(checked.as_data(), indent=1)] if options.json else checked.lines()
        if not options.json:
            lines = [options.translate(line) for line in lines]
        for line in lines if options.json or not (options.quiet and checked.is_fine) else ():
            result(line)
        if options.write_manifest is not None:
            _write_manifest(options.write_manifest, checked, with_sha256=options.deep)
    return 0 if checked.is_fine else 1


def _check_manifest(options: argparse.Namespace) -> None:
    """See that the manifest can be written, before the work begins."""
    from ..pipeline.output import check_output

    refuse_other_file(options, "write_manifest", "MANIFEST")
    check_output(options.write_manifest, endings=("",))


def _write_manifest(file: str, checked: Any, *, with_sha256: bool) -> None:
    from ..jobs.manifest import lines_of_manifest
    from ..pipeline.output import write_output

    bad = checked.seen.bad
    files = [(one.name, one.n_frames) for at, one in enumerate(checked.seen.files) if at not in bad]
    lines = lines_of_manifest(files, with_sha256=with_sha256)
    text = "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")
    write_output(file, lambda output: output.write(text))
