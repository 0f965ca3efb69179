"""How a run went, from the log of its events: its stages, and what each rank did when."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ..progress.events import Event
from ..progress.logfile import as_data

WIDTH = 960
LEFT, RIGHT, TOP, ROW = 76, 14, 26, 16
MOST_RANKS = 64
_GAP = 0.6  # between pieces, to tell them apart

Data = Mapping[str, Any]
"""An event as plain data: a line of the log."""


class Stage(NamedTuple):
    """A stage of the work: its name, and where it is on the time line."""

    name: str
    begin: float
    end: float
    x: float
    width: float


class RankLine(NamedTuple):
    """What a rank did.

    Attributes
    ----------
    rank : int
    path : str
        Its pieces, as an SVG path.
    y : float
    files, n_bytes : int
        What it has read.
    busy : float
        Seconds in which it read; the rest of the reading it waited.
    share : float
        Which part of the stage of reading that is.
    """

    rank: int
    path: str
    y: float
    files: int
    n_bytes: int
    busy: float
    share: float


class Run(NamedTuple):
    """A run as the page tells it.

    Attributes
    ----------
    facts : list of tuple
        Labels and values.
    command : str
    versions : dict of str to str
    stages : list of Stage
    ranks : list of RankLine
    not_shown : int
        How many ranks more there were.
    notes : list of str
        What is worth a look: ranks that were behind, checkpoints, a second reading.
    ticks : list of tuple
        Of the axis of time: x and label.
    height : float
    """

    facts: list[tuple[str, str]]
    command: str
    versions: dict[str, str]
    stages: list[Stage]
    ranks: list[RankLine]
    not_shown: int
    notes: list[str]
    ticks: list[tuple[float, str]]
    height: float


def run_of(happened: Iterable[Event]) -> Run:
    """A run, from its events."""
    events: list[Data] = [as_data(event) for event in happened]
    begun = _first(events, "begun")
    end = max((float(event.get("time", 0)) for event in events), default=0.0) or 1e-9
    inner = WIDTH - LEFT - RIGHT

    def at(seconds: float) -> float:
        return round(LEFT + inner * min(1.0, max(0.0, seconds / end)), 1)

    stages = _stages(events, end, at)
    reading = _reading(stages, end)
    pieces: dict[int, list[Data]] = {rank: [] for rank in range(int(begun.get("n_ranks", 1)))}
    for event in events:
        if event["event"] == "file done":
            pieces.setdefault(int(event.get("rank", 0)), []).append(event)
    ranks = [
        _rank_line(rank, done, at, place, reading)
        for place, (rank, done) in enumerate(sorted(pieces.items())[:MOST_RANKS])
    ]
    return Run(
        facts=_facts(events, begun, pieces, stages, end),
        command=shlex.join(map(str, begun.get("command", ()))),
        versions={str(name): str(one) for name, one in dict(begun.get("versions", {})).items()},
        stages=stages,
        ranks=ranks,
        not_shown=max(0, len(pieces) - MOST_RANKS),
        notes=_notes(events),
        ticks=_ticks(end, at),
        height=TOP + ROW * len(ranks) + 26,
    )


def _first(events: list[Data], kind: str) -> Data:
    return next((event for event in events if event["event"] == kind), {})


def _stages(events: list[Data], end: float, at: Any) -> list[Stage]:
    begins = [
        (str(event.get("stage", "")), float(event.get("time", 0)))
        for event in events
        if event["event"] == "stage"
    ]
    ends = [begin for _, begin in begins[1:]] + [end]
    return [
        Stage(name, begin, until, at(begin), round(at(until) - at(begin), 1))
        for (name, begin), until in zip(begins, ends, strict=True)
    ]


def _reading(stages: list[Stage], end: float) -> float:
    """For how many seconds files were read."""
    return sum(one.end - one.begin for one in stages if one.name == "reading") or end


def _rank_line(rank: int, done: list[Data], at: Any, place: int, reading: float) -> RankLine:
    busy = 0.0
    pieces: list[list[float]] = []
    for event in sorted(done, key=lambda event: float(event.get("began", 0))):
        begin, until = float(event.get("began", 0)), float(event.get("time", 0))
        busy += max(0.0, until - begin)
        left, right = at(begin), at(until)
        # Files that are read in less time than a pixel shows make one piece together.
        if pieces and right - left < 3 * _GAP and left - pieces[-1][1] < _GAP:
            pieces[-1][1] = max(right, pieces[-1][1])
        else:
            pieces.append([left, right])
    y = TOP + ROW * (place + 0.5)
    path = [f"M{left:.1f} {y:g}H{max(left + 0.4, right - _GAP):.1f}" for left, right in pieces]
    n_bytes = sum(int(event.get("n_bytes", 0)) for event in done)
    return RankLine(rank, "".join(path), y, len(done), n_bytes, busy, min(1.0, busy / reading))


def _facts(
    events: list[Data],
    begun: Data,
    pieces: Mapping[int, list[Data]],
    stages: list[Stage],
    end: float,
) -> list[tuple[str, str]]:
    n_bytes = sum(int(event.get("n_bytes", 0)) for done in pieces.values() for event in done)
    reading = _reading(stages, end)
    ended = _first(events, "ended")
    written = [event for event in events if event["event"] == "written"]
    facts = {
        "Outcome": " – ".join(
            str(ended[key]) for key in ("outcome", "reason") if ended.get(key, "")
        )
        or "the log ends before the run does",
        "Began": _date(str(begun.get("started", ""))),
        "Took": f"{end:,.3g} s" if end < 100 else f"{end:,.0f} s",
        "Ranks": f"{len(pieces):,}",
        "Host of rank 0": str(begun.get("host", "")),
        "Stages": ", ".join(f"{one.name} {one.end - one.begin:,.3g} s" for one in stages),
        "Read": f"{_size(n_bytes)}, {_size(n_bytes / reading)}/s" if n_bytes else "",
        "Written": ", ".join(
            f"{event.get('file', '')} ({_size(int(event.get('n_bytes', 0)))})" for event in written
        ),
    }
    return [(label, value) for label, value in facts.items() if value]


def _notes(events: list[Data]) -> list[str]:
    notes = []
    for event in events:
        when = f"after {float(event.get('time', 0)):,.3g} s"
        if event["event"] == "behind":
            notes.append(
                f"Rank {event.get('rank')} was behind {when}: {event.get('file')} took "
                f"{float(event.get('seconds', 0)):,.3g} s, the median is "
                f"{float(event.get('median', 0)):,.3g} s"
            )
        elif event["event"] == "read again":
            notes.append(f"All files were read once more {when}: {event.get('reason')}")
        elif event["event"] == "checkpoint":
            notes.append(f"Checkpoint {event.get('number')} {when}, {event.get('n_files')} files")
    return notes


def _ticks(end: float, at: Any) -> list[tuple[float, str]]:
    step = next((one for one in _STEPS if end / one <= 8), end / 5)
    times = [step * number for number in range(int(end / step) + 1)]
    return [(at(time), _time(time, end)) for time in times]


_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200),
)  # seconds between ticks


def _time(seconds: float, end: float) -> str:
    if end < 60:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    if end < 3600:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _date(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S %Z}"
    except ValueError:
        return text


def _size(n_bytes: float) -> str:
    for unit in ("kB", "MB", "GB"):
        n_bytes /= 1000
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
    return f"{n_bytes / 1000:,.3g} TB"
