"""What the sign-flip realisations of a sum have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..spt3gtypes import SkyMap


@dataclass
class Shared:
    """Weights and hits of realisations, as the first that needed them has made them for all.

    Attributes
    ----------
    maps : dict of str to spt3g.maps.G3SkyMap
        By plane.
    blobs : dict of str to uint8 array
        By the key of the frame, as a file has them.
    """

    maps: dict[str, SkyMap] = field(default_factory=dict)
    blobs: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
