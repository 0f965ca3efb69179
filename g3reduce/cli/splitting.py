"""The flags of ``g3reduce coadd`` that split: splits, bundles, jackknives and sign flips."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..choices import BundleBy, choices_of
from ..mpi import communicators
from ..mpi.agreement import collectively, from_rank
from .options import count, seed

if TYPE_CHECKING:
    from ..splits import Splitting

_FLAGS = ("split", "bundles", "bundle_days", "jackknife", "signflips")

# Of use with those only.
_WITH = ("table", "table_key", "table_name", "time", "seed", "bundle_by", "passes")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = add_splits(parser)
    group.add_argument(
        "--passes",
        type=_passes,
        metavar="N|auto",
        help="make the coadds in so many passes over the files, or in as many as memory needs "
        "(default: one; what would not fit is refused)",
    )
    group.add_argument(
        "--repeat",
        metavar="COADDS",
        help="make the coadds in this file again, of the maps and with the signs that are in their "
        "ledgers; IN is needed only if files were moved",
    )


def add_splits(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the flags that say which coadds there are; ``g3reduce plan`` has them, too."""
    group = parser.add_argument_group(
        "splits, bundles and sign flips",
        "All from one reading of the input. They combine: bundles of each split, sign\n"
        "flips of each bundle; with --collate, within each Id. Names are joined by _.",
    )
    group.add_argument(
        "--split",
        action="append",
        type=_named_rule,
        metavar="NAME=RULE",
        help="a coadd of the maps for which a rule holds: 'all', or FIELD OP VALUE, joined by &, | "
        "and ~; as id=150GHz*, source=, observation=, date=2019-03-01..2019-06-01, parity=odd, or "
        "a column of --table: 'elevation>=median', 'pwv<0.8'",
    )
    group.add_argument(
        "--table",
        metavar="FILE",
        help="a table of observations: CSV, YAML or SQLite",
    )
    group.add_argument(
        "--table-key", metavar="COLUMN", help="its column that names the observations"
    )
    group.add_argument(
        "--table-name", metavar="NAME", help="which table it is of an SQLite file with several"
    )
    group.add_argument(
        "--time",
        metavar="WHAT",
        help="what tells when observations began: frame (default), spt, ctime, or iso:COLUMN, "
        "ctime:COLUMN, mjd:COLUMN of the table",
    )
    group.add_argument(
        "--bundles", type=count, metavar="N", help="so many bundles of whole observations"
    )
    group.add_argument(
        "--bundle-by",
        choices=choices_of(BundleBy),
        help="bundles of equal weight or number (default: weight)",
    )
    group.add_argument(
        "--bundle-days", type=float, metavar="D", help="bundles of observations of so many days"
    )
    group.add_argument(
        "--jackknife",
        action="store_true",
        help="with bundles: also the coadds that lack one bundle each",
    )
    group.add_argument(
        "--signflips",
        type=count,
        metavar="N",
        help="beside each coadd so many realisations in which half of its weight is subtracted",
    )
    group.add_argument(
        "--seed", type=seed, metavar="S", help="of sign flips and bundles (default: 0)"
    )
    parser.set_defaults(refuse=parser.error)
    return group


def arguments(options: argparse.Namespace, comm: Any) -> dict[str, Any]:
    """The arguments of `coadd_files` for these flags. Collective over `comm` where there are any.

    The program ends here if they contradict others.
    """
    if options.repeat is not None:
        return _again(options, comm)
    found = assigned(options, comm)
    if "assign" not in found:
        return found
    if options.output_map_id != "Coadd":
        options.refuse("-i cannot be used with splits, bundles and sign flips, which have names")
    return {**found, "passes": options.passes}


def assigned(options: argparse.Namespace, comm: Any) -> dict[str, Any]:
    """What says to which coadds maps go, as an argument of `coadd_files` and `plan_coadd`."""
    if not _given(options, _FLAGS):
        if useless := _given(options, _WITH):
            options.refuse(f"{useless[0]} is of use with --split, bundles and sign flips only")
        return {"collate": options.collate}
    if options.map_ids:
        options.refuse(
            "-m cannot be used with splits, bundles and sign flips: name the Ids in a rule, as in "
            "--split high='id=150GHz | id=220GHz'"
        )
    assign = collectively(communicators.private(comm), lambda: _splitting(options))
    return {"assign": assign}


def _again(options: argparse.Namespace, comm: Any) -> dict[str, Any]:
    from ..formats.firstlook import expand
    from ..formats.reading import stored_frames_in
    from ..splits import Repetition, repeat

    if others := _given(options, (*_FLAGS, *_WITH[:-1], "map_ids", "collate")):
        options.refuse(f"{others[0]} cannot be used with --repeat: the ledgers say what goes where")

    headers = ("pol_conv", "coord", "units")
    said = {name: getattr(options, f"input_{name}") for name in headers}
    read = functools.partial(stored_frames_in, **said)

    def found() -> Repetition:
        files = expand(options.files) if options.files else None
        return repeat(options.repeat, files=files, read=read)

    again = from_rank(communicators.private(comm), 0, found)
    options.files = again.files
    return {"assign": again.assign, "passes": options.passes}


def _given(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    return [
        f"--{name.replace('_', '-')}"
        for name in names
        if (value := getattr(options, name, None)) is not None and value is not False
    ]


def _splitting(options: argparse.Namespace) -> Splitting:
    """The splitting that flags say.

    Raises
    ------
    UsageError, InputError
    """
    from .. import splits

    number = options.seed or 0
    bundles: Splitting | None = None
    if options.bundles and options.bundle_days:
        options.refuse("--bundles and --bundle-days are two ways of bundling: give one")
    if options.bundles:
        bundles = splits.bundles(options.bundles, by=options.bundle_by or "weight", seed=number)
    elif options.bundle_days is not None:
        bundles = splits.bundle_days(options.bundle_days)
    if options.bundle_by and not options.bundles:
        options.refuse("--bundle-by is of use with --bundles only")
    if options.jackknife and bundles is None:
        options.refuse("--jackknife needs --bundles N or --bundle-days D")
    if options.jackknife and bundles is not None:
        bundles = bundles + splits.jackknife(bundles)
    parts = [splits.by("id") if options.collate else None]
    if options.split:
        names = [name for name, _ in options.split]
        if len({*names}) < len(names):
            options.refuse(f"two splits are named {max(names, key=names.count)!r}")
        parts.append(splits.split(**dict(options.split)))
    parts.append(bundles)
    if options.signflips:
        parts.append(splits.signflips(options.signflips, seed=number))
    first, *others = [part for part in parts if part is not None]
    for part in others:
        first = first * part
    table = options.table
    if options.table_name is not None:
        if table is None:
            options.refuse("--table-name names a table in a file: name this, too (--table FILE)")
        table = splits.read_table(table, key=options.table_key, table=options.table_name)
    return first.using(table, key=options.table_key, time=options.time)


def _named_rule(word: str) -> tuple[str, str]:
    name, sign, rule = word.partition("=")
    if not sign or not name or not rule:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not valid; expected NAME=RULE, such as early='date<2019-05-01'"
        )
    return name, rule


def _passes(word: str) -> int | str:
    return word if word == "auto" else count(word)
