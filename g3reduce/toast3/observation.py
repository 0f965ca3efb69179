"""One `toast.Observation`: made empty, filled with samples in its own memory, and completed."""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from spt3g import core

from ..errors import InputError
from ..mpi import communicators, foreign
from ..mpi.agreement import collectively
from ..pipeline.filenames import as_file_name
from ..spt3glog import unit_logger
from ..stitching.flags import INVALID
from ..stitching.restitch import restitch
from ..stitching.scans import Scan
from ..stitching.shares import Samples, Share
from ..stitching.timeline import Timeline
from .focalplane import boresight_quaternions, posix_seconds, units_of
from .importing import load_toast

logger = unit_logger(__name__, "TOASTFiller")

_NOTHING = Share(slice(0, 0), slice(0, 0))


def require_samples(timeline: Timeline, group_size: int) -> None:
    """Refuse to divide fewer samples than there are ranks.

    Raises
    ------
    InputError
    """
    if timeline.n_samples < group_size:
        raise InputError(
            f"The observation {timeline.group!r} has {timeline.n_samples} samples, fewer than the "
            f"{group_size} ranks that divide them, and TOAST does not work on ranks without "
            'samples. Use distribution="detector", or smaller groups of ranks (groupsize of '
            "toast.Comm)."
        )


def name_in_toast(group: Hashable) -> str:
    """The name of TOAST's observation, which is a possible name of a file."""
    return as_file_name(str(group))


def check_names(groups: Iterable[Hashable], *, quiet: bool) -> None:
    """Warn of names that TOAST cannot have, and refuse those that would become the same.

    Parameters
    ----------
    groups : iterable of hashable
        All observations.
    quiet : bool
        Whether another rank warns.

    Raises
    ------
    InputError
    """
    known: dict[str, Hashable] = {}
    for group in groups:
        name = name_in_toast(group)
        if name in known:
            raise InputError(
                f"The observations {known[name]!r} and {group!r} would both be {name!r} in "
                "TOAST. Give one of them another SourceName."
            )
        known[name] = group
        if name != str(group) and not quiet:
            logger.warning(
                "The observation %.200r is called %r in TOAST, where names have to be names of "
                "files.",
                group,
                name,
            )


