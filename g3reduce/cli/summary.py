"""The closing lines of ``g3reduce coadd``, which account for every file of input."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..spt3gtypes import Frame
from .messages import counted
from .streams import one_line

if TYPE_CHECKING:
    from ..coadd.coadds import Coadds
    from ..maps.coverage import Coverage
    from ..progress.timing import Timing
    from ..strategies.traffic import Statistics

_WIDTH = 80
_NAMED = 5  # names or Ids in a line; how many more there are is said
_SHOWN = 12  # lines about coadds


def lines_about(coadds: Coadds) -> list[str]:
    """The coadds, and what became of all files."""
    ledger = coadds.ledger
    lines = _contents(coadds.values())
    if coadds.n_given:
        n_read = coadds.n_given - len(coadds.left_out)
        n_files = len({one.unit.file for one in ledger.entries if one.unit is not None})
        more = f"; {n_files} files are in the coadd now" if n_files > n_read else ""
        lines.append(label("Files", f"{coadds.n_given} given, {n_read} read{more}"))
    if coadds.without_maps:
        text = f"{len(coadds.without_maps)}: {several(coadds.without_maps)}"
        lines.append(label("Without maps", text))
    by_id = [f"{map_id or 'no Id'} ({n})" for map_id, n in sorted(ledger.n_frames_by_id().items())]
    lines.append(label("Frames", f"{len(ledger.entries)}: {several(by_id)}"))
    if observations := ledger.observations():
        lines.append(label("Observations", f"{len(observations)}"))
    lines += _coverage(coadds.coverage)
    if coadds.timing.ranks:
        lines += _timing(coadds.timing)
    if coadds.statistics.ranks > 1:
        lines.append(label("Joined", _joined(coadds.statistics, coadds.timing)))
    return lines


def _coverage(coverage: Mapping[str, Coverage]) -> list[str]:
    """A line about the sky, and one about the depth: of several coadds the least and the most."""
    from ..analysis.tables import short

    each = list(coverage.values())
    if not each:
        return []
    fraction = _range([100 * one.sky_fraction for one in each], short)
    text = f"{_range([one.area_deg2 for one in each], short)} deg2 ({fraction} %)"
    if hits := [one.hits for one in each if one.hits is not None]:
        text += f", {_range(hits, short)} hits a pixel (median)"
    lines = [label("Sky", text)]
    depth_t = [one.depth_t for one in each if one.depth_t is not None]
    depth_p = [one.depth_p for one in each if one.depth_p is not None]
    if depth_t:
        text = f"T {_range(depth_t, short)}"
        text += f", Q and U {_range(depth_p, short)}" if depth_p else ""
        lines.append(label("Depth", f"{text} uK arcmin"))
    return lines


def _timing(timing: Timing) -> list[str]:
    """Lines about time and memory."""
    from ..progress.timing import STAGES
    from ..progress.wording import size

    took = {stage: _seconds(timing.longest(stage)) for stage in STAGES}
    stages = [f"{stage} {one}" for stage, one in took.items() if float(one)]
    lines = [label("Time", f"{', '.join(stages) or 'less than 0.01'} s")]
    ranks = len(timing.ranks)
    if ranks > 1:
        reading = _range([one.reading for one in timing.ranks], _seconds)
        mean = f"mean {100 * timing.balance:.0f} % of the longest"
        lines.append(label("Balance", f"reading {reading} s on {ranks} ranks, {mean}"))
    if timing.peak_memory:
        each = " a rank at most" if ranks > 1 else ""
        together = sum(one.peak_memory for one in timing.ranks)
        text = f"{size(timing.peak_memory)}{each}"
        lines.append(label("Memory", text + (f", {size(together)} in all" if each else "")))
    return lines


def _joined(statistics: Statistics, timing: Timing) -> str:
    """How the sums of all ranks were joined, and why so."""
    from ..progress.wording import size
    from ..strategies.traffic import NAMED, ON_NODE

    if statistics.strategy == ON_NODE:
        how = "in the memory of the one node"
    elif statistics.why == NAMED:
        how = f"by {statistics.strategy}, as was wished"
    else:
        how = f"by {statistics.strategy}, as this should be the fastest way here"
    moved = f", {size(timing.bytes_moved)} moved" if timing.bytes_moved else ""
    return f"{how}: {_seconds(statistics.seconds)} s{moved}"


def _range(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """The least and the most, or the only one."""
    least, most = shown(min(values)), shown(max(values))
    return least if least == most else f"{least} to {most}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 9.995 else f"{seconds:.0f}"


def _contents(frames: Iterable[Frame]) -> list[str]:
    """A line about each coadd, and one about all its sign flips."""
    lines: list[str] = []
    flips: dict[str, list[str]] = {}
    for frame in frames:
        base = base_of(frame)
        if base:
            flips.setdefault(base, []).append(frame["Id"])
            continue
        keys = [key for key in ("T", "Q", "U", "Wpol", "Wunpol", "H") if key in frame]
        n_files = counted(len(frame.get("InputFiles", ())), "file")
        lines.append(f"{one_line(frame['Id'])}: {', '.join(keys)} from {n_files}")
    if len(lines) > _SHOWN:
        more = len(lines) - _SHOWN + 1
        lines[_SHOWN - 1 :] = [f"... and {more} more; `g3reduce info` tells about each"]
    return lines + lines_of_flips(flips)


def lines_of_flips(flips: Mapping[str, Sequence[str]]) -> list[str]:
    """A line about all sign flips of each coadd, whose Ids these are."""
    lines = []
    for base, names in flips.items():
        to = f" to {names[-1]}" if len(names) > 1 else ""
        lines.append(f"{names[0]}{to}: {counted(len(names), 'sign flip')} of {base}")
    return lines


def base_of(frame: Frame) -> str:
    """The coadd of which this one is a sign flip; empty if it is none."""
    record = frame.get("Split", None)
    return str(record["base"]) if record is not None and "base" in record else ""


def label(word: str, text: str) -> str:
    """A line of 80 columns at most that begins with a label; others below if it needs them."""
    begin = f"{word + ':':<14}"
    return textwrap.fill(
        begin + text,
        _WIDTH,
        subsequent_indent=" " * len(begin),
        break_long_words=False,
        break_on_hyphens=False,  # of names and Ids
    )


def several(names: Iterable[str]) -> str:
    """Names, of many the first few."""
    listed: Sequence[str] = list(names)
    more = f", and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
