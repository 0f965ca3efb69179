"""Fresh memory for large arrays that are walked side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# From this size on, arrays begin at each quarter of a page in turn. A cache finds data by few bits
# of the address: arrays that begin alike and are walked side by side may get into each other's way,
# which can take twice the time.
_LARGE = 2**20
_OFFSETS = itertools.cycle(range(0, 4096, 1024))

# From this size on numpy asks for huge pages. An array gets them only where it fills them, so it
# begins in a new one and has the last one to itself: up to two thousand pages less to be made.
_HUGE = 2**22
_HUGE_PAGE = 2**21


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
    """A contiguous array of zeros. Memory is not touched before it is used."""
    return _placed(np.zeros, shape, dtype)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
    """A contiguous array of anything, to be filled."""
    return _placed(np.empty, shape, dtype)


def taken(nbytes: float) -> float:
    """Bytes of memory that so many bytes of an array take, where there are huge pages."""
    return nbytes if nbytes < _HUGE else -(-nbytes // _HUGE_PAGE) * _HUGE_PAGE


def _placed(
    make: Callable[..., NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike
) -> NDArray[np.generic]:
    nbytes = prod(shape) * np.dtype(dtype).itemsize
    if nbytes < _LARGE:
        return make(shape, dtype)
    begin = next(_OFFSETS)
    if nbytes < _HUGE:
        room = make(begin + nbytes, np.uint8)
    else:
        room = make(begin + nbytes + 2 * _HUGE_PAGE, np.uint8)
        begin += -room.__array_interface__["data"][0] % _HUGE_PAGE
    return room[begin:][:nbytes].view(dtype).reshape(shape)
