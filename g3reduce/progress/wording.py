"""Words about how far the work is, as the live line, plain lines and notebooks have them."""

from __future__ import annotations

from .events import StageBegun, Totals

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_SHOWN = 3  # so many ranks that are behind are named


# What a task mainly does need not be said.
_MAIN = {"check": "looking"}


def about(task: str, stage: StageBegun | None) -> str:
    """What is done now: ``"coadd"``, ``"coadd, joining"``, ``"coadd, pass 2 of 3"``."""
    if stage is None:
        return task
    passes = f", pass {stage.number} of {stage.n_passes}" if stage.n_passes > 1 else ""
    what = f", {stage.stage}" if stage.stage != _MAIN.get(task, "reading") else ""
    return f"{task}{passes}{what}"


def bad_in(task: str) -> str:
    """What becomes of bad files in a task."""
    return "bad" if task == "check" else "set aside"


def parts_of(
    totals: Totals, now: float, began: float, before: int, bad: str = "set aside"
) -> list[str]:
    """What there is to say, what matters most first.

    Parameters
    ----------
    totals : Totals
    now, began : float
        The time, and when reading began, in seconds.
    before : int
        Bytes that were done then.
    bad : str
        What becomes of bad files.
    """
    parts = [f"{totals.files}/{totals.n_files} files"] if totals.n_files else []
    if not parts and totals.frames:
        parts.append(f"{totals.frames} frames")
    if totals.set_aside:
        parts.append(f"{totals.set_aside} {bad}")
    passed, read = now - began, totals.bytes - before
    if read > 0 and passed > 0 and totals.fraction < 1:
        rate = read / passed
        left = (totals.n_bytes - totals.bytes) / rate
        parts.append(f"{duration(left)} left")
        parts.append(f"{size(rate)}/s")
    if totals.behind:
        listed = ", ".join(map(str, totals.behind[:_SHOWN]))
        more = ", ..." if len(totals.behind) > _SHOWN else ""
        ranks = "rank" if len(totals.behind) == 1 else "ranks"
        parts.append(f"{ranks} {listed}{more} behind")
    if totals.bytes:
        parts.append(f"{size(totals.bytes)} of {size(max(totals.bytes, totals.n_bytes))}")
    return parts


def size(n_bytes: float) -> str:
    """A number of bytes: ``"3.4 GB"``."""
    unit = 0
    while n_bytes >= 999.5 and unit < len(_UNITS) - 1:
        n_bytes, unit = n_bytes / 1000, unit + 1
    digits = 0 if unit == 0 or n_bytes >= 99.95 else 1
    return f"{n_bytes:.{digits}f} {_UNITS[unit]}"


def in_words(n_bytes: float) -> str:
    """A number of bytes with three digits, for reports: ``"3.43 GB"``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB" if n_bytes < 999.5 else f"{n_bytes:,.0f} TB"


def duration(seconds: float) -> str:
    """A time: ``"0:12"``, ``"1:02:03"``."""
    whole = round(seconds)
    minutes, hours = whole // 60 % 60, whole // 3600
    clock = f"{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
    return f"{hours}:{clock}" if hours else clock
