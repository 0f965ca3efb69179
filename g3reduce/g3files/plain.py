"""Values of a frame that can be read before its checksum is compared, as spt3g has them."""

from __future__ import annotations

from typing import Any

from spt3g import core

from .values import integer_in, named_numbers_in, named_strings_in, string_in, strings_in


def plain_value(blob: bytes) -> Any:
    """A string, an integer, or strings or numbers by names; None if this is something else."""
    for read in (string_in, integer_in):
        if (value := read(blob)) is not None:
            return value
    if (texts := strings_in(blob)) is not None:
        return core.G3VectorString(texts)
    if (named_texts := named_strings_in(blob)) is not None:
        return core.G3MapVectorString(named_texts)
    if (named_numbers := named_numbers_in(blob)) is not None:
        return core.G3MapVectorDouble(named_numbers)
    return None
