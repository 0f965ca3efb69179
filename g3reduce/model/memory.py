"""What ranks hold while their sums are joined, beside what each of them has of its own."""

from __future__ import annotations

from typing import NamedTuple

from ..limits import LIMITS
from ..strategies.costs import Profile
from ..strategies.traffic import ON_NODE

# A strategy takes at most so many buffers of `LIMITS.scratch_part`, see there.
_BUFFERS = 4


class Held(NamedTuple):
    """Bytes of sums, at most, while they are joined.

    Attributes
    ----------
    root, first, other : float
        On the rank that gets the result, on the first rank of another node, and on any other.
    """

    root: float
    first: float
    other: float


def while_joined(profile: Profile, strategy: str, coadds: float = 1.0) -> Held:
    """The bytes that ranks hold while a strategy is at work.

    Parameters
    ----------
    profile : Profile
        Of all ranks, as `g3reduce.strategies.predict` takes it.
    strategy : str
        One of those of the library, or ``"on-node"``. Any other one is taken to need the union
        where the result goes.
    coadds : float
        How many there are: they are joined one after the other, and what each of them takes
        meanwhile is given back.
    """
    if profile.ranks == 1:
        return Held(profile.held, profile.held, profile.held)
    most = _while_all_are_joined(profile, strategy, coadds)
    shard = profile.union / profile.ranks
    left = {"root": 0.0, "all": profile.union, "sharded": shard}[profile.result]
    root = profile.union if profile.result == "root" else left
    return Held(
        *(
            idle + max(0.0, busy - idle) / coadds
            for busy, after in zip(most, (root, left, left), strict=True)
            for idle in [max(profile.largest, after)]
        )
    )


def _while_all_are_joined(profile: Profile, strategy: str, coadds: float) -> Held:
    """The same if all coadds were joined at once, each by buffers of its own."""
    buffers = _BUFFERS * min(LIMITS.scratch_part * coadds, profile.union)
    first_ranks = profile.of_first_ranks() if profile.direct else profile
    before = after = first_ranks.held
    everyone = profile.largest
    if profile.direct and before > everyone:  # new planes beside those that others still read
        before = everyone + before
    if profile.result == "all":
        everyone += profile.union if profile.union > profile.held else 0.0
    elif profile.result == "sharded":
        everyone += profile.union / profile.ranks
    if strategy == ON_NODE:
        gets_it = profile.union if profile.result == "root" else 0.0
        root = max(before, profile.held + gets_it * (profile.union > profile.held))
        return Held(root, root, everyone)
    shard = first_ranks.union / first_ranks.ranks
    root, first = first_ranks.union, after
    if strategy in ("reduce_scatter", "owner"):
        first = after + shard
        root = first if profile.result == "sharded" else first_ranks.union + shard
    elif strategy == "tree":
        first = first_ranks.union_of(-(-first_ranks.ranks // 2))
    if profile.result == "all":
        first = root
    return Held(max(before, root) + buffers, max(before, first) + buffers, everyone)
