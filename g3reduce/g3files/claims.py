"""Lengths in the archives of values, looked at before spt3g takes memory on their word.

An archive begins with the length and the name of its class. In strings, vectors and maps of spt3g
the number of their items follows. Either may be any number in bytes that are broken under a right
checksum, and spt3g would take so much memory. Lengths that stand deeper in an archive are left to
it.
"""

from __future__ import annotations

import struct

from .frames import RawFrame
from .source import MemoryBytes

# Byte order, number of the class (its high bit: a name follows), length of that name; behind it
# the number of the object and the versions of its class and of G3FrameObject; the number of items.
_HEAD, _REST, _COUNT = struct.Struct("<BIQ"), struct.Struct("<III"), struct.Struct("<Q")
_NEW, _VERSIONS = 0x80000000, (1, 1)
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


def problem_of(head: bytes, size: int) -> str:
    """What cannot be in an archive of this size; empty if nothing is known against it.

    Parameters
    ----------
    head : bytes
        How it begins.
    size : int
    """
    if len(head) < _HEAD.size:
        return ""
    order, number, length = _HEAD.unpack_from(head)
    if order != 1 or not number & _NEW:
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
