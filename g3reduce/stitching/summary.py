"""Summary of an observation that was stitched and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spt3g import core

from .timeline import Timeline


@dataclass(frozen=True)
class StitchedSummary:
    """Summary of an observation, as `stitch_files` and `stitch_to_toast` return it.

    Attributes
    ----------
    name : str
        ``"SourceName-ObservationID"``.
    n_detectors, n_samples, n_scans : int
    seconds : float
        From the first to the last sample.
    gaps : tuple of float
        Length in seconds of each gap, between scans or inside them, filled or not.
    flagged : float
        The part of all samples of all detectors that has a flag.
    """

    name: str
    n_detectors: int
    n_samples: int
    n_scans: int
    seconds: float
    gaps: tuple[float, ...]
    flagged: float

    @classmethod
    def of(cls, name: str, timelines: Sequence[Timeline], n_flagged: int) -> StitchedSummary:
        """Summarize an observation.

        Parameters
        ----------
        name : str
        timelines : sequence of Timeline
            Of each map of timestreams, all with the same scans and gaps.
        n_flagged : int
            How many samples of all detectors have a flag, on all ranks together.
        """
        timeline = timelines[0]
        n_detectors, n_samples = sum(len(each.detectors) for each in timelines), timeline.n_samples
        first, last = (timeline.times(slice(at, at + 1))[0] for at in (0, n_samples - 1))
        return cls(
            name,
            n_detectors,
            n_samples,
            timeline.n_scans,
            float((last - first) / core.G3Units.s),
            tuple(gap.seconds for gap in timeline.gaps),
            n_flagged / (n_detectors * n_samples),
        )
