"""Stitching of the scans in an `MPIAccumulator` to observations, and the way back to scans."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..choices import Distribution, Gaps, Missing, Overlap
from ..errors import UsageError, require_choice
from ..g3files.dropped import NANMASK
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, collectively, rank_of
from ..pipeline.accumulator import MPIAccumulator
from ..spt3gmarks import useful
from .accumulated import read_accumulated
from .flags import Flags
from .headers import ScanHeader
from .restitch import restitch, scatter_back
from .rules import StitchRules
from .scans import ScanKeys
from .shares import Samples, Share, shares_of
from .timeline import Timeline, Times

Array = NDArray[Any]


@dataclass(repr=False)
@useful
class StitchedObservation:
    """A stitched observation: its timeline, and the samples of this rank's share of it.

    Attributes
    ----------
    timeline : Timeline
        Scans, gaps, detectors, units and rate, the same on all ranks.
    shares : list of Share
        Which detectors and samples each rank holds.
    comm : communicator
        Of these ranks.
    signal : array, shape (n_detectors, n_samples)
        The samples of this rank's share, C-contiguous, in the units and of the dtype of the scans.
        Where a scan has none they are 0, and flagged; NaN stays, and is flagged.
    boresight : float64 array, shape (n_samples, 4), or None
        Quaternions, the real part first, as spt3g has them; in filled gaps from the end of one scan
        to the begin of the next.
    flags : uint8 array, shape (n_samples,)
        Those of the scans, and 1 in filled gaps and for samples that were dropped of all
        detectors; 0 is good.
    detector_flags : uint8 array, shape (n_detectors, n_samples)
        Those of the scans, and 1 where a scan lacks the detector, or the detector lacks the sample;
        0 is good.
    dropped : dict of int to bool array
        The mask of dropped samples of scans of this rank that have one, by their index in
        ``MPIAccumulator.result``.
    """

    timeline: Timeline
    shares: list[Share]
    comm: communicators.Comm
    signal: Array
    boresight: NDArray[np.float64] | None
    flags: Flags
    detector_flags: Flags
    dropped: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    def __repr__(self) -> str:
        detectors, samples = self.share.shape
        return (
            f"<StitchedObservation {self.group!r}: {detectors} of {len(self.timeline.detectors)} "
            f"detectors, {samples} of {self.timeline.n_samples} samples>"
        )

    @property
    def share(self) -> Share:
        """Which detectors and samples this rank holds."""
        return self.shares[self.comm.rank]

    @property
    def group(self) -> Hashable:
        """Its key in ``MPIAccumulator.result``."""
        return self.timeline.group

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors of this rank: the rows of `signal`."""
        return self.timeline.detectors[self.share.detectors]

    @property
    def times(self) -> Times:
        """The times of this rank's samples, as in ``G3Time.time``: int64, in units of 10 ns."""
        return self.timeline.times(self.share.samples)


@useful
def stitch(
    accumulator: MPIAccumulator,
    distribution: Distribution = "detector",
    *,
    timestreams: str = "CalTimestreams",
    boresight: str | None = "OnlineRaDecRotation",
    flags: str | None = None,
    detector_flags: str | None = None,
    times: str | None = None,
    valid: str | None = None,
    gaps: Gaps = "keep",
    missing: Missing = "flag",
    overlap: Overlap = "refuse",
    root: int = 0,
    drop_input: bool = False,
) -> dict[Hashable, StitchedObservation]:
    """Put the scans of each observation together again. Collective over the accumulator's ranks.

    Samples move as buffers, from where they were accumulated to where they are wanted, in pieces of
    a few MiB; no rank needs memory for more than it holds and receives.

    Parameters
    ----------
    accumulator : MPIAccumulator
        After the end of its pipeline. Its data are Scan frames (the default), or what
        `ScanExtractor` makes of them.
    distribution : {"detector", "time", "root"}
        Each rank gets some detectors at all times, or all detectors at some times; or `root` gets
        everything. Shares are as equal as can be, and may be empty.
    timestreams, boresight, flags, detector_flags, times, valid : str or None
        Keys of Scan frames; see `ScanKeys`. Ignored where the data come from a `ScanExtractor`,
        which has its own.
    gaps : {"keep", "fill", "refuse"}
        What to do about times without samples, between scans or inside them: leave them out of the
        arrays, so that only `Timeline.gaps` says where they are; fill them with samples that are 0
        and flagged; or raise an error.
    missing : {"flag", "refuse"}
        What to do about detectors that some scans lack: there they are 0 and flagged; or an error.
    overlap : {"refuse", "drop"}
        What to do about a sample that is the last of one scan and the first of the next: an error,
        or leave it out of the later one.
    root : int
    drop_input : bool
        Free the data in ``accumulator.result`` as they are moved.

    Returns
    -------
    dict of group to StitchedObservation
        In the order of ``accumulator.result``. Observations without samples are not in it.

    Raises
    ------
    UsageError
        If an argument cannot be used or differs between ranks.
    InputError, MismatchError, DuplicateError
        If the scans of an observation overlap or do not agree; on all ranks, before anything moves.

    Examples
    --------
    >>> scans = MPIAccumulator(comm, ScanExtractor("CalTimestreams150GHz"))  # doctest: +SKIP
    >>> pipe.Add(scans)  # doctest: +SKIP
    >>> pipe.Run()  # doctest: +SKIP
    >>> for name, observation in stitch(scans, gaps="fill").items():  # doctest: +SKIP
    ...     print(name, observation.detectors, observation.signal.shape)
    """
    if not isinstance(accumulator, MPIAccumulator):
        raise UsageError(f"accumulator is {accumulator!r}; expected an MPIAccumulator.")
    comm = accumulator.comm
    rules = StitchRules(gaps, missing, overlap)

    def check() -> tuple[tuple[ScanKeys, int], dict[str, object]]:
        require_choice("distribution", distribution, Distribution)
        rules.check()
        keys = ScanKeys(
            timestreams,
            boresight=boresight,
            flags=flags,
            detector_flags=detector_flags,
            times=times,
            valid=valid,
        )
        rank = rank_of(root, comm)
        same = {**vars(keys), **rules._asdict(), "distribution": distribution, "root": rank}
        return (keys, rank), {**same, "drop_input": drop_input}

    keys, rank = agreed_arguments(comm, "The arguments of stitch", check)
    return stitch_scans(accumulator, keys, rules, distribution, root=rank, drop_input=drop_input)


