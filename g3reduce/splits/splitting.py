"""Splittings: which maps go to which coadds, with which sign, for the argument `assign`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError, UsageError
from ..pipeline.ledger import Ledger
from ..spt3gtypes import Frame
from .clocks import IN_FRAMES, Clock
from .factors import Factor
from .facts import MapFacts, facts_in
from .observing import FactsOfFrames
from .plan import Plan
from .planning import make_plan
from .products import Product, name_of
from .tables import Table, read_table


@dataclass(frozen=True)
class Splitting:
    """Which maps go to which coadds, with which sign: to be passed as `assign`.

    ``a * b`` is `b` within each coadd of `a`, and names are joined by ``_``; ``a + b`` has the
    coadds of both, side by side. `split`, `by`, `bundles`, `bundle_days`, `jackknife` and
    `signflips` make splittings.

    Some have to know all maps before they can say of one where it goes: those with bundles, sign
    flips, the parity of observations, or a median. `coadd_files` sees to that; for a pipeline, pass
    ``assign=splitting.planned(...)``.

    Attributes
    ----------
    products : tuple of Product
        Those that are side by side.
    table : Table or None
        The table of observations.
    clock : Clock
        What tells when observations began.

    Examples
    --------
    >>> from g3reduce import splits
    >>> halves = splits.split(early="date<2019-05-01", late="date>=2019-05-01")
    >>> everything = splits.by("id") * halves * splits.bundles(4) * splits.signflips(100, seed=1)
    >>> coadd_files("obs/*.g3", "coadds.g3", assign=everything)  # doctest: +SKIP
    """

    products: tuple[Product, ...]
    table: Table | None = None
    clock: Clock = IN_FRAMES

    @classmethod
    def of(cls, *factors: Factor) -> Splitting:
        """These factors side by side."""
        return cls(tuple(map(Product.of, factors)))

    @property
    def is_planned(self) -> bool:
        """Whether all maps must be known before it can be said of one where it goes."""
        return any(one.planned for product in self.products for one in product.factors)

    @property
    def needs_weights(self) -> bool:
        """Whether a plan needs the weights of maps."""
        return any(one.needs_weights for product in self.products for one in product.factors)

    def __str__(self) -> str:
        return " + ".join(map(str, self.products))

    def __mul__(self, other: Splitting) -> Splitting:
        if not isinstance(other, Splitting):
            return NotImplemented
        return self._with(
            other, tuple(mine * theirs for mine in self.products for theirs in other.products)
        )

    def __add__(self, other: Splitting) -> Splitting:
        if not isinstance(other, Splitting):
            return NotImplemented
        return self._with(other, self.products + other.products)

    def using(
        self,
        table: str | os.PathLike[str] | Table | None = None,
        *,
        key: str | None = None,
        time: str | None = None,
    ) -> Splitting:
        """The same with a table of observations, or with something that tells their times.

        Parameters
        ----------
        table : path or Table, optional
            A file as `read_table` reads it: CSV, YAML or SQLite.
        key : str, optional
            Its column that names the observations.
        time : str, optional
            What tells when an observation began. ``"frame"`` (the default): its key
            ``ObservationStart`` or ``StartTime``, of the Map frame or of the Observation frame
            before. ``"spt"``: its ObservationID, which is in seconds since 2017-01-01 UTC; or
            ``"ctime"``, since 1970-01-01 UTC. ``"iso:COLUMN"``, ``"ctime:COLUMN"``,
            ``"mjd:COLUMN"``, ``"spt:COLUMN"``: a column of the table.

        Returns
        -------
        Splitting

        Raises
        ------
        UsageError
            If the table lacks a column that is asked for.
        InputError
            If the table cannot be read.
        """
        found = self.table
        if isinstance(table, Table):
            found = table
        elif table is not None:
            found = read_table(table, key=key)
        elif key is not None:
            raise UsageError(f"key is {key!r}, a column of the table; name this, too (--table).")
        new = replace(self, table=found, clock=self.clock if time is None else Clock.of(time))
        if new.table is not None:
            new.require_table()
        return new

    def require_table(self) -> None:
        """Refuse rules that ask for columns that there are not.

        Raises
        ------
        UsageError
        """
        factors = [factor for product in self.products for factor in product.factors]
        columns = {column for factor in factors for column in factor.columns}
        columns |= {self.clock.column} - {""}
        if self.table is not None:
            self.table.require(columns)
        elif columns:
            raise UsageError(
                f"the splitting asks for the column {min(columns)!r}, and there is no table of "
                "observations: name one, as splitting.using(table=FILE), or --table FILE. (A rule "
                "takes for a column what is not id, source, observation, file, date or parity.)"
            )

    def before_planning(self) -> Splitting:
        """What can be said of a map before all are known: of a splitting, the one that it refines.

        Maps that go to one coadd of this need not go to one of the other, and never the reverse.
        """
        return replace(
            self, products=tuple(dict.fromkeys(one.direct_only() for one in self.products))
        )

    def facts(self) -> FactsOfFrames:
        """What finds the facts of maps in frames, as this splitting needs them."""
        self.require_table()
        return FactsOfFrames(self.table, self.clock)

    def plan(self, inputs: Sequence[MapFacts]) -> Plan:
        """Decide of all maps of the input where they go.

        Parameters
        ----------
        inputs : sequence of MapFacts
            All maps of the input, in any order.

        Returns
        -------
        Plan
            The same whatever the order.

        Raises
        ------
        InputError
            If what a rule asks for is not known of a map.
        """
        facts = self.facts()
        return make_plan(self.products, list(map(facts.completed, inputs)), self.record())

    def planned(self, inputs: Ledger | Sequence[MapFacts] | Any) -> Plan:
        """The plan for the maps of a ledger: a function for `assign` in a pipeline.

        Parameters
        ----------
        inputs : Ledger, or anything with a `ledger` (as `Coadds`), or sequence of MapFacts
            All maps that the pipeline is going to bring, and no others need be there.

        Returns
        -------
        Plan

        Examples
        --------
        >>> coadds = coadd_files(files, mpicomm=comm, result="all")  # doctest: +SKIP
        >>> assign = (bundles(4) * signflips(20)).planned(coadds)  # doctest: +SKIP
        >>> MPIMapCoadder(comm, assign=assign)  # doctest: +SKIP
        """
        ledger = getattr(inputs, "ledger", inputs)
        return self.plan(facts_in(ledger) if isinstance(ledger, Ledger) else list(ledger))

    def assigner(self) -> Assigner:
        """A function for `assign` that also learns from the frames before maps."""
        return Assigner(self)

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes, from what it says itself; None if it goes to none."""
        return self.assigner()(frame)

    def _with(self, other: Splitting, products: tuple[Product, ...]) -> Splitting:
        clocks = {one.clock for one in (self, other)} - {IN_FRAMES}
        tables = [one.table for one in (self, other) if one.table is not None]
        if len(clocks) > 1 or any(table != tables[0] for table in tables):
            raise UsageError(
                "two splittings that are combined use different tables or times: "
                f"{self.record()} and {other.record()}. Combine them first, and then say "
                ".using(...)."
            )
        clock = next(iter(clocks), IN_FRAMES)
        return Splitting(products, tables[0] if tables else None, clock)

    def record(self) -> dict[str, str]:
        """What is to be recorded of every coadd: the table, and what tells the time, if named."""
        record = {}
        if self.table is not None:
            record["table"] = str(self.table)
        if self.clock != IN_FRAMES:
            record["time"] = str(self.clock)
        return record


