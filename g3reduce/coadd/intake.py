"""Map frames on their way into the coadds of one rank: taken, then added.

A frame is taken when it comes: its coadds are chosen, its maps are checked, and it is counted. The
pixels are added afterwards, those of several frames together, because that is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ..errors import InputError, UsageError
from ..maps import mapframe
from ..maps.agreement import Parts
from ..maps.contribution import Contribution, hits_nothing
from ..maps.flips import packed
from ..maps.mapfile import planes_of
from ..maps.mapframe import MapFrame
from ..maps.mapsum import MapSum
from ..maps.pixels import Plane
from ..maps.storedframe import verified_on_error, verify
from ..mpi import communicators
from ..mpi.agreement import describe_rank
from ..pipeline.ledger import Entry, Ledger, unit_of
from ..pipeline.overlap import Index
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame
from .adding import Pending, add_pixels
from .exactinput import ExactInput
from .joining import Coadd
from .provenance import Provenance
from .settings import Settings

logger = unit_logger(__name__, "MPIMapCoadder")


class Intake:
    """The coadds of one rank, and all that happens to a frame until it is in them.

    Parameters
    ----------
    comm : communicator
    settings : Settings
    in_maps : bool
        As in `MapSum`.

    Attributes
    ----------
    coadds : dict of str to Coadd
        By name.
    """

    def __init__(self, comm: communicators.Comm, settings: Settings, *, in_maps: bool):
        self.coadds: dict[str, Coadd] = {}
        self._members = settings.members
        self._provenance = Provenance(settings.record_obs_id, settings.metadata_lasts)
        self._once = settings.once
        self._counted = Index()
        self._how_to_read: Any = {
            "weighted": settings.weighted,
            "pol_conv": settings.pol_conv,
            "nonfinite": settings.nonfinite,
        }
        self._how_to_sum: Any = {
            "require_weights": not settings.ignore_missing_weights,
            "in_maps": in_maps,
            "exactness": settings.exactness,
        }
        self._exact_input = ExactInput() if settings.exactness else None
        self._warns = not settings.ignore_missing_weights
        self._rank = describe_rank(comm)
        self._not_added: list[Pending] = []
        self._half_added = ""  # frames of which a part may be in the sums

    @property
    def obs_id(self) -> str | Literal[False] | None:
        """The observation of the latest frame, as spt3g's ``CoaddMaps.obs_id`` has it."""
        return self._provenance.observation

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._provenance.observe(frame)
        self._members.observe(frame)

    @property
    def provenance(self) -> Provenance:
        """What is known of where frames come from."""
        return self._provenance

    def take(
        self, frame: Frame, get_map_id: Callable[[Frame], Any]
    ) -> Pending | Literal[False] | None:
        """Count a Map frame that `add` is to add.

        Parameters
        ----------
        frame : G3Frame or StoredFrame
        get_map_id : callable
            Returns the Id under which a frame counts; called once, if at all.

        Returns
        -------
        Pending, None or False
            None if it belongs to no coadd, False if it is also to be dropped from the pipeline.

        Raises
        ------
        InputError, MismatchError, DuplicateError, UsageError
            If it cannot be added. Then it is in no coadd.
        """
        self._require_whole_frames()
        # A mismatch may come from a broken frame before: then this is what is reported.
        with verified_on_error(*(pending.frame for pending in self._not_added), frame):
            pending = self._prepared(frame, get_map_id)
        if not pending:
            verify(frame)
        return pending

    def add(self, taken: Sequence[Pending]) -> None:
        """Add frames that were taken.

        If that fails, by a checksum that is found to be wrong for example, a part of them may be in
        the sums. So these are not to be used any more.
        """
        self._require_whole_frames()
        frames = [pending.frame for pending in taken]
        # Until all is done, whatever ends it: an interrupt by the user, too.
        self._half_added = ", ".join(pending.maps.where for pending in taken)
        with verified_on_error(*frames):
            add_pixels([one for one in taken if not one.state])
            for one in taken:
                one.add_state()
        verify(*frames)
        self._half_added = ""
        for pending in taken:
            pending.note_contribution()
        added = set(map(id, frames))
        self._not_added = [one for one in self._not_added if id(one.frame) not in added]

    def take_up(self, name: str, earlier: Coadd) -> None:
        """Add a coadd that was summed before, and count all that is in it.

        Raises
        ------
        MismatchError, InputError
            If its frames do not agree with those that are there.
        """
        if name not in self.coadds:
            empty = earlier.total.emptied(**self._how_to_sum)
            self.coadds[name] = Coadd(self._members.frame_id(name), empty, Ledger())
        self.coadds[name].total.absorb(earlier.total)
        self.coadds[name].ledger.take(earlier.ledger, 1)
        for entry in earlier.ledger.entries if self._once else ():
            self._counted.add(entry)

    def require_all_added(self) -> None:
        """Refuse sums that lack a frame which they count, or a part of it.

        Raises
        ------
        UsageError
        """
        self._require_whole_frames()
        if self._not_added:
            raise UsageError(
                f"{self.describe(self._not_added[0].frame)}: this was taken, but not added, so the "
                "coadds would lack it. Was the coadder interrupted? Make a new one."
            )

    def describe(self, frame: Frame, entry: Entry | None = None) -> str:
        """The name of a frame in messages."""
        unit = entry.read if entry else unit_of(frame)
        where = str(unit) if unit else "a frame made in the pipeline"
        return f"{where} (Id {frame.get('Id', None)!r}){self._rank}"

    def _require_whole_frames(self) -> None:
        if self._half_added:
            raise UsageError(
                f"{self._half_added}: an error came while this was added, so a part of it is in "
                "the coadds. They cannot be used any more: make a new coadder, and leave out what "
                "is broken."
            )

    def _prepared(
        self, frame: Frame, get_map_id: Callable[[Frame], Any]
    ) -> Pending | Literal[False] | None:
        """Make the coadds to which a frame belongs ready for it, and count it."""
        signs = self._members.signs_of(frame, get_map_id, self.describe)
        if signs is None or signs is False:
            return signs
        counted = self._provenance.ledger_of(frame)
        where = self.describe(frame, counted.entries[0])
        planes = planes_of(frame, where)
        if self._once:
            self._refuse_duplicates(counted, signs, planes)
        maps = mapframe.read(planes, where, **self._how_to_read)
        self._warn_of_missing_weights(maps)
        state = self._exact_input.state_of(frame, maps) if self._exact_input else None
        if state is None and "InputMapIds" in frame:  # a coadd, which may lack pixels itself
            maps = _with_skipped(maps, frame.get("SkippedPixels", 0))
        parts = (state.summary if state else maps.kind).parts
        flips = self._members.flips_of(frame)
        coadds = {
            name: self.coadds.get(name) or self._new_coadd(name, maps, parts) for name in signs
        }
        targets = [(coadds[name].total, signs[name]) for name in signs]
        flipped = [(coadds[name].total, flips[name]) for name in signs if len(flips.get(name, ()))]
        listed: list[tuple[Ledger, int]] = []
        contribution = None if state else Contribution.of(maps.planes)
        pending = Pending(frame, maps, targets, state, contribution, listed, flipped)
        self._not_added.append(pending)  # from here on it counts, whatever comes
        try:
            pending.announce()
        except InputError:  # before anything was changed
            self._not_added.pop()
            raise
        for name, coadd in coadds.items():
            coadd.ledger.take(counted, signs[name], packed(flips[name]) if name in flips else b"")
            if not counted.entries[0].inside:
                listed.append((coadd.ledger, len(coadd.ledger.entries) - 1))
        self.coadds |= coadds
        for entry in counted.entries if self._once else ():
            self._counted.add(entry)
        return pending

    def _refuse_duplicates(
        self, counted: Ledger, signs: Mapping[str, int], planes: Mapping[str, Plane]
    ) -> None:
        for entry in counted.entries:
            overlap = self._counted.find(entry)  # in some coadd
            if overlap is None or (overlap.same_content and hits_nothing(planes)):
                continue
            for name in signs:
                if name in self.coadds:
                    self.coadds[name].ledger.refuse_duplicate(entry)

    def _new_coadd(self, name: str, maps: MapFrame, parts: Parts) -> Coadd:
        n_flips = len(self._members.flips_beside(name))
        total = MapSum.of(maps, parts, n_flips, **self._how_to_sum)
        return Coadd(self._members.frame_id(name), total, Ledger())

    def _warn_of_missing_weights(self, maps: MapFrame) -> None:
        if self._warns and maps.kind.lacks_weights:
            self._warns = False  # once: there may be thousands of them
            logger.warning("%s: the maps are weighted, but have no weights.", maps.where)


def _with_skipped(maps: MapFrame, skipped: Any) -> MapFrame:
    """The maps of a coadd that says how many pixels were left out of its input."""
    return replace(maps, skipped=maps.skipped + skipped) if isinstance(skipped, int) else maps
