"""Ways of joining what all ranks hold. See `g3reduce.strategies.registry` for the choice."""

from __future__ import annotations

from .costs import Machine, Profile
from .join import Reduced, reduce
from .measure import measure
from .registry import AUTO, RESULTS, Strategy, check, names, predict, register, register_strategy
from .traffic import Statistics, Traffic

__all__ = [
    "AUTO",
    "RESULTS",
    "Machine",
    "Profile",
    "Reduced",
    "Statistics",
    "Strategy",
    "Traffic",
    "check",
    "measure",
    "names",
    "predict",
    "reduce",
    "register",
    "register_strategy",
]
