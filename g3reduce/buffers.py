"""Memory that is used again and again.

What is read from files passes through buffers that stay in the cache. They begin at a page: the
kernel copies to such places twice as fast, and numpy needs arrays that are aligned.

Each thread has buffers of its own, and a process that is forked off has copies of them: what one
piece of work has put there, no other can change before it is used.
"""

from __future__ import annotations

import mmap
import threading

import numpy as np
from numpy.typing import NDArray

_BEGIN = mmap.PAGESIZE

# The size of most: larger ones are rare, and kept in few sizes.
_USUAL = 2**19


class _Pages(threading.local):
    """The buffers of one thread, by use and size."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, int], NDArray[np.uint8]] = {}


_pages = _Pages()


def buffer(use: str, size: int) -> NDArray[np.uint8]:
    """The first `size` bytes of this thread's buffer for this use. Its last content is lost.

    Parameters
    ----------
    use : str
        Buffers of different use are different; that for one use is shared by all in the thread
        who ask for it.
    size : int
        In bytes.
    """
    key = use, max(_USUAL, 1 << (size - 1).bit_length())
    if key not in _pages.held:
        _pages.held[key] = _at_a_page(key[1])
    return _pages.held[key][:size]


def _at_a_page(size: int) -> NDArray[np.uint8]:
    # Ordinary memory: that of ``mmap.mmap(-1, size)`` is shared with processes that are forked off.
    whole = np.empty(size + _BEGIN, np.uint8)
    begin = -whole.__array_interface__["data"][0] % _BEGIN
    return whole[begin : begin + size]
