"""Values of a frame, looked at in their bytes before spt3g decodes them.

A value is an archive: it begins with the length and the name of its class. In strings, vectors and
maps of spt3g the number of their items follows, and each string has its length in front. spt3g
trusts all these numbers, and takes as much memory as they say. In bytes that are broken under a
right checksum they may be any.

Here they must fit into the size of the value. So strings may be read before the checksum of their
frame is compared, and spt3g is not given what it would take too much memory for. Numbers that stand
deeper in an archive are left to it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from .archive import F64, NEW, head_of
from .frames import RawFrame
from .source import MemoryBytes

T = TypeVar("T")

# Byte order, number of the class, length of its name; after the name the number of the object and
# the versions of its class and of G3FrameObject; the number of items, or the length of a string.
_HEAD, _REST, _COUNT = struct.Struct("<BIQ"), struct.Struct("<III"), struct.Struct("<Q")
_VERSIONS = (1, 1)
_STRING, _STRINGS, _INTEGER = head_of("G3String"), head_of("G3VectorString"), head_of("G3Int")
_NAMED_STRINGS, _NAMED_NUMBERS = head_of("G3MapVectorString"), head_of("G3MapVectorDouble")
_VALUE_OF_INTEGER = struct.Struct("<q")
_BEGINNING, _AHEAD = 96, 1024
# Those of which each item takes a byte at least. Others, of integers, say first how wide these are.
_COUNTED = frozenset(
    name.encode()
    for name in (
        *("G3String", "G3VectorString", "G3VectorVectorString", "G3VectorDouble", "G3VectorBool"),
        *("G3VectorUnsignedChar", "G3VectorComplexDouble", "G3VectorTime", "G3VectorQuat"),
        *("G3VectorFrameObject", "G3MapString", "G3MapDouble", "G3MapTime", "G3MapQuat"),
        *("G3MapVectorString", "G3MapVectorVectorString", "G3MapVectorDouble", "G3MapVectorBool"),
        *("G3MapVectorComplexDouble", "G3MapVectorTime", "G3MapVectorQuat", "G3MapMapDouble"),
    )
)


def string_in(blob: bytes) -> str | None:
    """The text of a G3String; None if this is none."""
    found = _strings(blob.removeprefix(_STRING), 1) if blob.startswith(_STRING) else None
    return found[0] if found else None


def strings_in(blob: bytes) -> list[str] | None:
    """The texts of a G3VectorString; None if this is none."""
    begin = len(_STRINGS) + _COUNT.size
    if not blob.startswith(_STRINGS) or len(blob) < begin:
        return None
    (count,) = _COUNT.unpack_from(blob, len(_STRINGS))
    return _strings(blob[begin:], count)


def integer_in(blob: bytes) -> int | None:
    """The number of a G3Int; None if this is none."""
    value = blob.removeprefix(_INTEGER)
    if len(value) != _VALUE_OF_INTEGER.size or not blob.startswith(_INTEGER):
        return None
    return int(_VALUE_OF_INTEGER.unpack(value)[0])


def named_strings_in(blob: bytes) -> dict[str, list[str]] | None:
    """The texts of a G3MapVectorString, by their names; None if this is none."""
    return _named(blob, _NAMED_STRINGS, _strings_at)


def named_numbers_in(blob: bytes) -> dict[str, list[float]] | None:
    """The numbers of a G3MapVectorDouble, by their names; None if this is none."""
    return _named(blob, _NAMED_NUMBERS, _numbers_at)


def _named(
    blob: bytes, head: bytes, items_at: Callable[[bytes, int, int], tuple[list[T], int]]
) -> dict[str, list[T]] | None:
    """Vectors by their names; None if this is another value, or one that is broken."""
    if not blob.startswith(head):
        return None
    found: dict[str, list[T]] = {}
    try:
        (n_names,) = _COUNT.unpack_from(blob, len(head))
        position = len(head) + _COUNT.size
        for _ in range(n_names):
            (name,), position = _strings_at(blob, position, 1)
            (count,) = _COUNT.unpack_from(blob, position)
            found[name], position = items_at(blob, position + _COUNT.size, count)
    except (struct.error, UnicodeDecodeError, _CutOff):  # which spt3g will report
        return None
    return found if position == len(blob) else None


class _CutOff(Exception):
    """A value claims more than there is."""


def _strings_at(data: bytes, position: int, count: int) -> tuple[list[str], int]:
    """So many strings with their lengths in front, and where they end."""
    if count > (len(data) - position) // _COUNT.size:
        raise _CutOff
    texts = []
    for _ in range(count):
        begin = position + _COUNT.size
        position = begin + _COUNT.unpack_from(data, position)[0]
        if position > len(data):
            raise _CutOff
        texts.append(data[begin:position].decode())
    return texts, position


def _numbers_at(data: bytes, position: int, count: int) -> tuple[list[float], int]:
    """So many numbers, and where they end."""
    end = position + F64.size * count
    if end > len(data):
        raise _CutOff
    return np.frombuffer(data[position:end], "<f8").tolist(), end


def _strings(data: bytes, count: int) -> list[str] | None:
    """So many strings with their lengths in front, and nothing else; None if they are not."""
    try:
        texts, end = _strings_at(data, 0, count)
    except (struct.error, UnicodeDecodeError, _CutOff):  # which spt3g will report
        return None
    return texts if end == len(data) else None


def problem_of(head: bytes, size: int) -> str:
    """The reason why an archive of this size cannot begin like this; empty if it can.

    Parameters
    ----------
    head : bytes
        How it begins.
    size : int
    """
    if len(head) < _HEAD.size:
        return ""
    order, number, length = _HEAD.unpack_from(head)
    if order != 1 or not number & NEW:
        return ""
    if length > size - _HEAD.size:
        return f"the name of its class should have {length} bytes"
    name = head[_HEAD.size : _HEAD.size + length]
    rest_at = _HEAD.size + length
    count_at = rest_at + _REST.size
    if name not in _COUNTED or len(head) < count_at + _COUNT.size:
        return ""
    if _REST.unpack_from(head, rest_at)[1:] != _VERSIONS:
        return ""
    (count,) = _COUNT.unpack_from(head, count_at)
    left = size - count_at - _COUNT.size
    return f"{count} items of a {name.decode()} in {left} bytes" if count > left else ""


def broken_values(raw: RawFrame) -> dict[str, str]:
    """The keys of a frame whose values would make spt3g take memory on a claim, and why."""
    if not raw.native:
        return {}
    found = {}
    held = MemoryBytes(b"")
    for blob in raw.blobs:
        size = min(blob.size, _BEGINNING)
        if blob.offset + size > held.size:  # small values lie close to each other
            data = raw.source.read(blob.offset, min(raw.end - blob.offset, _AHEAD))
            held = MemoryBytes(data, begin=blob.offset)
        if problem := problem_of(held.read(blob.offset, size), blob.size):
            found[blob.name] = problem
    return found
