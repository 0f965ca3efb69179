"""Large blocks in miniature: each byte of a plane stands for a whole row of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from g3reduce.arrays.blocks import Blocks, Rows
from g3reduce.arrays.reduction import Reduction
from g3reduce.limits import LIMITS
from g3reduce.strategies import collective, owner, pairwise, rows
from g3reduce.strategies.costs import Machine

from .ranks import Ranks

# Only planes and their copies have numbers of this kind; all else is as large as it is.
PAYLOAD = np.dtype(np.int8)
MODULES = (collective, owner, pairwise, rows)

Array = NDArray[np.generic]


class Bill:
    """Lets time pass for what the rank that runs does in its own memory.

    Parameters
    ----------
    ranks : Ranks
    machine : Machine
    row_bytes : int
        What one byte of a plane stands for.
    """

    def __init__(self, ranks: Ranks, machine: Machine, row_bytes: int):
        self.ranks = ranks
        self.machine = machine
        self.row_bytes = row_bytes

    def bytes_of(self, array: Array) -> float:
        """The bytes for which an array stands."""
        return array.nbytes * (self.row_bytes if array.dtype == PAYLOAD else 1)

    def copied(self, nbytes: float) -> None:
        """Bytes were copied, or added to others."""
        self.ranks.spend(nbytes / self.machine.adding)

    def filled(self, nbytes: float) -> None:
        """Bytes of new memory are going to be filled."""
        self.ranks.spend(nbytes / self.machine.fresh)


class Plane(np.ndarray[Any, Any]):
    """A plane that tells when something is copied into it."""

    bill: Bill | None = None

    def __array_finalize__(self, source: Any) -> None:
        """Views of a plane tell it, too."""
        self.bill = getattr(source, "bill", None)

    def __setitem__(self, where: Any, values: Any) -> None:
        """As that of any array."""
        plain = self.view(np.ndarray)
        plain[where] = values
        if self.bill is not None:
            self.bill.copied(self.bill.bytes_of(plain[where]))


class Planes(Blocks):
    """Blocks whose new rows cost time, and what is copied into them."""

    bill: Bill | None = None

    def insert(self, rows: Rows) -> None:
        """As `Blocks.insert`."""
        before = self.nbytes
        super().insert(rows)
        if self.nbytes > before and self.bill is not None:
            self.bill.filled(self.nbytes * self.bill.row_bytes)

    def like(self) -> Planes:
        """As `Blocks.like`."""
        return planes(self.bill, self.n_rows, list(self.planes))

    def _new_plane(self, name: str, n_held: int, dtype: Any) -> Array:
        plane = super()._new_plane(name, n_held, dtype).view(Plane)
        plane.bill = self.bill
        return plane


def planes(bill: Bill | None, n_rows: int, names: list[str]) -> Planes:
    """Empty blocks in miniature."""
    made = Planes(n_rows, 1, dict.fromkeys(names, PAYLOAD))
    made.bill = bill
    return made


@contextlib.contextmanager
def billed(bill: Bill) -> Iterator[None]:
    """Let strategies pay for what they copy, add and take; pieces are as many as they would be."""
    read, combine_into, scratch_array = rows.read, rows.combine_into, rows.Scratch.array

    def pay_read(plane: Array, positions: Rows, columns: slice, identity: Any, out: Array) -> None:
        scattered = rows.adjacent(positions) is None
        read(plane.view(np.ndarray), positions, columns, identity, out)
        bill.copied(bill.bytes_of(out) * (2 if scattered else 1))

    def pay_combine(
        plane: Array, positions: Rows, columns: slice, values: Array, reduction: Reduction
    ) -> None:
        scattered = rows.adjacent(positions) is None
        combine_into(plane.view(np.ndarray), positions, columns, values, reduction)
        bill.copied(bill.bytes_of(values) * (2 if scattered else 1))

    def pay_scratch(self: Any, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        before = self._buffers.get(name)
        array = scratch_array(self, name, shape, dtype)
        if self._buffers[name] is not before:
            bill.filled(bill.bytes_of(array))
        return array

    limits = {
        name: max(1, getattr(LIMITS, name) // bill.row_bytes)
        for name in ("message_piece", "scratch_part")
    }
    with contextlib.ExitStack() as stack:
        for name, value in limits.items():
            stack.enter_context(mock.patch.object(LIMITS, name, value))
        for module in MODULES:
            for name, instead in (("read", pay_read), ("combine_into", pay_combine)):
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, instead))
        stack.enter_context(mock.patch.object(rows.Scratch, "array", pay_scratch))
        yield
