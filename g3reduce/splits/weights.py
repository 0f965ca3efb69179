"""Weights by which maps are balanced."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InputError
from .facts import MapFacts


def weights_of(maps: Sequence[MapFacts], who: str) -> tuple[list[float], dict[str, str]]:
    """The weights of maps; all 1 if none is known, or if all are 0, as of maps without weights.

    Parameters
    ----------
    maps : sequence of MapFacts
    who : str
        How messages name what is to be balanced.

    Returns
    -------
    weights : list of float
    record : dict of str to str
        What is to be recorded, if they are all 1.

    Raises
    ------
    InputError
        If only some are known, or one is negative or not finite.
    """
    if not any(one.weight is not None and one.weight != 0 for one in maps):
        return [1.0] * len(maps), {"weights": "equal: none is known"}
    for one in maps:
        if one.weight is None:
            raise InputError(
                f"{one.where}: its weight is not known, while those of others are, so {who} cannot "
                "be balanced. Give weights to all maps, or to none: then all count as equal."
            )
        if not math.isfinite(one.weight) or one.weight < 0:
            raise InputError(
                f"{one.where}: the sum of its weights TT is {one.weight}, so {who} cannot be "
                "balanced; expected a number from 0 on. Leave the map out, or mend its weights"
                + ("." if math.isfinite(one.weight) else ', or leave pixels out: nonfinite="skip".')
            )
    return [float(one.weight or 0.0) for one in maps], {}
