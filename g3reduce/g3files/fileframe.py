"""A G3Frame that came from a file, which errors name where a value cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from spt3g import core

from ..errors import InputError
from .frames import Fingerprint

# Errors that spt3g raises for bytes that are not valid; KeyError, too.
SPT3G_ERRORS = (RuntimeError, MemoryError, ValueError, OverflowError, KeyError)


def first_line(error: Exception) -> str:
    """The first line of the message of an error of spt3g, without the place in its source."""
    return str(error).split("\n")[0].split(" (in ")[0] or type(error).__name__


def undecodable(where: object, key: str, error: Exception) -> InputError:
    """The error for a value of a frame that spt3g cannot make of its bytes."""
    return InputError(
        f"{where}: {key!r} cannot be decoded, though the checksum of the frame is right "
        f"({first_line(error)}). Was it written by another version of spt3g, or by a package that "
        "is to be imported first?",
        fault=f"{key!r} cannot be decoded",
    )


class FileFrame(core.G3Frame):  # type: ignore[misc]
    """A frame of a file. It is a `G3Frame`; values are decoded when they are asked for.

    Attributes
    ----------
    span : Span or None
        Where it lies, if that is known.
    fingerprint : Fingerprint or None
        Of a Map frame, if its bytes were seen.
    """

    span: Any = None
    fingerprint: Fingerprint | None = None
    unit: Any = None
    # In a frame that is no Map frame: keys of maps, under which there are maps.
    maps_inside: Sequence[str] = ()
    # Keys whose values must not be decoded, and why.
    broken: Mapping[str, str] = MappingProxyType({})
    # For messages; of a G3Frame only spt3g's reader can set it.
    _filename: str | None = None
    _index = 0

    def of(self, file: str, index: int) -> FileFrame:
        """Record where it came from; return itself."""
        self._filename, self._index = file, index
        return self

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        try:
            if key in self.broken:
                raise ValueError(self.broken[key])
            return super().__getitem__(key)
        except SPT3G_ERRORS as error:
            where = self.unit or f"{self._filename}, frame {self._index}"
            raise undecodable(where, key, error) from error

    def get(self, key: str, default: Any = None) -> Any:
        """A value, or `default` if there is none."""
        return self[key] if key in self else default  # noqa: SIM401 (which is this)

    def pop(self, key: str, *default: Any) -> Any:
        """Take a value out of the frame."""
        if key in self:
            self[key]
        return super().pop(key, *default)

    def values(self) -> list[Any]:
        """All values."""
        return [self[key] for key in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """All keys and values."""
        return [(key, self[key]) for key in self.keys()]
