"""The closing lines of ``g3reduce coadd``, which account for every file of input."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..spt3gtypes import Frame
from .messages import counted

if TYPE_CHECKING:
    from ..coadd.coadds import Coadds

_WIDTH = 80
_NAMED = 5  # names or Ids in a line; how many more there are is said


def lines_about(coadds: Coadds) -> list[str]:
    """The coadds, and what became of all files."""
    ledger = coadds.ledger
    lines = _contents(coadds.values())
    if coadds.n_given:
        n_read = coadds.n_given - len(coadds.left_out)
        lines.append(_line("Files", f"{coadds.n_given} given, {n_read} read"))
    if coadds.without_maps:
        text = f"{len(coadds.without_maps)}: {_listed(coadds.without_maps)}"
        lines.append(_line("Without maps", text))
    by_id = [f"{map_id or 'no Id'} ({n})" for map_id, n in sorted(ledger.n_frames_by_id().items())]
    lines.append(_line("Frames", f"{len(ledger.entries)}: {_listed(by_id)}"))
    if observations := ledger.observations():
        lines.append(_line("Observations", f"{len(observations)}"))
    return lines


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
        lines.append(f"{frame['Id']}: {', '.join(keys)} from {n_files}")
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


def _line(label: str, text: str) -> str:
    begin = f"{label + ':':<14}"
    return textwrap.fill(
        begin + text, _WIDTH, subsequent_indent=" " * len(begin), break_long_words=False
    )


def _listed(names: Iterable[str]) -> str:
    listed: Sequence[str] = list(names)
    more = f", and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
