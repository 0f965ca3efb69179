"""Exact sums that are kept beside the numbers that were made of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Kept(NamedTuple):
    """Rows of blocks, and planes of integers, of which ordinary numbers were made."""

    rows: NDArray[np.int64]
    planes: dict[str, NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """The size of the planes, in bytes."""
        return sum(plane.nbytes for plane in self.planes.values())
