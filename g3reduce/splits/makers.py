"""Rules by what is known of maps."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from .rules import Every, Matches, Rule


def everything() -> Rule:
    """Every map."""
    return Every()


def map_id(pattern: str) -> Rule:
    """Maps whose Id matches a pattern of ``*``, ``?`` and ``[...]``, as file names do."""
    return Matches("id", _pattern("map_id", pattern))


def source(pattern: str) -> Rule:
    """Maps of sources (``SourceName``) that match a pattern."""
    return Matches("source", _pattern("source", pattern))


def observation(pattern: str) -> Rule:
    """Maps of observations that match a pattern: ``SourceName/ObservationID``, or the last part."""
    return Matches("observation", _pattern("observation", pattern))


def file(pattern: str) -> Rule:
    """Maps of files that match a pattern, with their folders or without."""
    return Matches("file", _pattern("file", pattern))


def _pattern(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name}({value!r}); expected a pattern, such as '150GHz*'.")
    return value
