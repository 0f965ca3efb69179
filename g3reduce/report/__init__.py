"""Pictures of maps, and the comparison of coadds with spt3g's.

In reading order: `sources`, which maps are drawn; `views`, which pixel of a picture is which
direction; `patch`, the observed part of a frame on the pixels of a view, with `smoothing`;
`panels`, its values in units that people read, with limits and colours; `graticule`, meridians and
parallels; `figures`, with matplotlib; `plot`, all of these together. `histograms` and `spectra` are
other pictures of the same maps. `comparison` compares coadds with spt3g's serial ones.

`page` writes one page about a file of coadds: `pagedata` gathers what it tells, with `pictures`,
whose `planevalues` it holds, and `contributions` of observations; `runlog`, with `timeline`, tells
how a run went. Its template, style and script are in ``pagefiles``. `thumbnails` are small pictures
of coadds in notebooks.

Imports from `analysis`, `formats`, `maps`, `pipeline`, `progress`, and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
