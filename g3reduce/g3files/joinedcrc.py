"""The checksum of a frame of which parts are known by themselves, each in another process.

A frame ends in a CRC32C that begins with 0 and is not inverted: a remainder of polynomials over two
elements. Of bytes that are zeros it is 0, and it is linear: the checksum of the whole is the sum,
bit by bit, of those of its parts, each multiplied by a power of x for the bytes behind it.
"""

from __future__ import annotations

import functools

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..limits import LIMITS
from .frames import CRC_START

# Bit 31 stands for the power 0 of x, bit 0 for the power 31: so the polynomial of Castagnoli.
_POLYNOMIAL = 0x82F63B78
_TO_THE_8 = 1 << 23


class PartsChecksum:
    """The checksum of some parts of a sequence of bytes, as if all other bytes were zeros.

    The exclusive or of those of parts that make up all of it is the checksum of the whole.

    Parameters
    ----------
    size : int
        Of the whole, in bytes.
    """

    def __init__(self, size: int):
        self._size = size
        self._joined, self._state, self._end = 0, CRC_START, 0

    def add(self, position: int, data: bytes | NDArray[np.uint8]) -> None:
        """Add bytes that stand there; parts that follow each other cost the least."""
        if position != self._end:
            self._joined, self._state = self.total, CRC_START
        whole = np.frombuffer(data, np.uint8)
        for begin in range(0, len(whole), LIMITS.step):
            self._state = google_crc32c.extend(self._state, whole[begin : begin + LIMITS.step])
        self._end = position + len(whole)

    @property
    def total(self) -> int:
        """The checksum of all that was added."""
        return self._joined ^ _with_zeros(self._state ^ CRC_START, self._size - self._end)


def _with_zeros(checksum: int, n_bytes: int) -> int:
    """The checksum of the same bytes with so many zeros behind them."""
    for bit in range(n_bytes.bit_length() if checksum else 0):
        if n_bytes >> bit & 1:
            checksum = _times(checksum, _behind(bit))
    return checksum


@functools.cache
def _behind(bit: int) -> int:
    """What ``2 ** bit`` zeros behind bytes multiply their checksum by."""
    return _times(_behind(bit - 1), _behind(bit - 1)) if bit else _TO_THE_8


def _times(a: int, b: int) -> int:
    """The product of two polynomials, reduced."""
    product = 0
    for place in range(31, -1, -1):  # from the power 0 of `a` on, while `b` is multiplied by x
        if a >> place & 1:
            product ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
