"""What a coadd will take: time, memory and strategy, from figures of files and nodes.

In reading order: `figures`, what is to be done and on what; `memory`, what ranks hold while sums
are joined; `forecasting`, from these to a forecast, and the best number of ranks.

Imports from `strategies`, whose costs are those by which ``"auto"`` chooses.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
