"""Inner loops that numba compiles, and the choice between these and numpy.

`choice` says which are to be used; `compiled` has the loops, on plain arrays, and knows nothing of
maps or files; `signed` has the one for sign flips; `keeping` keeps what was compiled. Whatever they
do, numpy does with the same bits, but for `signed`, which rounds elsewhere.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
