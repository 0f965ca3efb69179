"""Sizes from which on work is cut into parts, or done in another way.

They are in one object and looked up when they are needed, so that a test that sets a small one
reaches every place that it counts in. Nothing else changes them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Limits:
    """Sizes, in bytes unless something else is said.

    Attributes
    ----------
    step : int
        What is read and added in one go: it should fit in the cache beside its place in the sum.
    small_frame : int
        Files of frames up to this size are read ahead.
    kept_read : int
        What is read of a large frame in one go up to this size is kept: all of it but pixels and
        the like.
    near_header : int
        How far the header of the next run may be, and still be read with this one's.
    compressed_read, compressed_made : int
        How much is read from a compressed file, and how much content is made of it, in one go.
    smallest_piece : int
        Files are not cut into smaller pieces: these are not worth the walk to them.
    swap_piece : int
        Ranks swap arrays in pieces up to this size, unless one element is larger: enough to hide
        what a message costs, few enough to stay in the cache.
    pieces_per_rank : int
        With so many files for each rank, these are enough to keep all ranks busy to the end; and
        into so many pieces for each rank a file is cut.
    """

    step: int = 2**19
    small_frame: int = 2**17
    kept_read: int = 2**20
    near_header: int = 4096
    compressed_read: int = 2**18
    compressed_made: int = 2**20
    smallest_piece: int = 2**20
    swap_piece: int = 4 * 2**20
    pieces_per_rank: int = 8


LIMITS = Limits()