def stitch_scans(
    accumulator: MPIAccumulator,
    keys: ScanKeys,
    rules: StitchRules,
    distribution: Distribution = "detector",
    *,
    root: int = 0,
    drop_input: bool,
) -> dict[Hashable, StitchedObservation]:
    """Stitch with arguments that are checked, and the same on all ranks; see `stitch`."""
    comm = accumulator.comm
    scans, timelines = read_accumulated(accumulator, keys, rules)
    stitched = {}
    for group, timeline in timelines.items():
        shares = shares_of(
            distribution, len(timeline.detectors), timeline.n_samples, comm.size, root
        )
        samples = collectively(comm, partial(Samples.zeros, timeline, shares[comm.rank]))
        mine = scans.get(group, {})
        restitch(comm, timeline, shares, mine, samples)
        dropped = {n: scan.dropped for n, scan in mine.items() if scan.dropped is not None}
        if drop_input:
            scans.pop(group, None)
            accumulator.drop(group)
        stitched[group] = StitchedObservation(
            timeline, shares, comm, **vars(samples), dropped=dropped
        )
    return stitched


@useful
def unstitch(observation: StitchedObservation, samples: Array) -> dict[int, Any]:
    """Cut samples into the scans that they came from. Collective over all ranks.

    Parameters
    ----------
    observation : StitchedObservation
    samples : array
        Samples of this rank's share, of the shape of ``observation.signal``: float64, float32,
        int64 or int32, the same on all ranks.

    Returns
    -------
    dict of int to spt3g.core.G3TimestreamMap
        For each scan that was accumulated on this rank, by its index in
        ``accumulator.result[observation.group]``: its samples, with the detectors in the order of
        the scan, and its times and units. Samples that the mask of a scan, spt3g's ``_nanmask``,
        says were dropped are NaN; integers have that mask again instead.

    Raises
    ------
    UsageError
        On all ranks, if the samples of one have another shape, or a dtype that timestreams lack.

    Examples
    --------
    >>> filtered = unstitch(observation, observation.signal - template)  # doctest: +SKIP
    >>> for index, timestreams in filtered.items():  # doctest: +SKIP
    ...     frame = scans.result[observation.group][index][2]
    ...     frame["Filtered"] = timestreams
    """
    comm, timeline = observation.comm, observation.timeline
    samples = np.asarray(samples)

    def prepare() -> tuple[dict[int, Array], dict[str, object]]:
        if samples.shape != observation.share.shape:
            raise UsageError(
                f"The samples have the shape {samples.shape}; expected {observation.share.shape}, "
                "as the share of this rank has."
            )
        if samples.dtype not in _DTYPES:
            raise UsageError(
                f"The samples are {samples.dtype}; expected {', '.join(map(str, _DTYPES))}, as "
                "timestreams have."
            )
        arrays = {
            scan.number: np.empty(scan.header.shape, samples.dtype)
            for scan in timeline.unstitched
            if scan.rank == comm.rank
        }
        return arrays, {"dtype": samples.dtype.name}

    arrays = agreed_arguments(comm, "The samples for unstitch", prepare)
    scatter_back(comm, timeline, observation.shares, samples, arrays)
    return {
        scan.number: _timestreams(
            scan.header, arrays[scan.number], observation.dropped.get(scan.number)
        )
        for scan in timeline.unstitched
        if scan.number in arrays and scan.rank == comm.rank
    }


_DTYPES = [np.dtype(name) for name in ("float64", "float32", "int64", "int32")]


def _timestreams(header: ScanHeader, samples: Array, dropped: NDArray[np.bool_] | None) -> Any:
    names = list(header.detectors)
    if dropped is not None and samples.dtype.kind == "f":
        samples[:, dropped] = np.nan
    elif dropped is not None:
        names.append(NANMASK)
        samples = np.vstack([samples, dropped.astype(samples.dtype)])
    return core.G3TimestreamMap(
        names,
        samples,
        start=core.G3Time(header.start),
        stop=core.G3Time(header.stop),
        units=getattr(core.G3TimestreamUnits, header.units),
        copy_data=False,
    )
