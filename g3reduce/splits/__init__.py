"""Splits of the input: which map goes to which coadds, and with which sign.

In reading order:

- `splitting` is what users pass as `assign`: `products` of `factors`, side by side.
- `functions` are what users call to make splittings, and the rules in them.
- `rules` say which maps are of a split, and are made of `conditions`. `ruletext` reads them from a
  text, of which `words` and `instants` (dates) are parts.
- `facts` is what rules know of a map. `observing` finds it in frames, `tables` (in any of the
  `tableformats`) in a table of observations; `clocks` tell the time.
- `plan` says of all maps where they go. `planning` makes it, in view of all of them (`overview`):
  `bundling` and `flipping` share them out, by `weights`.
- `repeating` makes coadds again from their ledgers.

Imports from `maps`, `pipeline` and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
