"""Pictures of coadds, and their comparison with spt3g's.

`plot` draws a Map frame: `patch` takes the observed part out of it, whatever its pixelization, and
`graticule` draws meridians and parallels. `comparison` compares coadds with spt3g's serial ones.
Imports from `maps` and `pipeline`, and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
