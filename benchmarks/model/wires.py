"""When messages between ranks end: links of nodes that are shared, and memory that is."""

from __future__ import annotations

from g3reduce.strategies.costs import Machine, Profile


class OneCall(Profile):
    """The profile of one collective call, which was cut into pieces before."""

    def calls(self, nbytes: float, piece: int) -> float:
        """One."""
        return 1.0


class Wires:
    """The links between ranks, and until when each is busy.

    Parameters
    ----------
    machine : Machine
    nodes : list of int
        The node of each rank.
    """

    def __init__(self, machine: Machine, nodes: list[int]):
        self.machine = machine
        self.nodes = nodes
        count = max(nodes) + 1
        self._out = [0.0] * count
        self._in = [0.0] * count
        self._inside: list[list[float]] = [[] for _ in range(count)]
        per_node = max(nodes.count(node) for node in set(nodes))
        self.profile = OneCall(len(nodes), per_node, 1.0, 1.0, 1.0, machine=machine)
        self.sent_between = 0

    def carry(self, source: int, dest: int, nbytes: float, start: float) -> float:
        """The time at which a message is there that could begin at `start`."""
        here, there = self.nodes[source], self.nodes[dest]
        machine = self.machine
        if here != there:
            start = max(start, self._out[here], self._in[there])
            end = start + nbytes / machine.bandwidth_between
            self._out[here] = self._in[there] = end
            self.sent_between += int(nbytes)
            return end + machine.latency_between
        under_way = [end for end in self._inside[here] if end > start]
        rate = machine.alone_within
        if under_way:
            rate = min(rate, 2 * machine.bandwidth_within)
        end = start + nbytes / rate + machine.latency_within
        self._inside[here] = [*under_way, end]
        return end
