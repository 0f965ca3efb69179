"""Files of maps: .g3, FITS and HDF5, by the name of the file.

In reading order: `kinds`, which format a name means; `options`, what can be chosen where maps are
written; `reading` and `writing`, the way in and the way out, from which each format has files of
its own.

Imports from `maps`, `pipeline` and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
