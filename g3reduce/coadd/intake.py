"""Map frames on their way into the coadds of one rank: chosen, checked, counted and added."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from ..errors import InputError, UsageError
from ..maps import mapfile, mapframe
from ..maps.mapsum import MapSum
from ..mpi import communicators
from ..pipeline.ledger import Entry, Ledger, unit_of
from .adding import Addition, accept, add_frames
from .joining import Coadd
from .membership import Membership
from .provenance import Provenance

logger = logging.getLogger(__name__)


class Accepted(NamedTuple):
    """A frame that was found fit for the coadds to which it belongs."""

    frame: Any
    addition: Addition

    @property
    def in_file(self) -> bool:
        """Whether the pixels stay in a file until they are added."""
        return all(plane.in_file for plane in self.addition.frame.planes.values())

    @property
    def small(self) -> bool:
        """Whether there may be many like it."""
        return bool(getattr(self.frame, "small", False))


class Intake:
    """The coadds of one rank, and all that happens to a frame until it is in them.

    Parameters
    ----------
    members : Membership
        Which coadds a frame belongs to.
    new_sum : callable
        Returns an empty sum for frames like the one it gets.
    record_obs_id : bool
        As in `Provenance`.
    once : bool
        Refuse a frame that comes a second time.
    weighted, pol_conv, nonfinite
        As in `mapframe.read`.
    ignore_missing_weights : bool
        Do not warn of weighted maps without weights.
    rank : str
        How messages name this rank.

    Attributes
    ----------
    coadds : dict of str to Coadd
        By name.
    """

    def __init__(
        self,
        members: Membership,
        new_sum: Callable[[mapframe.MapFrame], MapSum],
        *,
        record_obs_id: bool,
        metadata_lasts: bool,
        once: bool,
        weighted: bool,
        pol_conv: Any,
        nonfinite: str,
        ignore_missing_weights: bool,
        rank: str,
    ):
        self.coadds: dict[str, Coadd] = {}
        self._members = members
        self._new_sum = new_sum
        self._provenance = Provenance(record_obs_id, metadata_lasts)
        self._once = once
        self.weighted = weighted
        self._how: Any = {"pol_conv": pol_conv, "nonfinite": nonfinite}
        self.ignore_missing_weights = ignore_missing_weights
        self._warns = not ignore_missing_weights
        self._rank = rank
        self._not_added: list[Any] = []  # frames that were accepted
        self._broken_off = ""  # the frames whose adding was

    @property
    def obs_id(self) -> str | Literal[False] | None:
        """The observation of the latest frame, as spt3g's ``CoaddMaps.obs_id`` has it."""
        return self._provenance.observation

    def observe(self, frame: Any) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._provenance.look_at(frame)

    def complete_provenance(self, comm: communicators.Comm) -> None:
        """Learn from other ranks what files that these have read say of its own. Collective."""
        self._provenance.complete(comm, (coadd.ledger for coadd in self.coadds.values()))

    def accept(self, frame: Any, map_id: Callable[[], Any]) -> Accepted | Literal[False] | None:
        """Take a Map frame that `add` is to add.

        Parameters
        ----------
        frame : G3Frame or StoredFrame
        map_id : callable
            Returns the Id under which it counts; asked once, if at all.

        Returns
        -------
        Accepted, None or False
            None if it belongs to no coadd, False if it is not even to go on.
        """
        self.require_whole_frames()
        # What does not agree with a frame that is broken must not be blamed for it.
        with mapfile.verified_on_error(*self._not_added, frame):
            addition = self._accept(frame, map_id)
        if not addition:
            mapfile.verify(frame)
            return addition
        return Accepted(frame, addition)

    def add(self, accepted: Sequence[Accepted]) -> None:
        """Add frames that were accepted.

        If that fails, by a checksum that is found to be wrong for example, a part of them may be in
        the sums. So these are not to be used any more.
        """
        self.require_whole_frames()
        frames = [frame for frame, _ in accepted]
        # Until all is done, whatever ends it: an interrupt by the user, too.
        self._broken_off = ", ".join(addition.frame.where for _, addition in accepted)
        with mapfile.verified_on_error(*frames):
            add_frames([addition for _, addition in accepted])
        mapfile.verify(*frames)
        self._broken_off = ""
        added = {id(frame) for frame in frames}
        self._not_added = [frame for frame in self._not_added if id(frame) not in added]

    def require_whole_frames(self) -> None:
        """Refuse sums in which there may be a part of a frame.

        Raises
        ------
        UsageError
        """
        if self._broken_off:
            raise UsageError(
                f"{self._broken_off}: an error came while this was added, so a part of it is in "
                "the coadds. They cannot be used any more: make a new coadder, and leave out what "
                "is broken."
            )

    def require_all_added(self) -> None:
        """Refuse sums that lack a frame which they count.

        Raises
        ------
        UsageError
        """
        self.require_whole_frames()
        if self._not_added:
            raise UsageError(
                f"{self.describe(self._not_added[0])}: this was accepted, but not added, so the "
                "coadds would lack it. Was the coadder interrupted? Make a new one."
            )

    def describe(self, frame: Any, entry: Entry | None = None) -> str:
        """How messages name a frame."""
        unit = entry.unit if entry else unit_of(frame)
        where = str(unit) if unit else "a frame made in the pipeline"
        return f"{where} (Id {frame.get('Id', None)!r}){self._rank}"

    def _accept(self, frame: Any, map_id: Callable[[], Any]) -> Addition | Literal[False] | None:
        """Make the coadds to which a frame belongs ready for it, and count it."""
        shares = self._members.shares(frame, map_id, lambda: self.describe(frame))
        if not shares:
            return None if shares is None else False
        entry = self._provenance.entry_of(frame)
        where = self.describe(frame, entry)
        if self._once:
            for name in shares:
                if name in self.coadds:
                    self.coadds[name].ledger.refuse_duplicate(entry)
        planes = mapfile.planes_of(frame, where)
        maps = mapframe.read(planes, where, weighted=self.weighted, **self._how)
        self._warn_of_missing_weights(maps)
        coadds = {
            name: self.coadds.get(name) or Coadd(self._new_sum(maps), Ledger()) for name in shares
        }
        addition = Addition(maps, [(coadds[name].total, sign) for name, sign in shares.items()])
        self._not_added.append(frame)  # from here on it counts, whatever comes
        try:
            accept(addition)
        except InputError:  # before anything was changed
            self._not_added.pop()
            raise
        for name, coadd in coadds.items():
            coadd.ledger.record(entry)
            self.coadds[name] = coadd
        return addition

    def _warn_of_missing_weights(self, maps: mapframe.MapFrame) -> None:
        if self._warns and mapframe.missing_weights(maps):
            self._warns = False  # once: there may be thousands of them
            logger.warning("%s: the maps are weighted, but have no weights.", maps.where)