class EmptyObservation:
    """A `toast.Observation` with room for the samples of this rank. Collective over the group.

    Parameters
    ----------
    toastcomm : toast.Comm
    telescope : toast.Telescope
        Its focal plane has the detectors of the timeline, in their order.
    timeline : Timeline
        The signal has its dtype, if that is a float of 4 or 8 bytes; else float64.
    by_detector : bool
        Whether the ranks of the group divide the detectors or the samples.
    """

    def __init__(
        self,
        toastcomm: Any,
        telescope: Any,
        timeline: Timeline,
        *,
        by_detector: bool,
    ):
        toast = load_toast()
        self._timeline = timeline
        name, n_samples = name_in_toast(timeline.group), timeline.n_samples
        self._names = toast.observation.default_values
        self.ob = toast.Observation(
            toastcomm,
            telescope,
            n_samples,
            name=name,
            session=_session(toast, name, timeline),
            process_rows=toastcomm.group_size if by_detector else 1,
        )
        # To TOAST, Tcmb and Trj are the same. (And it cannot load observations without metadata.)
        self.ob["timestream_units"] = timeline.units
        if name != str(timeline.group):
            self.ob["observation"] = str(timeline.group)
        unit, self._size = units_of(timeline.units)
        ob, names = self.ob, self._names
        n_local = ob.n_local_samples
        if not by_detector:
            # TOAST's own list of all samples is that of all ranks; its operators would go past the
            # samples of this rank.
            from toast.observation_data import IntervalsManager

            ob.intervals = IntervalsManager(ob.dist, n_local)
        ob.shared.create_column(names.times, (n_local,), dtype=np.float64)
        ob.shared.create_column(names.boresight_radec, (n_local, 4), dtype=np.float64)
        ob.shared.create_column(names.shared_flags, (n_local,), dtype=np.uint8)
        # Integers become floats, because operators work in place.
        kept = timeline.dtype if timeline.dtype.char in "fd" else np.dtype("f8")
        ob.detdata.create(names.det_data, dtype=kept, units=unit)
        ob.detdata.create(names.det_flags, dtype=np.uint8)

    @property
    def share(self) -> Share:
        """The detectors and samples of the observation that this rank has."""
        ob = self.ob
        first = ob.all_detectors.index(ob.local_detectors[0]) if ob.local_detectors else 0
        samples = slice(ob.local_index_offset, ob.local_index_offset + ob.n_local_samples)
        return Share(slice(first, first + len(ob.local_detectors)), samples)

    @property
    def share_in_common(self) -> Share:
        """The samples for which this rank gets what all detectors have in common.

        Ranks with the same samples, a column of TOAST's grid of processes, share these in memory:
        the first of them receives them.
        """
        samples = self.share.samples if self.ob.comm_col_rank == 0 else slice(0, 0)
        return Share(slice(0, 0), samples)

    def arrays(self) -> Samples:
        """Where the samples of detectors go: TOAST's own memory, if it has the same dtype."""
        ob, names = self.ob, self._names
        signal = ob.detdata[names.det_data].data
        if signal.dtype != self._timeline.dtype:
            signal = np.zeros(signal.shape, self._timeline.dtype)
        return Samples(signal, detector_flags=ob.detdata[names.det_flags].data)

    def converted(self, common: Samples) -> dict[str, Any]:
        """Arrays that all detectors have in common, in TOAST's conventions, by their names there.

        Parameters
        ----------
        common : Samples
            Boresight and flags of `share_in_common`, in spt3g's conventions. Samples without a
            direction are flagged, too.

        Returns
        -------
        dict of str to ndarray or None
            None where another rank of the column has them.
        """
        names = self._names
        if self.ob.comm_col_rank != 0:
            return dict.fromkeys((names.times, names.boresight_radec, names.shared_flags))
        quaternions: Any = common.boresight
        boresight, known = boresight_quaternions(quaternions)
        flags: Any = common.flags
        return {
            names.times: posix_seconds(self._timeline.times(self.share.samples)),
            names.boresight_radec: boresight,
            names.shared_flags: np.where(known, flags, flags | INVALID).astype(np.uint8),
        }

    def complete(self, own: Samples, converted: dict[str, Any], unusable: dict[str, int]) -> Any:
        """Complete the observation. Collective over the group.

        Parameters
        ----------
        own : Samples
            The result of `arrays`, filled.
        converted : dict of str to ndarray or None
        unusable : dict of str to int
            Flags of whole detectors.

        Returns
        -------
        toast.Observation
        """
        from toast.intervals import IntervalList

        ob, names = self.ob, self._names
        signal = ob.detdata[names.det_data].data
        filled: Any = own.signal
        if self._size != 1 or filled is not signal:
            np.divide(filled, self._size, out=signal)
        # NaN is flagged, but not all of TOAST's operators look at flags before they calculate.
        signal[np.isnan(signal)] = 0
        for name, values in converted.items():
            ob.shared[name].set(values, fromrank=0)
        local = self.share.samples
        spans = [
            (max(first, local.start) - local.start, min(stop, local.stop) - local.start)
            for first, stop in self._timeline.spans
            if first < local.stop and stop > local.start
        ]
        ob.intervals[names.scanning_interval] = IntervalList(
            ob.shared[names.times], samplespans=spans
        )
        ob.set_local_detector_flags(
            {name: unusable[name] for name in ob.local_detectors if name in unusable}
        )
        return ob


def bring_samples(
    comm: communicators.Comm,
    timeline: Timeline,
    scans: Mapping[int, Scan],
    observation: EmptyObservation | None,
    unusable: dict[str, int],
) -> Any:
    """Fill an observation that some of the ranks have. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
        Of all ranks that have scans of it or get samples of it.
    timeline : Timeline
    scans : dict of int to Scan
        Those of this rank, by their index.
    observation : EmptyObservation or None
        None on ranks that get no samples.
    unusable : dict of str to int
        Flags of whole detectors.

    Returns
    -------
    toast.Observation or None
    """
    share = observation.share if observation else _NOTHING
    in_common = observation.share_in_common if observation else _NOTHING
    # TOAST has divided samples and detectors; each rank knows its own share only.
    shares, shares_in_common = zip(*comm.allgather((share, in_common)), strict=True)

    def arrays() -> tuple[Samples, Samples]:
        n_samples = in_common.shape[1]
        common = Samples(boresight=np.zeros((n_samples, 4)), flags=np.zeros(n_samples, np.uint8))
        if observation:
            return observation.arrays(), common
        nothing = np.zeros((0, 0), timeline.dtype)
        return Samples(nothing, detector_flags=nothing.astype(np.uint8)), common

    # Together, so that no rank waits for one that has no memory.
    own, common = collectively(comm, arrays)
    restitch(comm, timeline, shares, scans, own)
    restitch(comm, timeline, shares_in_common, scans, common)
    converted = collectively(comm, lambda: observation.converted(common) if observation else {})
    return foreign.together(
        comm,
        f"the filling of TOAST's observation {timeline.group!r}",
        lambda: observation and observation.complete(own, converted, unusable),
    )


def _session(toast: Any, name: str, timeline: Timeline) -> Any:
    first, last = timeline.scans[0].header.start, timeline.scans[-1].header.stop
    return toast.instrument.Session(name, start=_utc(first), end=_utc(last))


def _utc(ticks: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ticks / core.G3Units.s, datetime.timezone.utc)
