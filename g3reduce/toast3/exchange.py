"""The samples of one observation on their way from scans into TOAST's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..mpi import communicators, foreign
from ..mpi.agreement import collectively
from ..stitching.restitch import restitch
from ..stitching.scans import Scan
from ..stitching.shares import Samples, Share
from ..stitching.timeline import Timeline
from .observation import EmptyObservation

_NOTHING = Share(slice(0, 0), slice(0, 0))


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
        Of all ranks that have scans of it, and all that it is for.
    timeline : Timeline
    scans : dict of int to Scan
        Those of this rank, by their index.
    observation : EmptyObservation or None
        None on ranks that get nothing of it.
    unusable : dict of str to int
        Flags of whole detectors.

    Returns
    -------
    toast.Observation or None
    """
    share = observation.share if observation else _NOTHING
    common = observation.share_in_common if observation else _NOTHING
    everywhere = comm.allgather((share, common))  # only TOAST knows how it divides

    def rooms() -> tuple[Samples, Samples]:
        own = observation.room() if observation else _room(timeline, _NOTHING)
        return own, _room(timeline, common, in_common=True)

    # What one rank has no memory for, no other may wait for: so this is done together.
    own, shared = collectively(comm, rooms)
    shares, shares_in_common = zip(*everywhere, strict=True)
    restitch(comm, timeline, shares, scans, own)
    restitch(comm, timeline, shares_in_common, scans, shared)
    turned = collectively(comm, lambda: observation.turned(shared) if observation else {})
    return foreign.together(
        comm,
        f"the filling of TOAST's observation {timeline.group!r}",
        lambda: observation and observation.complete(own, turned, unusable),
    )


def _room(timeline: Timeline, share: Share, *, in_common: bool = False) -> Samples:
    """Room for what each detector has, or for what all have in common."""
    n_samples = share.shape[1]
    room = Samples(np.zeros(share.shape, timeline.dtype))
    if in_common:
        room.boresight = np.zeros((n_samples, 4))
        room.flags = np.zeros(n_samples, np.uint8)
    else:
        room.detector_flags = np.zeros(share.shape, np.uint8)
    return room
