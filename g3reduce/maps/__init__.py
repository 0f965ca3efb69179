"""Map frames as pixels: read from frames and files, checked, summed, and written.

In reading order: `pixels` and `chunks`, the pixels of a map; `agreement` and `attributes`, what
maps must agree in; `mapframe`, a frame that is ready to be added; `weighting` and `finite`, what is
done to its pixels before; `storedframe` and `mapfile`, map frames in files; `numbering` and
`positions`, where pixels stand in a sum; `planesums`, `summary` and `mapsum`, the sum; `flips` and
`realisations`, sums of the same frames with other signs beside it, with what is `shared` by these;
`digest`, hashes of maps; `stokes`, unweighted maps and their weights, with the `matrices` of each
pixel; `unweighting`, maps divided by their weights as spt3g does it. `fromarrays` makes frames of
numpy arrays, with `footprints`; `toarrays` makes arrays of frames. `solidangles` are those of
pixels, and `coverage` tells what a sum covers. `mapunits` and `wcs` are units
and flat-sky geometries, as files and people name them.

Imports from `g3reduce.arrays` and `g3reduce.g3files`.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
