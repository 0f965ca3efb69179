"""All maps of the input, as far as rules ask for them."""

from __future__ import annotations

from collections.abc import Sequence

from .facts import MapFacts


class Overview:
    """All maps of the input.

    Parameters
    ----------
    inputs : sequence of MapFacts
    """

    def __init__(self, inputs: Sequence[MapFacts]):
        self.inputs = list(inputs)
