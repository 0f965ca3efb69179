"""Ranks that take files from a shared file system, one after another, until there is none left."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

from g3reduce.model import Cluster


def read_all(sizes: Iterable[float], cluster: Cluster, ranks_per_node: int) -> float:
    """Seconds until all files are read and added.

    Files that are under way share what the file system gives, and what it gives to each node;
    which ranks are idle at the end is the same on all nodes. A rank takes the next file when it is
    done with one, as with ``schedule="dynamic"``.

    Parameters
    ----------
    sizes : iterable of float
        Bytes of each file, in the order in which they are taken; of one that comes slowly, as many
        more.
    cluster : Cluster
    ranks_per_node : int
    """
    files = iter(sizes)
    clock = done = 0.0  # `done`: bytes that a rank has read which was never idle
    under_way: list[float] = []  # what `done` will be when each of them ends
    ranks = cluster.nodes * ranks_per_node
    under_way += itertools.islice(files, ranks)
    heapq.heapify(under_way)
    while under_way:
        end = heapq.heappop(under_way)
        active = len(under_way) + 1
        rate = min(
            cluster.files_rank,
            cluster.files_total / active,
            cluster.files_node * min(1.0, cluster.nodes / active),
        )
        clock += (end - done) / rate
        done = end
        for size in itertools.islice(files, 1):
            heapq.heappush(under_way, end + size)
    return clock
