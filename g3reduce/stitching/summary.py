"""What is said of an observation that was stitched and written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StitchedSummary:
    """What `stitch_files` and `stitch_to_toast` say of an observation.

    Attributes
    ----------
    name : str
        ``"SourceName-ObservationID"``.
    n_detectors, n_samples, n_scans : int
    seconds : float
        From the first to the last sample.
    gaps : tuple of float
        Seconds of each time between scans without samples.
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
