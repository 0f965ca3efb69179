"""Restitching: observations whose scans are scattered over ranks become contiguous again.

In reading order:

- `stitch` is what users call for scans that an `MPIAccumulator` has; `files` is the same from
  files to a file: `scanfiles` reads, `prefaces` are the metadata before the scans, `scanframes`
  writes, and a `summary` says what was written.
- `scans` makes arrays of a Scan frame, with its `flags` and with its `lostsamples`. All ranks are
  told the `headers` of all scans.
- A `timeline` puts these in order: `samplerate` refuses scans that have lost samples, and a
  `sequence` finds those at the same time and the gaps between.
- `shares` says who gets what of an observation, and `restitch` brings it there.

Imports from `pipeline` and from what is below it.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
