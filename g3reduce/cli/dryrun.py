"""``--dry-run`` of ``g3reduce coadd``: what would be done, in the form of the closing lines."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from .fileformats import listed
from .messages import counted
from .summary import label, several

if TYPE_CHECKING:
    from ..coadd.coadds import Coadds

_SHOWN = 12  # lines about coadds


def add_flag(group: argparse._ActionsContainer) -> None:
    """Add ``--dry-run``."""
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="look at the heads of all files, and read one to know the time; say what would be "
        "done, and what would go wrong, and end",
    )


def lines_about(coadds: Coadds, options: argparse.Namespace, n_ranks: int) -> list[str]:
    """What a coadd would be."""
    from ..jobs.estimating import duration
    from ..progress.wording import in_words

    seen = coadds.preview
    if seen is None:
        return []
    lines = [
        f"{name or options.output_map_id}: {counted(number, 'map')}"
        + (f", {counted(seen.flips[name], 'sign flip')}" if name in seen.flips else "")
        for name, number in seen.maps.items()
    ]
    if len(lines) > _SHOWN:
        lines[_SHOWN - 1 :] = [f"... and {len(lines) - _SHOWN + 1} more coadds"]
    ids = [f"{map_id or 'no Id'} ({number})" for map_id, number in sorted(seen.map_ids.items())]
    n_read = len(seen.files)
    files = f"{coadds.n_given} given, {n_read} to be read, {in_words(seen.n_bytes)}"
    lines += [label("Files", files), label("Maps", several(ids))]
    if seen.observations:
        lines.append(label("Observations", str(len(seen.observations))))
    if seen.passes > 1:
        lines.append(label("Passes", f"{seen.passes} over the files"))
    there = "" if seen.available is None else f", {in_words(seen.available)} are available"
    ranks = counted(n_ranks, "rank")
    lines.append(label("Memory", f"about {in_words(seen.memory)} on each rank{there}"))
    if seen.seconds is not None:
        text = f"about {duration(seen.seconds)} on {ranks}, if all can read at once"
        lines.append(label("Time", text))
    if n_ranks > 1:
        named = f"by {options.strategy}, as was wished"
        chosen = "by what is predicted fastest for the sums, once these are there"
        lines.append(label("Joined", chosen if options.strategy == "auto" else named))
    if options.checkpoint is not None:
        lines.append(label("Checkpoints", f"in {options.checkpoint}"))
    replaced = " (replaces what is there)" if any(map(os.path.exists, seen.written)) else ""
    lines.append(label("Output", listed(seen.written) + replaced))
    return lines
