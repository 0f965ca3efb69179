"""How the suite calls strategies: the one place that knows the interface of g3reduce.strategies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ..harness.rows import Row

BY_MESSAGES = "auto, messages"


@contextlib.contextmanager
def _messages_only() -> Iterator[None]:
    from g3reduce.strategies import nodes

    before = os.environ.get(nodes.DIRECT_MEMORY)
    os.environ[nodes.DIRECT_MEMORY] = "0"
    try:
        yield
    finally:
        del os.environ[nodes.DIRECT_MEMORY]
        if before is not None:
            os.environ[nodes.DIRECT_MEMORY] = before


def strategies_of(result: str) -> list[str]:
    """The names of all strategies that can put the result there."""
    from g3reduce import strategies

    return strategies.names(result)


class Joining:
    """Ways of joining what the ranks of a communicator hold.

    Strategies move what one rank of each node has. To measure them on one machine, where ranks that
    use each other's memory would leave them nothing to do, they get a communicator on which these
    exchange messages only.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
    """

    def __init__(self, comm: Any):
        from g3reduce.mpi import communicators
        from g3reduce.strategies import nodes
        from g3reduce.strategies.measure import measure

        self._direct, self._messages = comm.Dup(), comm.Dup()
        self._machine: dict[bool, Any] = {
            True: None,
            False: None,
        }  # by whether ranks use each other's memory
        if comm.size > 1:
            direct: Any = communicators.private(self._direct)
            messages: Any = communicators.private(self._messages)
            with _messages_only():
                nodes.nodes_of(messages)  # this is found out once
            self._machine = {
                True: measure(nodes.nodes_of(direct)),
                False: measure(nodes.nodes_of(messages)),
            }

    def free(self) -> None:
        """Free the communicators. Collective."""
        self._direct.Free()
        self._messages.Free()

    def ways(self, result: str) -> list[str]:
        """All strategies that can put the result there, and the library's own choice."""
        return ["auto", BY_MESSAGES, *strategies_of(result)]

    def hold(self, n_rows: int, row_length: int, planes: tuple[str, ...]) -> Any:
        """Empty blocks."""
        from g3reduce.arrays.blocks import Blocks

        return Blocks(n_rows, row_length, dict.fromkeys(planes, "f8"))

    def join(self, way: str, blocks: Any, result: Any) -> Any:
        """Join them; what it returns is for `blocks_of` and `account_of`. Collective."""
        strategy = "auto" if way == BY_MESSAGES else way
        return self.join_so(strategy, way == "auto", blocks, result)

    def join_so(self, strategy: str, direct: bool, blocks: Any, result: Any) -> Any:
        """The same by a strategy, in the memory of nodes first or not. Collective."""
        from g3reduce import arrays, strategies

        comm, machine = self._direct if direct else self._messages, self._machine[direct]
        return strategies.reduce(comm, blocks, arrays.SUM, strategy, result=result, machine=machine)

    def blocks_of(self, joined: Any) -> Any:
        """The blocks of the result; None on a rank without any."""
        return joined.blocks

    def account_of(self, joined: Any, comm: Any) -> Row:
        """What was done, over all ranks, and what the cost model had said. Collective."""
        told = joined.statistics
        return {
            "taken": told.strategy,
            "MB moved": comm.allreduce(told.bytes_sent + told.bytes_direct) / 1e6,
            "messages": comm.allreduce(told.messages),
            "predicted ms": told.predicted * 1e3,
        }

    def _comm_of(self, way: str) -> Any:

        return self._direct if way == "auto" else self._messages

    def machine_of(self, way: str) -> Any:
        """The figures of the machine that a way goes by."""
        return self._machine[way == "auto"]

    def nodes_of(self, way: str) -> list[int]:
        """The number of its node, for each rank. Collective."""
        from g3reduce.mpi import communicators
        from g3reduce.strategies import nodes

        ours: Any = communicators.private(self._comm_of(way))
        return list(nodes.nodes_of(ours).numbers)
