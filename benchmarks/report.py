"""Runs as Markdown pages and pictures."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from .harness.rows import Row, markdown
from .harness.settings import Benchmark
from .suite import BENCHMARKS, Measured, save

# A page is short enough to read, so joining, which has many cases, has one of its own.
_RANKS = ["memory", "ledgers", "scaling", "distributor"]
_JOINING = ["reducing", "hosts"]
_OTHER = ["custom", "exactness", "flips", "stitching", "formats", "sharded", "progress"]
_APART = [*_RANKS, *_JOINING, *_OTHER]
PAGES = {
    "benchmarks": ("Benchmarks", [name for name in BENCHMARKS if name not in _APART]),
    "benchmarks_ranks": ("Benchmarks on ranks, and of memory", _RANKS),
    "benchmarks_joining": ("Benchmarks of joining", _JOINING),
    "benchmarks_other": ("Benchmarks of reductions, sign flips and restitching", _OTHER),
}
INTRODUCTION = """\
Written by `python -m benchmarks`. All rivals are measured in one run and in turn, after a round \
that warms up; the order changes from round to round. Ratios are those of a round, so that what \
slows the machine down for a while slows both: 1.3 (1.2–1.5) is the median over the rounds, and \
half of them lie between 1.2 and 1.5. If these are far apart, the machine was busy."""
DOTS_PER_INCH = 110


def write(folder: Path, runs: Sequence[Measured], note: str = "") -> None:
    """Write the pages, their pictures, and the rows as ``benchmarks.json``.

    Parameters
    ----------
    folder : Path
    runs : list of Measured
    note : str, optional
        What readers are to know first; it stands on each page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "benchmarks.json", list(runs))
    first = ""
    for page, (title, names) in PAGES.items():
        measured = [wrapped(INTRODUCTION), machines(runs)]
        if first:
            measured = [f"How this was measured, and where: see [{PAGES[first][0]}]({first}.md)."]
        parts = []
        for name in names:
            rows = rows_of(runs, name)
            if rows:
                picture = f"{page}_{name}.png"
                BENCHMARKS[name].draw(rows).savefig(folder / picture, dpi=DOTS_PER_INCH)
                parts.append(section(BENCHMARKS[name], rows, picture))
        if parts:
            first = first or page
            noted = [wrapped(f"**{note}**")] if note else []
            text = "\n\n".join([f"# {title}", *noted, *measured, *parts])
            (folder / f"{page}.md").write_text(text + "\n")


def machines(runs: Sequence[Measured]) -> str:
    """Where the runs come from, side by side."""
    facts = [
        {**run["machine"], "MPI": mpi, "processor": plain(run["machine"]["processor"])}
        for run, mpi in zip(runs, mpis(runs), strict=True)
    ]
    lines = [[key, *(fact.get(key, "") for fact in facts)] for key in facts[0]]
    return markdown(["machine"] + [""] * len(runs), lines)


def section(benchmark: Benchmark, rows: Sequence[Row], picture: str = "") -> str:
    """A heading, how to read what follows, a picture and the tables."""
    parts = [f"## {benchmark.title}", wrapped(benchmark.reading)]
    if picture:
        parts.append(f"![{benchmark.title}]({picture})")
    for table in benchmark.tables:
        shown = table.markdown(rows)
        if shown:
            parts += [f"{table.title}:", shown]
    return "\n\n".join(parts)


def rows_of(runs: Sequence[Measured], name: str) -> list[Row]:
    """The rows of a benchmark: of all runs with their MPI, or of the first if MPI plays no part."""
    found = [(mpi, run["rows"].get(name)) for mpi, run in zip(mpis(runs), runs, strict=True)]
    having = [(mpi, rows) for mpi, rows in found if rows]
    if not BENCHMARKS[name].on_ranks:
        having = having[:1]
    if len(having) < 2:
        return [row for _, rows in having for row in rows]
    return [{"mpi": mpi, **row} for mpi, rows in having for row in rows]


def mpis(runs: Sequence[Measured]) -> list[str]:
    """The MPI library of each run, as ``MPICH 5.0.2``, whatever it says of itself beside that."""
    names = [mpi_name(run["machine"]["MPI"]) for run in runs]
    return [
        f"{name} ({names[: number + 1].count(name)})" if names.count(name) > 1 else name
        for number, name in enumerate(names)
    ]


def mpi_name(told: str) -> str:
    """Name and version, from what an MPI library says of itself."""
    found = re.search(r"^(.*?)[\s,:]*\bv?(\d+(?:\.\d+)*)", told)
    if not found:
        return told.split("\n")[0]
    words = [word for word in plain(found[1]).split() if word not in ("Library", "Version")]
    return " ".join([*words, found[2]])


def plain(name: str) -> str:
    """The name of a product, without trade marks and clock rates."""
    return " ".join(re.sub(r"\((R|TM|C)\)|\bCPU\b|@.*", " ", name, flags=re.IGNORECASE).split())


def wrapped(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(text, 100, break_on_hyphens=False, break_long_words=False)
