"""Products of factors: the coadds that one of them makes, their names, and what is recorded."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from .conditions import Parity
from .factors import Bundles, Direct, Factor, SignFlips, Split
from .facts import MapFacts
from .overview import Overview

# The coadd of a product that says nothing but sign flips.
ALONE = "Coadd"


@dataclass(frozen=True)
class Product:
    """Factors of which each works within the coadds of those before it.

    Attributes
    ----------
    direct : tuple of Direct
        Splits by rules, or by the values of a field.
    bundles : Bundles or None
    flips : SignFlips or None
    """

    direct: tuple[Direct, ...] = ()
    bundles: Bundles | None = None
    flips: SignFlips | None = None

    @classmethod
    def of(cls, factor: Factor) -> Product:
        """The product of one factor."""
        if isinstance(factor, Bundles):
            return cls(bundles=factor)
        if isinstance(factor, SignFlips):
            return cls(flips=factor)
        if isinstance(factor, Direct):
            return cls((factor,))
        raise TypeError(f"{factor!r} is no factor of a splitting")

    def __mul__(self, other: Product) -> Product:
        if self.flips is not None:
            raise UsageError(
                f"{other} after sign flips; expected these last: (…) * signflips(N)."
                if other.flips is None
                else "sign flips of sign flips: expected signflips once."
            )
        if self.bundles is not None and (other.bundles is not None or other.direct):
            raise UsageError(
                f"{other} within {self.bundles}; expected splits first, then bundles, once: "
                "splits * bundles * signflips."
            )
        return Product(
            self.direct + other.direct, self.bundles or other.bundles, other.flips or self.flips
        )

    def direct_only(self) -> Product:
        """The product of the factors that need not be planned."""
        return Product(tuple(factor for factor in self.direct if not factor.planned))

    @property
    def factors(self) -> tuple[Factor, ...]:
        """All of them, in order."""
        others: tuple[Factor | None, ...] = (self.bundles, self.flips)
        return self.direct + tuple(factor for factor in others if factor is not None)

    @property
    def asks_for_order(self) -> bool:
        """Whether any rule asks for the place of an observation in an order."""
        rules = (factor.rule for factor in self.direct if isinstance(factor, Split))
        return any(isinstance(one, Parity) for rule in rules for one in rule.conditions())

    @property
    def chooses_ids(self) -> bool:
        """Whether it says of which Ids the maps of a coadd are."""
        return any(factor.asks_for_id for factor in self.direct)

    def parts_of(self, facts: MapFacts, overview: Overview | None = None) -> tuple[str, ...] | None:
        """The parts of the name that a map has by its direct factors; None if it has not all."""
        parts = []
        for factor in self.direct:
            part = factor.part_of(facts, overview)
            if part is None:
                return None
            parts.append(part)
        return tuple(parts)

    def pool_of(self, parts: tuple[str, ...]) -> str:
        """What observations with these parts have in common: they make bundles of their own."""
        pools = (factor.pool_of(part) for factor, part in zip(self.direct, parts, strict=True))
        return " & ".join(pool for pool in pools if pool)

    def record_of(self, parts: tuple[str, ...]) -> dict[str, str]:
        """What is recorded of the coadd whose name has these parts."""
        rules = (factor.text_of(part) for factor, part in zip(self.direct, parts, strict=True))
        return {"rule": "; ".join(rules) or "all"}

    def __str__(self) -> str:
        return " * ".join(map(str, self.factors))


def name_of(parts: tuple[str, ...]) -> str:
    """The name of a coadd."""
    return "_".join(parts) or ALONE
