"""Sums of the same frames with other signs: sign-flip realisations, many of them at once.

A realisation has the frames of a coadd, its base, each with a sign of its own. So it hits the same
pixels, its weights and hits are the same, and only T, Q and U need sums of their own. Frames are
not added to these one by one: their values are staged, those of a frame in an array, numbered as
the base is. When there are some tens, all are added at once: by a compiled loop, or by a matrix
product with their signs. Both are right within rounding, but do not round alike.

Realisations have no weights and hits of their own in memory: all share the maps of their base.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import memory
from ..arrays.blocks import Blocks
from ..g3files.lines import Values
from ..g3files.maps import STOKES
from ..kernels import choice as kernels
from ..limits import LIMITS

Signs = NDArray[np.int8]

# Returns positions in other blocks, and the values that belong there, of a plane: all but 0.
Move = Callable[[Values], "tuple[NDArray[np.int64], Values]"]

# So many frames are staged, or as many as there are realisations: that is memory.
_MOST_STAGED, _LEAST_STAGED = 64, 8

# A product is cut into pieces of up to so many multiplications, so that libraries of linear algebra
# do not start threads for it: ranks would have more of these than cores.
_PIECE = 2**18
_FRAMES, _FLIPS = 32, 128  # in a piece, at most


def wide(name: str) -> str:
    """The plane of blocks that holds all realisations of a plane; see `SignFlips`."""
    return f"{name}*"


def is_wide(plane: str) -> bool:
    """Whether a plane of blocks holds realisations."""
    return plane.endswith("*")


def packed(signs: Signs) -> bytes:
    """Signs as a ledger holds them: a bit for each realisation, 1 if it is negative."""
    return np.packbits(signs < 0).tobytes()


def unpacked(bits: bytes, n: int) -> Signs:
    """The signs of `n` realisations that `packed` has packed."""
    negative = np.unpackbits(np.frombuffer(bits, np.uint8), count=n)
    return (1 - 2 * negative.astype(np.int8)).astype(np.int8)


def n_staged(n_flips: int) -> int:
    """How many frames are staged for so many realisations."""
    return min(_MOST_STAGED, max(_LEAST_STAGED, n_flips))


class SignFlips:
    """Realisations of a sum, and frames that are staged for them.

    The realisations of ``T`` are in a wide plane ``T*`` beside it: row i of it has the pixels that
    row i of ``T`` has, first those of realisation 0, then those of 1, and so on.

    Parameters
    ----------
    n : int
        How many realisations there are.
    """

    def __init__(self, n: int):
        self.n = n
        self._signs = np.zeros((n_staged(n), n))
        self._n_staged = 0
        self._staged: dict[str, NDArray[np.float64]] = {}

    def begin(self, blocks: Blocks, name: str) -> None:
        """Make an empty plane for the realisations of a plane, if these have sums of their own."""
        if name in STOKES:
            blocks.add_plane(wide(name), np.float64, width=self.n)

    def reserve(self, blocks: Blocks, n_frames: int) -> None:
        """Make room for so many frames: those before them are added, if need be."""
        if self._n_staged + n_frames > len(self._signs):
            self.settle(blocks)
            self._n_staged = 0
        if n_frames > len(self._signs):
            self._signs = np.zeros((n_frames, self.n))
            self._staged.clear()

    def place(self, signs: Signs) -> int:
        """Take a place for a frame with these signs."""
        self._signs[self._n_staged] = signs
        self._n_staged += 1
        return self._n_staged - 1

    def room(self, blocks: Blocks, name: str, place: int) -> Values:
        """Where the values of a plane of a frame are staged, numbered as the blocks are now."""
        n_pixels = len(blocks.rows) * blocks.row_length
        staged = self._staged.get(name)
        if staged is None or staged.shape[1] < n_pixels:
            self.settle(blocks)
            size = max(len(blocks.rows), blocks.room) * blocks.row_length
            new: NDArray[Any] = memory.zeros((len(self._signs), size), np.float64)
            self._staged[name] = staged = new
        values: Values = staged[place]
        return values

    def settle(self, blocks: Blocks) -> None:
        """Add all that is staged. What comes later of the same frames is added then."""
        if not self._n_staged:
            return
        signs = np.ascontiguousarray(self._signs[: self._n_staged].T)
        for name, staged in self._staged.items():
            part = staged[: self._n_staged]
            loops = kernels.loops(part.size)
            if loops is not None:
                sums = blocks.planes[wide(name)].reshape(-1, self.n, blocks.row_length)
                n_rows = part.shape[1] // blocks.row_length
                loops.add_signed(sums[:n_rows], part, _patterns(signs, loops.GROUP))
                continue
            with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN
                _add_signed(blocks, name, part, signs)
            part[...] = 0

    def forget(self, blocks: Blocks) -> None:
        """Add all that is staged, and give the memory back. Frames keep their places."""
        self.settle(blocks)
        self._staged.clear()

    def renumber(self, old: Blocks, new: Blocks, plane: str, move: Move) -> None:
        """Bring the realisations in a wide plane to the blocks of another numbering."""
        theirs = old.planes[plane].reshape(len(old.rows), self.n, old.row_length)
        for flip in range(self.n):
            positions, values = move(np.ascontiguousarray(theirs[:, flip]).reshape(-1))
            mine = new.planes[plane].reshape(len(new.rows), self.n, new.row_length)
            mine[positions // new.row_length, flip, positions % new.row_length] = values

    def apart(self, blocks: Blocks) -> list[dict[str, NDArray[Any]]]:
        """The planes of each realisation: views of the wide ones, which leave the blocks.

        To copy them would take fresh memory, which is slow, for all of them at once.
        """
        found: list[dict[str, NDArray[Any]]] = [{} for _ in range(self.n)]
        for plane in [plane for plane in blocks.planes if is_wide(plane)]:
            values = blocks.planes.pop(plane).reshape(len(blocks.rows), self.n, blocks.row_length)
            for flip, planes in enumerate(found):
                planes[plane.rstrip("*")] = values[:, flip]
        return found


def _patterns(signs: NDArray[np.float64], group: int) -> NDArray[np.int64]:
    """Of each group of frames, the bits of those that are subtracted; shape (groups, flips)."""
    n_flips, n_frames = signs.shape
    n_groups = -(-n_frames // (4 * group)) * 4
    negative = np.zeros((n_groups * group, n_flips), np.int64)
    negative[:n_frames] = signs.T < 0
    weights = 2 ** np.arange(group)
    patterns: NDArray[np.int64] = np.tensordot(
        negative.reshape(n_groups, group, n_flips), weights, axes=(1, 0)
    )
    return np.ascontiguousarray(patterns)


def _add_signed(
    blocks: Blocks, name: str, staged: NDArray[Any], signs: NDArray[np.float64]
) -> None:
    """Add ``signs @ staged`` to the realisations of a plane."""
    n_flips, length = len(signs), blocks.row_length
    sums: NDArray[Any] = blocks.planes[wide(name)].reshape(-1, n_flips, length)
    n_rows = min(len(sums), staged.shape[1] // length)  # later rows have nothing that is staged
    n_pixels = min(length, _PIECE // (_FLIPS * _FRAMES) * 2)
    step = max(1, LIMITS.step // (8 * min(n_flips, _FLIPS) * n_pixels))
    room = np.empty(step * min(n_flips, _FLIPS) * n_pixels)
    for first in range(0, n_rows, step):
        last = min(first + step, n_rows)
        values = staged[:, first * length : last * length].reshape(len(staged), -1, length)
        values = values.transpose(1, 0, 2)  # of each row, the pixels of each frame
        for begin in range(0, length, n_pixels):
            pixels = slice(begin, min(begin + n_pixels, length))
            for flip in range(0, n_flips, _FLIPS):
                mine = sums[first:last, flip : flip + _FLIPS, pixels]
                product = room[: mine.size].reshape(mine.shape)
                for frame in range(0, len(staged), _FRAMES):
                    frames = slice(frame, frame + _FRAMES)
                    np.matmul(
                        signs[flip : flip + _FLIPS, frames], values[:, frames, pixels], out=product
                    )
                    mine += product
