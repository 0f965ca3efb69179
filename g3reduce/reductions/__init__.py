"""Reductions of anything that frames hold: ready ones, and the module that does them.

Each of the ready ones is a function that returns a `Reduction` for `g3reduce.MPIReducer`. Its
first argument says what to take from a frame: the name of a key, or a function of the frame, which
returns None for a frame that does not take part. Frames without the key do not take part.

In reading order: `taking`, what is taken from frames; `counts`, `moments` and `spectra`, the ready
reductions; `reducer`, the module; `groups`, its states by group; `states`, a state as arrays and
structure; `elements` and `held`, states that are combined element by element; `elementjoin` and
`wholes`, the join over all ranks.

Imports from `g3reduce.arrays`, `g3reduce.mpi`, `g3reduce.pipeline`, `g3reduce.strategies` and
`g3reduce.g3files`.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
