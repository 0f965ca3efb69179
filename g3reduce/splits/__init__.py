"""Splits of the input: which map goes to which coadds, and with which sign.

In reading order:

- `splitting` is what users pass as `assign`: a sum of products of `factors`. `rules` say which maps
  are of a split; `makers` makes them.
- `facts` is what rules know of a map, and `observing` finds it in frames.
- `plan` says of all maps where they go, and `planning` makes it: `bundling` and `flipping` share
  maps out by their names, which `identity` gives to them; `overview` is all maps together.

Imports from `maps`, `pipeline` and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
