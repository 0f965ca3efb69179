"""The sign-flip realisations of a sum, as sums of their own."""

from __future__ import annotations

from dataclasses import replace

from .mapsum import MapSum
from .shared import Shared


def realisations_of(total: MapSum) -> list[MapSum]:
    """The realisations of a sum, after those of all ranks were joined. To be called once.

    They have the weights and hits of the sum, not copies of these.
    """
    flips, summary, blocks = total.sums.flips, total.summary, total.blocks
    if flips is None:
        return []
    blocks.sort()
    shared = Shared()
    found = []
    for number, planes in enumerate(flips.apart(blocks)):
        overflow = dict(summary.overflow)
        for name, of_flips in summary.overflow_of_flips.items():
            overflow[name] = float(of_flips[number])
        one = MapSum(replace(summary, overflow=overflow, n_flips=0, overflow_of_flips={}))
        one.sums.take_over(
            total.sums, {name: planes.get(name, blocks.planes[name]) for name in summary.stubs}
        )
        one.shared = shared
        found.append(one)
    return found
