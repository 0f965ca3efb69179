"""The MPI library's own collectives, on the union of the rows that any rank holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import transfer
from ..blocks import Blocks
from ..reductions import Reduction

if TYPE_CHECKING:
    from mpi4py import MPI


class Allreduce:
    """``MPI_Allreduce`` in pieces; ``MPI_Reduce`` where only one rank gets the result.

    Every rank holds the union of all rows while it lasts.
    """

    name: str = "allreduce"
    results: tuple[str, ...] = ("root", "all")

    def reduce(
        self, comm: MPI.Intracomm, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.registry.Strategy.reduce`."""
        from mpi4py import MPI

        operation = getattr(MPI, str(reduction.operation))
        blocks.insert(union_of_rows(comm, blocks))
        for name in sorted(blocks.planes):
            plane = blocks.planes[name]
            scratch = np.empty(transfer.PIECE // plane.itemsize, plane.dtype)
            for piece in transfer.pieces(plane):
                if result == "all":
                    comm.Allreduce(MPI.IN_PLACE, piece, operation)
                    continue
                # Not in place: that is the slow way in some libraries.
                received = scratch[: len(piece)] if comm.rank == root else None
                comm.Reduce(piece, received, operation, root)
                if received is not None:
                    piece[:] = received
        return blocks if result == "all" or comm.rank == root else None


def union_of_rows(
    comm: MPI.Intracomm, blocks: Blocks
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The rows that any rank holds, in rising order. Collective over `comm`."""
    from mpi4py import MPI

    held = np.zeros(blocks.n_rows, bool)
    held[blocks.rows] = True
    bits = np.packbits(held)
    for piece in transfer.pieces(bits):
        comm.Allreduce(MPI.IN_PLACE, piece, MPI.BOR)
    return np.flatnonzero(np.unpackbits(bits, count=blocks.n_rows))
