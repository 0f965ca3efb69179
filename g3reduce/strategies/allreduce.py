"""The MPI library's own reductions, on the union of the rows that any rank holds."""

from __future__ import annotations

from math import log2

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from ..mpi import transfer
from .costs import Profile
from .rows import Scratch, cuts, read, together, union_of_rows
from .traffic import Traffic


class Allreduce:
    """``MPI_Allreduce`` in pieces; ``MPI_Reduce`` where only one rank gets the result.

    All of the union goes through every rank, whatever it holds of it.
    """

    name: str = "allreduce"
    results: tuple[str, ...] = ("root", "all")

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.registry.Strategy.cost`."""
        # As good as known algorithms for long messages: scatter the sum, then collect it.
        share = (profile.ranks - 1) / profile.ranks
        calls = max(1.0, profile.union / transfer.PIECE)
        # Copied into messages where rows are missing, and on one root out of them.
        copied = (profile.held < profile.union) + (profile.result == "root")
        return (
            2 * log2(max(profile.ranks, 2)) * profile.latency * calls
            + 2 * share * profile.union / profile.bandwidth
            + profile.adding((share + copied) * profile.union)
        )

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.registry.Strategy.reduce`."""
        operation = str(reduction.operation)
        union = union_of_rows(traffic, blocks)
        gets_it = result == "all" or traffic.rank == root
        if gets_it:
            blocks.insert(union)
        places, scratch = blocks.locate(union), Scratch()
        for name in sorted(blocks.planes):
            plane = blocks.planes[name]
            if result == "all":
                traffic.allreduce(plane, operation)
                continue
            for rows, columns in cuts(len(union), plane, transfer.PIECE):
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                stretch = together(places[rows])
                if stretch is not None:
                    piece = plane[stretch, columns]
                else:
                    piece = scratch.array("mine", shape, plane.dtype)
                    read(plane, places[rows], columns, reduction.identity, piece)
                # Not in place: that is the slow way in some libraries.
                total = scratch.array("total", shape, plane.dtype) if gets_it else None
                traffic.reduce(piece, total, operation, root)
                if total is not None:
                    plane[rows, columns] = total
        return blocks if gets_it else None
