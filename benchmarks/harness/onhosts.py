"""Running a function on ranks of several hosts, which the tests make of this machine."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .onranks import ROOT
from .rows import Row

sys.path.append(str(ROOT / "tests" / "support"))

SECONDS = 500


def why_no_hosts() -> str | None:
    """Why this machine cannot have hosts, or None if it can."""
    import hostrig

    reason: str | None = hostrig.why_not()
    return reason


def rows_from_hosts(
    slots: Mapping[str, int],
    rate: str | None,
    function: Callable[..., list[Row]],
    **arguments: Any,
) -> list[Row]:
    """Call a function of a module as ``function(comm, **arguments)`` on ranks of hosts.

    Parameters
    ----------
    slots : mapping of str to int
        How many ranks each host has, in their order.
    rate : str or None
        To what the links of all hosts are slowed down, as in ``"200mbit"``.
    function : callable
        At the top level of a module.
    **arguments
        Anything that JSON can tell.

    Returns
    -------
    list of dict
        What the function returned on rank 0.
    """
    import hostmpi
    import hostrig

    with (
        tempfile.TemporaryDirectory(prefix="g3reduce-benchmark-") as name,
        hostrig.Rig(slots) as rig,
    ):
        folder = Path(name)
        (folder / "arguments.json").write_text(json.dumps(arguments))
        rig.slow(rate)
        runner = f"{__package__}.onranks"
        words = ["-m", "mpi4py", "-m", runner, function.__module__, function.__name__, name]
        done = hostmpi.on_ranks(
            rig, [sys.executable, *words], env={"PYTHONPATH": str(ROOT)}, seconds=SECONDS
        )
        if not (folder / "rows.json").exists():
            raise RuntimeError(f"{function.__name__} on {dict(slots)}:\n{done.stdout}{done.stderr}")
        rows: list[Row] = json.loads((folder / "rows.json").read_text())
        return rows
