"""How a run went, from its events: figures, notes, and the time line of its ranks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from ..progress.events import (
    Begun,
    Behind,
    Checkpointed,
    Ended,
    Event,
    FileDone,
    ReadAgain,
    Summarised,
    Written,
)
from ..progress.timing import Timing
from ..progress.wording import in_words
from .timeline import TimeLine, time_line_of

_Some = TypeVar("_Some", bound=Event)


class Run(NamedTuple):
    """A run as the page tells it.

    Attributes
    ----------
    facts : list of tuple
        Labels and values.
    command : str
    versions : dict of str to str
    notes : list of str
        What is worth a look: ranks that were behind, checkpoints, a second reading.
    line : TimeLine
    """

    facts: list[tuple[str, str]]
    command: str
    versions: dict[str, str]
    notes: list[str]
    line: TimeLine


def run_of(happened: Iterable[Event]) -> Run:
    """A run, from its events."""
    events = list(happened)
    begun = _first(events, Begun) or Begun(time=0.0, task="")
    line = time_line_of(events, begun.n_ranks)
    return Run(
        facts=_facts(events, begun, line),
        command=shlex.join(map(str, begun.command)),
        versions={str(name): str(one) for name, one in begun.versions.items()},
        notes=_notes(events),
        line=line,
    )


def _first(events: Sequence[Event], kind: type[_Some]) -> _Some | None:
    return next((event for event in events if isinstance(event, kind)), None)


def _facts(events: Sequence[Event], begun: Begun, line: TimeLine) -> list[tuple[str, str]]:
    n_bytes = sum(event.n_bytes for event in events if isinstance(event, FileDone))
    ended = _first(events, Ended)
    facts = {
        "Outcome": " – ".join(filter(None, (ended.outcome, ended.reason)))
        if ended
        else "the log ends before the run does",
        "Began": _date(begun.started),
        "Took": _seconds(line.end),
        "Ranks": f"{line.n_ranks:,}",
        "Host of rank 0": begun.host,
        "Stages": ", ".join(f"{one.name} {_seconds(one.end - one.begin)}" for one in line.stages),
        "Read": f"{in_words(n_bytes)}, {in_words(n_bytes / line.reading)}/s" if n_bytes else "",
    }
    summary = _first(events, Summarised)
    if summary is not None:
        facts |= _about_joining(summary)
    written = [event for event in events if isinstance(event, Written)]
    facts["Written"] = ", ".join(f"{one.file} ({in_words(one.n_bytes)})" for one in written)
    return [(label, value) for label, value in facts.items() if value]


def _about_joining(summary: Summarised) -> dict[str, str]:
    """Balance, strategy and prediction, bytes, and memory."""
    timing = Timing(summary.ranks)
    facts = {}
    if len(summary.ranks) > 1:
        facts["Balance"] = (
            f"{timing.balance:.0%}: on average a rank read for {_seconds(timing.mean('reading'))}, "
            f"the longest for {_seconds(timing.longest('reading'))}"
        )
        predicted = f"; predicted {_seconds(summary.predicted)}" if summary.predicted else ""
        facts["Joined"] = f"{summary.strategy}: {summary.why}"
        facts["Joining took"] = f"{_seconds(summary.seconds)}{predicted}"
        facts["Moved to join"] = f"{in_words(summary.bytes_moved)}"
        if summary.nodes > 1:
            facts["Nodes"] = f"{summary.nodes:,}"
    if timing.peak_memory:
        most = max(summary.ranks, key=lambda one: one.peak_memory)
        whose = f", rank {most.rank}, at most" if len(summary.ranks) > 1 else ""
        facts["Memory"] = f"{in_words(most.peak_memory)}{whose}"
    return facts


def _notes(events: Iterable[Event]) -> list[str]:
    notes = []
    for event in events:
        when = f"after {_seconds(event.time)}"
        if isinstance(event, Behind):
            notes.append(
                f"Rank {event.rank} was behind {when}: {event.file} took "
                f"{_seconds(event.seconds)}, the median is {_seconds(event.median)}"
            )
        elif isinstance(event, ReadAgain):
            notes.append(f"All files were read once more {when}: {event.reason}")
        elif isinstance(event, Checkpointed):
            notes.append(f"Checkpoint {event.number} {when}, {event.n_files} files")
    return notes


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3g} s" if seconds < 100 else f"{seconds:,.0f} s"


def _date(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S %Z}"
    except ValueError:
        return text
