"""What is done with coadds: differences, null tests, noise, comparison.

In reading order: `sources`, what all functions take; `pairing`, which map goes with which;
`differencing`, half differences; `nulltest` and `nullnoise`, their `chisquare`, and that of sign
flips; `realisations`, sign flips found; `noise`, with `depths`, `masks`, `spectra`,
`independence` and `noisefiles`; `unweighted`; `comparing` and `comparison`, `describing` and
`description`, with `allmaps`; `tables`.

Imports from `coadd`, `formats`, `maps`, `pipeline` and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
