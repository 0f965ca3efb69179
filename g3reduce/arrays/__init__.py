"""The numpy arrays under all sums, without MPI and without maps.

In reading order: `blocks`, rows of arrays of which some are held; `memory`, fresh arrays for them
(private, or shared on a node); `reduction`, an operation as data; `arithmetic`, how numbers are
added to blocks; `exactness`, the wish for exact sums and their grids; `exact`, these sums as limbs;
`exactarithmetic`, how numbers are added to them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
