"""Files of maps: .g3, FITS and HDF5, by the name of the file.

In reading order: `kinds`, which format a name means; `options`, what can be chosen; `entries`,
whatever a frame has beside maps; `pixeltable`, a frame as a table of pixels.
`writing` is the way out: `healpixcolumns` and `healpixfits` with `fitsbytes`; `flatfits` with
`images`; and `hdf5writing` with `hdf5output`. `reading` is the way in, after `firstlook` at names:
`fitsreading` with `healpixreading` and `flatreading`, which finds `companions`; and `hdf5reading`;
`hdf5` is the layout of these files.

Imports from `maps`, `pipeline` and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
