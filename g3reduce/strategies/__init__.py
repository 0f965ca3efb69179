"""Ways of joining what all ranks hold. See `g3reduce.strategies.registry` for the choice."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
