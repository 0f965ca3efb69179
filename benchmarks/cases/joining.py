"""How the suite calls strategies: the one place that knows the interface of g3reduce.strategies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ..harness.rows import Row

AUTO_IN_PRIVATE = "auto, private"


@contextlib.contextmanager
def _private_memory() -> Iterator[None]:
    from g3reduce.strategies import nodes

    before = os.environ.get(nodes.SHARED_MEMORY)
    os.environ[nodes.SHARED_MEMORY] = "0"
    try:
        yield
    finally:
        del os.environ[nodes.SHARED_MEMORY]
        if before is not None:
            os.environ[nodes.SHARED_MEMORY] = before


class Joining:
    """Ways of joining what the ranks of a communicator hold.

    Strategies move what one rank of each node has. To measure them on one machine, where shared
    memory would leave them nothing to do, they get a communicator on which all memory is private.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
    """

    def __init__(self, comm: Any):
        from g3reduce.mpi import communicators
        from g3reduce.strategies import nodes
        from g3reduce.strategies.measure import measure

        self._shared, self._private = comm.Dup(), comm.Dup()
        self._machine = None
        if comm.size > 1:
            with _private_memory():
                nodes.memory_for(communicators.private(self._private))  # this is found out once
            shared: Any = communicators.private(self._shared)
            self._machine = measure(nodes.nodes_of(shared))

    def free(self) -> None:
        """Free the communicators. Collective."""
        self._shared.Free()
        self._private.Free()

    def ways(self, result: str) -> list[str]:
        """All strategies that can put the result there, and the library's own choice."""
        from g3reduce import strategies

        return ["auto", AUTO_IN_PRIVATE, *strategies.names(result)]

    def hold(self, way: str, n_rows: int, row_length: int, planes: tuple[str, ...]) -> Any:
        """Empty blocks, in the memory in which that way wants them. Collective."""
        from g3reduce.arrays.blocks import Blocks
        from g3reduce.mpi import communicators
        from g3reduce.strategies import nodes

        memory = nodes.memory_for(communicators.private(self._comm_of(way)))
        return Blocks(n_rows, row_length, dict.fromkeys(planes, "f8"), memory=memory)

    def join(self, way: str, blocks: Any, result: Any) -> Any:
        """Join them; what it returns is for `blocks_of` and `account_of`. Collective."""
        from g3reduce import arrays, strategies

        strategy = "auto" if way == AUTO_IN_PRIVATE else way
        return strategies.reduce(
            self._comm_of(way),
            blocks,
            arrays.SUM,
            strategy,
            result=result,
            machine=self._machine,
        )

    def blocks_of(self, joined: Any) -> Any:
        """The blocks of the result; None on a rank without any."""
        return joined.blocks

    def account_of(self, joined: Any, comm: Any) -> Row:
        """What was done, over all ranks, and what the cost model had said. Collective."""
        told = joined.statistics
        return {
            "taken": told.strategy,
            "MB moved": comm.allreduce(told.bytes_sent + told.bytes_mapped) / 1e6,
            "messages": comm.allreduce(told.messages),
            "predicted ms": told.predicted * 1e3,
        }

    def _comm_of(self, way: str) -> Any:

        return self._shared if way == "auto" else self._private
