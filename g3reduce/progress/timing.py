"""How long the stages of work took on each rank, and how much memory and traffic they needed."""

from __future__ import annotations

import socket
import time
from dataclasses import asdict, dataclass
from typing import Any

from ..mpi.memory import peak

# In their order. A rank that does not write waits for the one that does, which is in none of them.
STAGES = ("looking", "reading", "waiting", "joining", "writing")


@dataclass(frozen=True)
class RankTiming:
    """The account of one rank.

    Attributes
    ----------
    rank : int
    host : str
        Where it ran.
    looking, reading, waiting, joining, writing : float
        Seconds of each stage: looking at the files before anything is added; reading and adding;
        waiting for others to end that; joining the sums of all ranks; writing, on ranks that do.
    seconds : float
        Of all, with what is in none of these, such as waiting for the rank that writes.
    peak_memory : int
        The most bytes of memory that the process ever had, shared ones with it; 0 if not known.
    bytes_sent, bytes_received, bytes_direct : int
        To join the sums: see `g3reduce.strategies.Statistics`.
    """

    rank: int = 0
    host: str = ""
    looking: float = 0.0
    reading: float = 0.0
    waiting: float = 0.0
    joining: float = 0.0
    writing: float = 0.0
    seconds: float = 0.0
    peak_memory: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_direct: int = 0

    def as_data(self) -> dict[str, Any]:
        """The same as plain data, of which JSON can be made."""
        data = asdict(self)
        return {key: round(one, 6) if isinstance(one, float) else one for key, one in data.items()}


@dataclass(frozen=True)
class Timing:
    """The account of all ranks, the same on each of them.

    Attributes
    ----------
    ranks : tuple of RankTiming
        By rank; empty if nothing was measured.

    Examples
    --------
    >>> timing = coadd_files("obs/*.g3").timing  # doctest: +SKIP
    >>> timing.longest("reading"), timing.balance  # doctest: +SKIP
    (12.4, 0.97)
    """

    ranks: tuple[RankTiming, ...] = ()

    @property
    def seconds(self) -> float:
        """Of all stages, on the rank that took the longest."""
        return max((one.seconds for one in self.ranks), default=0.0)

    def longest(self, stage: str) -> float:
        """Seconds of a stage on the rank on which it took the longest."""
        return max((float(getattr(one, stage)) for one in self.ranks), default=0.0)

    def mean(self, stage: str) -> float:
        """Seconds of a stage, the mean of all ranks."""
        seconds = [float(getattr(one, stage)) for one in self.ranks]
        return sum(seconds) / max(1, len(seconds))

    @property
    def balance(self) -> float:
        """How evenly reading and adding was shared out: the mean over the longest, at most 1."""
        longest = self.longest("reading")
        return self.mean("reading") / longest if longest else 1.0

    @property
    def peak_memory(self) -> int:
        """The most bytes of memory that any rank had; 0 if not known."""
        return max((one.peak_memory for one in self.ranks), default=0)

    @property
    def bytes_moved(self) -> int:
        """Bytes that all ranks have sent, or moved in each other's memory, to join their sums."""
        return sum(one.bytes_sent + one.bytes_direct for one in self.ranks)


class Stopwatch:
    """Measures the stages of this rank, which follow each other.

    Parameters
    ----------
    began : float
        When the first began, as `time.perf_counter` gives it.
    """

    def __init__(self, began: float):
        self._began = self._last = began
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def end(self, stage: str | None) -> None:
        """End a stage, which has begun where the last one ended; None: one that is not counted."""
        now = time.perf_counter()
        if stage is not None:
            self._seconds[stage] += now - self._last
        self._last = now

    def timing(self, rank: int, **more: int) -> RankTiming:
        """The account of this rank until now; `more` of its attributes are given."""
        took: dict[str, Any] = {**self._seconds, **more, "peak_memory": peak() or 0}
        seconds = time.perf_counter() - self._began
        return RankTiming(rank, socket.gethostname(), seconds=seconds, **took)
