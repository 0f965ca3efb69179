"""Ways of joining what all ranks hold. See `g3reduce.strategies.registry` for the choice."""

from __future__ import annotations

from .registry import AUTO, RESULTS, Strategy, choose, names, reduce

__all__ = ["AUTO", "RESULTS", "Strategy", "choose", "names", "reduce"]
