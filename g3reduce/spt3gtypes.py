"""Names for spt3g's objects in signatures.

They say what is meant. Type checkers take them for anything, because spt3g comes without types.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Frame: TypeAlias = Any
"""A `spt3g.core.G3Frame`."""

SkyMap: TypeAlias = Any
"""A `spt3g.maps.G3SkyMap`, of whatever geometry; or a `G3SkyMapWeights`, which has several."""
