"""Memory that is used again and again.

What is read from files passes through buffers that stay in the cache. They begin at a page: the
kernel copies to such places twice as fast, and numpy needs arrays that are aligned.
"""

from __future__ import annotations

import functools
import mmap

import numpy as np
from numpy.typing import NDArray

# How much is read and added in one go: it should fit in the cache beside its place in the sum.
STEP = 2**19


def buffer(use: str, size: int = STEP) -> NDArray[np.uint8]:
    """The first `size` bytes of the buffer for this use. Its last content is lost.

    Parameters
    ----------
    use : str
        Buffers of different use are different; that for one use is shared by all who ask for it.
    size : int
    """
    # Larger ones are rare, and kept in few sizes.
    return _pages(use, max(STEP, 1 << (size - 1).bit_length()))[:size]


@functools.cache
def _pages(use: str, size: int) -> NDArray[np.uint8]:
    return np.frombuffer(mmap.mmap(-1, size), np.uint8)
