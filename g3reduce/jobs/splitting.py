"""Splittings of a coadd of files: what is known of all maps, and the plan that is made of it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial
from typing import Any

from spt3g import core

from ..coadd.growing import Growth
from ..coadd.membership import Assign
from ..coadd.settings import Terms
from ..errors import InputError, UsageError
from ..g3files.maps import STOKES
from ..g3files.names import is_stream
from ..g3files.pieces import Piece
from ..maps import mapframe
from ..maps.contribution import Contribution
from ..maps.mapfile import planes_of
from ..maps.pixels import Plane
from ..mpi import communicators
from ..mpi.agreement import collectively, from_rank, gather_packed
from ..mpi.counter import SharedCounter
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..pipeline.reader import numbered_frames
from ..pipeline.units import Unit, fingerprint_of, set_unit
from ..progress.reading import NoReading
from ..progress.watching import Watch
from ..splits import MapFacts, Plan, Splitting
from ..spt3gtypes import Frame
from .choosing import Chosen
from .examining import fault_of
from .mapopener import MapOpener
from .parts import MapSize


def for_the_look(assign: Assign | None) -> Assign | None:
    """What decides of a frame by itself to which coadds it goes, as far as that is possible.

    Of splittings that have to be planned, what is known before: of bundles and sign flips, what
    they are of. Maps that go to one coadd must agree.
    """
    if not isinstance(assign, Splitting):
        return assign
    return assign.before_planning().assigner()


def planner_of(
    comm: communicators.Comm,
    assign: Assign | None,
    terms: Terms,
    growth: Growth | None,
    watch: Watch,
) -> Planner | None:
    """What plans the splitting, if `assign` is one."""
    base = growth.base.file if growth else None
    if not isinstance(assign, Splitting | Plan):
        return None
    return Planner(comm, assign, terms, base, watch)


class Planner:
    """Plans a splitting, as often as the files that are to be added change.

    Parameters
    ----------
    comm : communicator
    splitting : Splitting or Plan
        A plan stays as it is.
    terms : Terms
        On which maps are added.
    base : str or None
        The file of coadds that are to grow, which is no input.
    watch : Watch, optional
        Is told of each file that is looked at.

    Attributes
    ----------
    sizes : dict of (file, frame) to MapSize
        How large the maps are, once they were planned for.
    """

    def __init__(
        self,
        comm: communicators.Comm,
        splitting: Splitting | Plan,
        terms: Terms,
        base: str | None,
        watch: Watch | None = None,
    ):
        self._comm = comm
        self._splitting = splitting
        self._terms = terms
        self._base = base
        self._watch = watch
        self._facts: dict[int, list[MapFacts]] = {}  # by the position of the file
        self._digest = ""
        self.sizes: dict[tuple[str, int], MapSize] = {}

    @property
    def identity(self) -> str:
        """What was planned, in words: of two that differ, maps of one must not join the other's."""
        splitting = self._splitting
        record = {} if isinstance(splitting, Plan) else splitting.record()
        said = "".join(f", {key} {value}" for key, value in record.items())
        return f"{splitting}{said}, plan {self._digest}"

    @property
    def is_planned(self) -> bool:
        """Whether where a map goes depends on others."""
        return isinstance(self._splitting, Plan) or self._splitting.is_planned

    def plan(self, chosen: Chosen) -> tuple[Plan, dict[int, InputError]]:
        """The plan for some files, the same on all ranks. Collective.

        Returns
        -------
        plan : Plan
        bad : dict of int to InputError
            Files that cannot be read, by their positions, and why. They are not planned for.

        Raises
        ------
        InputError, UsageError
            On all ranks, if what a rule asks for is not known of a map, or coadds are to be made
            again and a map is not there.
        """
        wanted, bad = self._look_at(chosen)
        inputs = [one for at in wanted for one in self._facts[at]]
        splitting = self._splitting
        if isinstance(splitting, Plan):
            names = {chosen.names[at] for at in wanted}
            units = [
                Unit(*place, fingerprint=size.fingerprint)
                for place, size in self.sizes.items()
                if place[0] in names
            ]
            splitting.require_all(units)
            plan = splitting
        else:
            planner = splitting
            plan = from_rank(self._comm, 0, lambda: planner.plan(inputs))
        # Of files that are left out later, only what depends on all maps is changed.
        if self.is_planned or not self._digest:
            self._digest = plan.digest()
        return plan, bad

    def facts_of(self, names: Sequence[str]) -> list[MapFacts]:
        """What is known of the maps in some files. Collective.

        Raises
        ------
        InputError
            If a file cannot be read.
        """
        wanted, bad = self._look_at(Chosen([*names], {}))
        for error in bad.values():
            raise error
        return [one for at in wanted for one in self._facts[at]]

    def _look_at(self, chosen: Chosen) -> tuple[list[int], dict[int, InputError]]:
        """Look at the files that are to be added, if they are not known; which are good, or bad."""
        wanted = [
            at
            for at, name in enumerate(chosen.names)
            if at not in chosen.left_out and name != self._base
        ]
        new = [at for at in wanted if at not in self._facts]
        bad = self._gather(chosen.names, new) if new else {}
        return [at for at in wanted if at not in bad], bad

    def _gather(self, names: Sequence[str], numbers: Sequence[int]) -> dict[int, InputError]:
        """Look at files, each on the next rank that is free; return those that are bad."""
        counter = SharedCounter(self._comm)
        reading = NoReading()
        if self._watch is not None:
            reading = self._watch.reading(names, list(map(Piece, numbers)), "planning")
        mine: dict[int, list[MapFacts]] = {}
        bad: dict[int, tuple[str, str]] = {}

        def look() -> None:
            while (place := counter.next()) < len(numbers):
                number = numbers[place]
                name, piece = names[number], Piece(number)
                reading.began(piece)
                try:
                    mine[number] = self._facts_in(name)
                except InputError as error:
                    bad[number] = fault_of(error), str(error)
                    reading.bad(piece)
                reading.done(piece, name, 0)
            reading.end()

        def progress() -> Progress:
            return Progress(
                len(mine) + len(bad), len(numbers), "files were looked at, for the plan"
            )

        with progress_in_interrupt(progress):
            collectively(self._comm, look)
        found = mine, bad, self.sizes
        problems: dict[int, InputError] = {}
        for facts, faults, sizes in gather_packed(
            self._comm, found, partial(pickle.dumps, protocol=5)
        ):
            self._facts |= facts
            self.sizes |= sizes
            for number, (fault, message) in faults.items():
                problems[number] = InputError(message, fault=fault)
                problems[number].file = names[number]
        return dict(sorted(problems.items()))

    def _facts_in(self, name: str) -> list[MapFacts]:
        """What is known of the maps in a file."""
        if is_stream(name):
            raise UsageError(
                f"{name}: a stream cannot be split, because all maps must be known before any is "
                "added. Make a file of it first."
            )
        splitting = self._splitting
        finder = None if isinstance(splitting, Plan) else splitting.facts()
        weighs = not isinstance(splitting, Plan) and splitting.needs_weights
        facts = []
        for index, frame in numbered_frames(MapOpener(self._terms.assumed), name, Piece(0)):
            set_unit(frame, Unit(name, index, fingerprint=fingerprint_of(frame)))
            if finder is not None:
                finder.observe(frame)
            if frame.type != core.G3FrameType.Map:
                continue
            planes = planes_of(frame, str(frame.unit), verified=True)
            self.sizes[name, index] = _size_of(frame, planes)
            if finder is not None:
                weight = self._weight_of(frame, planes) if weighs else None
                facts.append(finder.facts_of(frame, weight))
        return facts

    def _weight_of(self, frame: Frame, planes: dict[str, Plane]) -> float | None:
        """The sum of its weights TT, or of its hits, as the ledger has it; None without both.

        No other plane is read, and the checksum is left to those who add the frame.
        """
        terms = self._terms
        how: dict[str, Any] = {
            "weighted": terms.weighted,
            "pol_conv": terms.pol_conv,
            "nonfinite": terms.nonfinite,
        }
        planes = mapframe.read(planes, str(frame.unit), **how).planes
        contribution = Contribution.of(planes)
        if contribution.plane in ("", "T"):
            return None
        for chunk in planes[contribution.plane].chunks():
            contribution.take(chunk)
        return contribution.total()[1]


def _size_of(frame: Frame, planes: dict[str, Plane]) -> MapSize:
    """How large a map frame is, from its length in the file."""
    mark = fingerprint_of(frame)
    whole = max((int(plane.stub.size) for plane in planes.values()), default=0)
    pixels = min(whole, mark.length // (8 * max(1, len(planes)))) if mark else whole
    return MapSize(pixels, len(planes), sum(name in STOKES for name in planes), whole, mark)
