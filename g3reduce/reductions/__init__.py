"""Reductions: as data, and those that are ready for use.

Each of the ready ones is a function that returns a `Reduction` for `g3reduce.MPIReducer`. It is
told what to take from a frame: the name of a key, or a function of the frame, which returns None
for a frame that does not take part. Frames without the key do not take part.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
