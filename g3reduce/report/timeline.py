"""The time line of a run: its stages, and what each rank did when, as shapes in SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..progress.events import Event, FileDone, ReadAgain, StageBegun, Summarised
from ..progress.timing import STAGES, RankTiming

WIDTH = 960
LEFT, RIGHT, TOP, ROW = 76, 14, 26, 16
MOST_RANKS = 64
_GAP = 0.6  # between pieces, to tell them apart
_TICKS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200),
)  # seconds between them

At = Callable[[float], float]


class Stage(NamedTuple):
    """A stage of the work on rank 0: its name, and where it is on the time line."""

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
        Its files, as an SVG path.
    spans : list of tuple
        Its stages: name and SVG path.
    y : float
    files, n_bytes : int
        What it has read; a file in pieces counts on each rank that has read one.
    busy : float
        Seconds in which it read.
    share : float
        Which part of the stage of reading that is.
    timing : RankTiming or None
        Its account, if the run came to its end.
    """

    rank: int
    path: str
    spans: list[tuple[str, str]]
    y: float
    files: int
    n_bytes: int
    busy: float
    share: float
    timing: RankTiming | None


class TimeLine(NamedTuple):
    """The time line as the page shows it.

    Attributes
    ----------
    end : float
        Seconds.
    stages : list of Stage
    ranks : list of RankLine
    n_ranks : int
        How many there were; the first `MOST_RANKS` are shown.
    ticks : list of tuple
        Of the axis of time: x and label.
    height : float
    timed : bool
        Whether stages of each rank are known.
    in_order : bool
        Whether they came one after the other, so that they can be drawn.
    in_pieces : bool
        Whether some files were read in pieces.
    """

    end: float
    stages: list[Stage]
    ranks: list[RankLine]
    n_ranks: int
    ticks: list[tuple[float, str]]
    height: float
    timed: bool
    in_order: bool
    in_pieces: bool

    @property
    def reading(self) -> float:
        """For how many seconds files were read."""
        return sum(one.end - one.begin for one in self.stages if one.name == "reading") or self.end


def time_line_of(events: Sequence[Event], n_ranks: int) -> TimeLine:
    """The time line of a run, from its events."""
    end = max((event.time for event in events), default=0.0)
    end = end if end > 0 else 1e-9
    inner = WIDTH - LEFT - RIGHT

    def at(seconds: float) -> float:
        return round(LEFT + inner * min(1.0, max(0.0, seconds / end)), 1)

    stages = _stages([event for event in events if isinstance(event, StageBegun)], end, at)
    timings = {
        one.rank: one for event in events if isinstance(event, Summarised) for one in event.ranks
    }
    again = any(isinstance(event, ReadAgain) for event in events)
    in_order = bool(timings) and not again and [one.name for one in stages].count("reading") <= 1
    in_pieces = any(isinstance(event, FileDone) and event.part for event in events)
    done: dict[int, list[FileDone]] = {}
    for event in events:
        if isinstance(event, FileDone):
            done.setdefault(event.rank, []).append(event)
    n_ranks = max(0, n_ranks) + sum(not 0 <= rank < n_ranks for rank in done)
    ranks = sorted({*range(min(n_ranks, MOST_RANKS)), *done})[:MOST_RANKS]
    line = TimeLine(
        end, stages, [], n_ranks, _ticks(end, at), 0.0, bool(timings), in_order, in_pieces
    )
    for place, rank in enumerate(ranks):
        files, timing, y = done.get(rank, []), timings.get(rank), TOP + ROW * (place + 0.5)
        busy = sum(max(0.0, one.time - one.began) for one in files)
        line.ranks.append(
            RankLine(
                rank,
                _files(files, at, y),
                _spans(timing, at, y) if timing and in_order else [],
                y,
                len({one.file for one in files}),
                sum(one.n_bytes for one in files),
                busy,
                min(1.0, busy / line.reading),
                timing,
            )
        )
    return line._replace(height=TOP + ROW * len(line.ranks) + 26)


def _stages(begun: Sequence[StageBegun], end: float, at: At) -> list[Stage]:
    ends = [*(event.time for event in begun[1:]), end]
    return [
        Stage(
            one.stage, one.time, until, at(one.time), max(0.0, round(at(until) - at(one.time), 1))
        )
        for one, until in zip(begun, ends, strict=False)  # of no stage there is an end, too
    ]


def _files(files: Sequence[FileDone], at: At, y: float) -> str:
    pieces: list[list[float]] = []
    for event in sorted(files, key=lambda event: event.began):
        left, right = at(event.began), at(event.time)
        # Files that are read in less time than a pixel shows make one piece together.
        if pieces and right - left < 3 * _GAP and left - pieces[-1][1] < _GAP:
            pieces[-1][1] = max(right, pieces[-1][1])
        else:
            pieces.append([left, right])
    return "".join(
        f"M{left:.1f} {y:g}H{max(left + 0.4, right - _GAP):.1f}" for left, right in pieces
    )


def _spans(timing: RankTiming, at: At, y: float) -> list[tuple[str, str]]:
    found, begin = [], 0.0
    for stage in STAGES:
        seconds = float(getattr(timing, stage))
        left, right = at(begin), at(begin + seconds)
        if seconds:
            found.append((stage, f"M{left:.1f} {y:g}H{max(left + 0.3, right):.1f}"))
        begin += seconds
    return found


def _ticks(end: float, at: At) -> list[tuple[float, str]]:
    step = next((one for one in _TICKS if end / one <= 8), end / 5)
    times = [step * number for number in range(int(end / step) + 1)]
    return [(at(time), _time(time, end)) for time in times]


def _time(seconds: float, end: float) -> str:
    if end < 60:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    if end < 3600:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
