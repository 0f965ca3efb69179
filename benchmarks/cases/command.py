"""The whole command on two small files, from its start to its exit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from ..harness import pictures
from ..harness.inturn import in_turn, ratio, spread, timed
from ..harness.onranks import ROOT
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import KINDS, SHARED, write_files

THEIRS = "spt3g-coadd-maps"


def measure(settings: Settings, kinds: Sequence[str] = KINDS) -> list[Row]:
    """Both commands, and a Python that only imports what each cannot do without."""
    rows = []
    theirs = shutil.which(THEIRS, path=os.path.dirname(sys.executable)) or shutil.which(THEIRS)
    if theirs is None:
        raise FileNotFoundError(f"There is no {THEIRS}, neither beside this Python nor on the PATH")
    python = sys.executable
    for number, kind in enumerate(kinds):
        folder = settings.folder / f"command-{number}"
        files = write_files(folder, kind, SHARED, "tiny", 2)
        commands = {
            "g3reduce": [python, "-m", "g3reduce", "coadd", *files, "-o", str(folder / "ours.g3")],
            "spt3g": [python, theirs, *files, "-o", str(folder / "theirs.g3")],
            "floor": [python, "-c", "import spt3g.maps"],
        }
        # What Python compiles is kept, as after an installation, by the round that warms up.
        kept = {"PYTHONPYCACHEPREFIX": str(settings.folder / "command-compiled")}
        environment = {**os.environ, **kept}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        runs = {
            name: timed(partial(_run, command, environment)) for name, command in commands.items()
        }
        seconds = in_turn(runs, settings.rounds)
        rows.append(
            {
                "kind": kind,
                **{f"{name} s": spread(times) for name, times in seconds.items()},
                "against spt3g": ratio(seconds["spt3g"], seconds["g3reduce"]),
            }
        )
        shutil.rmtree(folder)
    return rows


def _run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(
        command,
        check=True,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


BENCHMARK = Benchmark(
    title="A whole command, on two small files",
    measure=measure,
    reading=(
        "Seconds from start to exit of `g3reduce coadd` and `spt3g-coadd-maps`: nearly all of it "
        "is starting up. Beside them Python itself with nothing but `import spt3g.maps`."
    ),
    tables=(
        Table(
            title="Seconds, and times as fast as spt3g",
            index={"kind": "maps"},
            values={
                "g3reduce s": "g3reduce coadd, s",
                "spt3g s": "spt3g-coadd-maps, s",
                "floor s": "only the import, s",
                "against spt3g": "against spt3g",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        label="{kind}",
        series={"g3reduce s": "g3reduce", "spt3g s": "spt3g", "floor s": "import spt3g.maps"},
        unit="seconds",
    ),
    on_ranks=False,
)