class Assigner:
    """A splitting at work: an `assign` function that also sees the frames between maps.

    Attributes
    ----------
    records : dict of str to dict of str to str
        What is to be recorded of each coadd to which a frame went.

    Parameters
    ----------
    splitting : Splitting

    Raises
    ------
    UsageError
        If it has to be planned.
    """

    def __init__(self, splitting: Splitting):
        if splitting.is_planned:
            raise UsageError(
                f"({splitting}) can say where a map goes only once all maps are known, because of "
                "its bundles, sign flips, parities or medians. coadd_files plans it; for a "
                "pipeline, pass assign=splitting.planned(coadds), with coadds or a ledger that "
                "list the same maps."
            )
        self._splitting = splitting
        self._facts = splitting.facts()
        self._made_by: dict[str, tuple[Product, tuple[str, ...]]] = {}
        self.records: dict[str, dict[str, str]] = {}

    def __str__(self) -> str:
        return str(self._splitting)

    def takes_any_id(self, name: str) -> bool:
        """Whether maps went to a coadd without regard to their Ids."""
        return not self._made_by[name][0].chooses_ids

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._facts.observe(frame)

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes, and its sign in each; None if it goes to none."""
        return self.signs_of(self._facts.facts_of(frame)) or None

    def signs_of(self, facts: MapFacts) -> dict[str, int]:
        """The coadds to which a map goes, and its sign in each.

        Raises
        ------
        InputError
            If what a rule asks for is not known of it, or two coadds would have the same name.
        """
        found = {}
        for product in self._splitting.products:
            parts = product.parts_of(facts)
            if parts is None:
                continue
            name = name_of(parts)
            other, others = self._made_by.setdefault(name, (product, parts))
            if other is not product or others != parts:
                raise InputError(
                    f"{facts.where}: two coadds would be named {name!r}: one of ({other}), and one "
                    f"of ({product}). Give splits other names."
                )
            if name not in self.records:
                record = {**product.record_of(parts), **self._splitting.record(), "name": name}
                self.records[name] = record
            found[name] = 1
        return found
