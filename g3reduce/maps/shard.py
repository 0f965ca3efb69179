"""The part of a sum of maps that one rank owns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..spt3gtypes import SkyMap


@dataclass(frozen=True, repr=False)
class Shard:
    """The pixels of a coadd that one rank owns, after ``result="sharded"``.

    The pixels that were hit are cut into equal stretches. Each is owned by one rank, and the ranks
    own about as many.

    Attributes
    ----------
    planes : dict of str to float64 array, shape (stretches, pixels in one)
        The sums: T, Q, U, the planes of the weights, and the hits, as far as there are any.
    pixels : int64 array, of the same shape
        The numbers of the pixels, as the geometry of the map has them; -1 where the last stretch
        reaches past the end of the map.
    stubs : dict of str to spt3g.maps.G3SkyMap
        An empty map for each plane, with its geometry and attributes.
    """

    planes: dict[str, NDArray[np.float64]]
    pixels: NDArray[np.int64]
    stubs: dict[str, SkyMap]

    def __repr__(self) -> str:
        n_pixels = np.count_nonzero(self.pixels >= 0)
        return f"<Shard of {', '.join(self.planes)}: {n_pixels} pixels>"
