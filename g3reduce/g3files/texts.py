"""Strings in the bytes of a frame, read without decoding.

spt3g believes the lengths in an archive. Here they must add up to the size of the blob, so that
strings may be read before the checksum of their frame was compared.
"""

from __future__ import annotations

import struct

_LENGTH = struct.Struct("<Q")


def _head(name: str) -> bytes:
    """How the archive of an object begins that has no other objects in it."""
    # Byte order; number and name of the class, which is new; the same of the object; versions.
    return struct.pack(
        f"<BIQ{len(name)}sIII", 1, 0x80000001, len(name), name.encode(), 0x80000001, 1, 1
    )


_STRING, _STRINGS = _head("G3String"), _head("G3VectorString")


def string_in(blob: bytes) -> str | None:
    """The text of a G3String; None if this is none."""
    found = _strings(blob.removeprefix(_STRING), 1) if blob.startswith(_STRING) else None
    return found[0] if found else None


def strings_in(blob: bytes) -> list[str] | None:
    """The texts of a G3VectorString; None if this is none."""
    begin = len(_STRINGS) + _LENGTH.size
    if not blob.startswith(_STRINGS) or len(blob) < begin:
        return None
    (count,) = _LENGTH.unpack_from(blob, len(_STRINGS))
    return _strings(blob[begin:], count)


def _strings(data: bytes, count: int) -> list[str] | None:
    """So many strings with their lengths in front, and nothing else; None if they are not."""
    if count > len(data) // _LENGTH.size:
        return None
    texts, position = [], 0
    for _ in range(count):
        begin = position + _LENGTH.size
        if begin > len(data):
            return None
        position = begin + _LENGTH.unpack_from(data, position)[0]
        try:
            texts.append(data[begin:position].decode())
        except UnicodeDecodeError:  # which spt3g will tell
            return None
    return texts if position == len(data) else None
