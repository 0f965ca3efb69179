"""Strategies: ways to join the blocks of all ranks.

In reading order: `join`, one reduction from the choice of a strategy to its statistics;
`registry`, the strategies by name; `pairwise`, `collective` and `owner`, the strategies; `rows`,
what they do with rows; `traffic`, the communicator that counts; `costs` and `measure`, by which
``"auto"`` chooses; `nodes`, `peers`, `slices` and `onnode`, the ranks of a node, which use each
other's memory.

Imports from `g3reduce.arrays` and `g3reduce.mpi`.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
