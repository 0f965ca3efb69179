"""What is done with coadds: differences, null tests, noise, comparison.

Imports from `coadd`, `formats`, `maps`, `pipeline` and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
