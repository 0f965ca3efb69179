"""Vectors of numbers, and texts, as spt3g writes them: from arrays and back without its objects.

spt3g writes integers as narrow as they allow; here they are always written in 64 bits, which it
reads as well.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .archive import U32, U64, head_of
from .frames import Blob, Piece, RawFrame

_TEXT = head_of("G3String")
_FLOATS = head_of("G3VectorDouble")
_INTS = head_of("G3VectorInt", 2)
_WIDTHS = (8, 16, 32, 64)
_SIZES = struct.Struct("<IQ")  # of integers: their bits, and how many there are


def blob_of(value: str | NDArray[Any]) -> tuple[int, Sequence[Piece]]:
    """A text, or an array of float64 or int64, as the content of an entry: its size, and pieces."""
    if isinstance(value, str):
        text = value.encode()
        head, size = _TEXT + U64.pack(len(text)), len(text)
        return len(head) + size, [head, text]
    flat = np.ascontiguousarray(value).reshape(-1)
    if flat.dtype == np.float64:
        head = _FLOATS + U64.pack(len(flat))
    elif flat.dtype == np.int64:
        head = _INTS + _SIZES.pack(64, len(flat))
    else:
        raise TypeError(f"an array of {flat.dtype}")
    return len(head) + flat.nbytes, [head, flat]


def numbers_in(raw: RawFrame, blob: Blob) -> NDArray[Any]:
    """The numbers of a G3VectorDouble or G3VectorInt, as float64 or int64.

    Parameters
    ----------
    raw : RawFrame
        Its checksum must have been compared.
    blob : Blob

    Raises
    ------
    InputError
        If it is neither, or not as long as it says.
    """
    longest = len(_FLOATS) + _SIZES.size
    head = raw.source.read(blob.offset, min(blob.size, longest))
    if head.startswith(_FLOATS) and len(head) >= len(_FLOATS) + U64.size:
        begin, dtype = len(_FLOATS) + U64.size, np.dtype("<f8")
    elif head.startswith(_INTS) and len(head) >= len(_INTS) + _SIZES.size:
        begin = len(_INTS) + _SIZES.size
        (bits,) = U32.unpack_from(head, len(_INTS))
        if bits not in _WIDTHS:
            raise _refused(raw, blob, f"integers of {bits} bits")
        dtype = np.dtype(f"<i{bits // 8}")
    else:
        raise _refused(raw, blob, "something else")
    (count,) = U64.unpack_from(head, begin - U64.size)
    if begin + count * dtype.itemsize != blob.size:
        raise _refused(raw, blob, f"{count} items in {blob.size - begin} bytes")
    numbers = np.empty(count, dtype)
    raw.source.read_into(blob.offset + begin, numbers.view(np.uint8).data)
    return numbers.astype(np.float64 if dtype.kind == "f" else np.int64, copy=False)


def _refused(raw: RawFrame, blob: Blob, found: str) -> InputError:
    return InputError(
        f"{raw}, byte {blob.offset}: {blob.name} cannot be read; expected a vector of numbers, "
        f"found {found}."
    )
