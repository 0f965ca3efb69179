"""Restitching: observations whose scans are scattered over ranks become contiguous again.

In reading order:

- `stitch` is what users call for the scans in an `MPIAccumulator`. `files` does the same from files
  to a file: `scanfiles` reads scans, `prefaces` the metadata before them, `scanframes` writes, and
  `summary` says what was written.
- `scans` makes arrays of a Scan frame, with `flags`, and with `lostsamples` in their places.
  `headers` is what all ranks know of all scans, and `accumulated` collects it.
- `timeline` puts these in order, by the `rules` for gaps and overlaps: `samplerate` refuses scans
  that have lost samples, and `sequence` finds scans at the same time and gaps.
- `shares` says who gets what of an observation, and `restitch` brings it there and back.

Imports from `pipeline` and from what is below it.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
