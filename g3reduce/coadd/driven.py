"""The side of a coadder that `coadd_files` drives, which pipelines have no need of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..maps.assumed import Assumed
from ..mpi import communicators
from ..pipeline.ledger import LeftOut
from ..spt3gtypes import Frame
from .growing import Growth
from .intake import Intake
from .joining import Coadd
from .membership import Membership, Plan
from .settings import Settings, Terms


class Driven:
    """The part of `MPIMapCoadder` by which its sums are kept, taken up, begun anew and changed."""

    _intake: Intake
    _members: Membership
    _settings: Settings
    _comm: communicators.Comm
    _keep_outputs: bool
    get_map_id: Callable[[Frame], Any]

    def states(self) -> dict[str, Coadd]:
        """The sums of this rank as they are, by name: between two frames of input."""
        self._intake.require_all_added()
        return self._intake.coadds

    def notes(self) -> dict[str, Any]:
        """What else than the sums has to be known to go on later, as JSON can hold it."""
        lasting = self._intake.provenance.notes()
        return {"mixed": sorted(self._members.mixed), "lasting": lasting}

    def take_up(self, states: Mapping[str, Coadd], notes: Mapping[str, Any]) -> None:
        """Add sums that were made earlier, of which `states` and `notes` were kept.

        Raises
        ------
        MismatchError, InputError
            If they do not agree with each other.
        """
        for name, coadd in states.items():
            self._intake.take_up(name, coadd)
        self._members.mixed.update((name, map_id) for name, map_id in notes.get("mixed", ()))
        self._intake.provenance.take_up(notes.get("lasting", ()))

    def options(self) -> dict[str, Any]:
        """The arguments that change what is in the sums, as JSON can hold them.

        How sums are joined, and where, may differ from one run to the next. Functions stand here
        by their names only.
        """
        return self._settings.of_sums()

    def grow(self, growth: Growth) -> None:
        """Add to coadds that there are, once these come as frames of input.

        Raises
        ------
        UsageError
            If they are not such coadds.
        """
        growth.require_names(self._members.name_of)
        self._members.growth = growth

    def follow(self, plan: Plan, text: str, *, flips_at_once: bool) -> None:
        """Share frames out as a plan says, of which this text says what it is.

        `flips_at_once` is as in `Membership`: it takes sums that are not reproducible, of which no
        states are kept.
        """
        members = self._members
        members.plan, members.text = plan, text
        members.flips_at_once = flips_at_once and not self.is_exact

    @property
    def is_exact(self) -> bool:
        """Whether its sums are reproducible."""
        return self._settings.exactness is not None

    @property
    def terms(self) -> Terms:
        """What decides which frames are added, and whether they can be."""
        settings = self._settings
        return Terms(
            dataclasses.replace(settings.members, mixed=set()),
            self.get_map_id,
            settings.weighted,
            settings.pol_conv,
            settings.nonfinite,
            settings.ignore_missing_weights,
            settings.assumed,
        )

    def assume(self, assumed: Assumed) -> None:
        """Note what holds of input whose headers are silent, as whoever reads it has to know."""
        self._settings = self._settings._replace(assumed=assumed)

    def start_over(self) -> None:
        """Forget all that was added, to add again what is to be in the coadds."""
        self._members.mixed.clear()
        self._intake = self._new_intake(self._comm)

    def leave_out(self, left_out: Sequence[LeftOut]) -> None:
        """Note what was left out in the ledgers of all coadds."""
        for coadd in self._intake.coadds.values():
            coadd.ledger.left_out += left_out

    def discard(self) -> None:
        """Forget all that was added, after an error that all ranks know of."""
        self._intake.coadds.clear()

    def _new_intake(self, comm: communicators.Comm) -> Intake:
        makes_maps = self._settings.result == "all" or comm.rank == self._settings.root
        return Intake(comm, self._settings, in_maps=makes_maps and self._keep_outputs)
