"""FITS files as bytes: headers and small tables by astropy, and checksums."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .entries import Table, as_array

BLOCK = 2880  # all parts of a FITS file are so long, or several of it

# Cards of tables that come back as entries of a frame.
KEY, KIND = "G3KEY", "G3CLASS"

Cards = Sequence[tuple[str, Any, str]]


class Column(NamedTuple):
    """A column of a large table.

    Attributes
    ----------
    name, unit : str
        The unit may be empty.
    kind : str
        As numpy has it, big-endian: ``">f8"``.
    """

    name: str
    unit: str
    kind: str


_FORMATS = {">f8": "D", ">f4": "E", ">i2": "I", ">i4": "J", ">i8": "K"}


def padded(size: int) -> int:
    """The size that a part has in a file."""
    return -(-size // BLOCK) * BLOCK


def creator() -> str:
    """What writes the file: ``g3reduce 0.1.0``."""
    root = __name__.split(".")[0]
    return f"{root} {sys.modules[root].__version__}"


def primary() -> bytes:
    """A first header, without data."""
    from astropy.io import fits

    header = fits.PrimaryHDU().header
    header["CREATOR"] = (creator(), "what wrote this file")
    return checked(header, 0)


def table_header(columns: Sequence[Column], width: int, n_rows: int, cards: Cards) -> Any:
    """The header of a table.

    Parameters
    ----------
    columns : list of Column
    width : int
        How many values of a column there are in a row.
    n_rows : int
    cards : list of (keyword, value, comment)

    Returns
    -------
    astropy.io.fits.Header
        Without checksums.
    """
    from astropy.io import fits

    repeat = str(width) if width > 1 else ""
    made = [
        fits.Column(
            name=column.name,
            format=repeat + _FORMATS[column.kind],
            unit=column.unit or None,
        )
        for column in columns
    ]
    header = fits.BinTableHDU.from_columns(made, nrows=0).header
    header["NAXIS2"] = n_rows
    for keyword, value, comment in cards:
        header[keyword] = (value, comment)
    return header


def checked(header: Any, data_sum: int) -> bytes:
    """A header with the checksums of its part of the file, as the FITS standard has them.

    Parameters
    ----------
    header : astropy.io.fits.Header
    data_sum : int
        The sum of the data, as `sum_of` and `joined_sum` have it.
    """
    header["CHECKSUM"] = ("0" * 16, "checksum of this part of the file")
    header["DATASUM"] = (str(data_sum), "checksum of its data")
    raw = bytes(header.tostring(), "ascii")
    total = joined_sum([sum_of(np.frombuffer(raw, np.uint8)), data_sum])
    header["CHECKSUM"] = (_encoded(~total & 0xFFFFFFFF), "checksum of this part of the file")
    return bytes(header.tostring(), "ascii")


def sum_of(data: NDArray[np.uint8]) -> int:
    """The ones' complement sum of bytes, as of big-endian words; their number is divisible by 4."""
    return joined_sum([int(np.sum(data.view(">u4"), dtype=np.uint64))])


def joined_sum(sums: Iterable[int]) -> int:
    """The sum of parts, in whatever order."""
    total = sum(sums)
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _encoded(value: int) -> str:
    """A checksum as 16 letters and digits: appendix J of the FITS standard 4.0."""
    punctuation = {*range(0x3A, 0x41), *range(0x5B, 0x61)}
    letters = [0] * 16
    for place, byte in enumerate(value.to_bytes(4, "big")):
        quotient, rest = divmod(byte, 4)
        four = [quotient + ord("0") + (rest if not at else 0) for at in range(4)]
        while punctuation & {*four}:
            for at in (0, 2):
                if {four[at], four[at + 1]} & punctuation:
                    four[at] += 1
                    four[at + 1] -= 1
        for at in range(4):
            letters[4 * at + place] = four[at]
    return bytes([letters[-1], *letters[:-1]]).decode("ascii")


def tables_as_bytes(tables: Iterable[Table], cards: Iterable[tuple[str, Any]] = ()) -> bytes:
    """Small tables, each as a part of the file of its own, with these cards besides.

    Texts are escaped as in Python.
    """
    from astropy.io import fits

    parts, cards = [fits.PrimaryHDU()], list(cards)
    for table in tables:
        columns = [_column(name, values) for name, values in table.columns.items()]
        part = fits.BinTableHDU.from_columns(columns, name=escaped(table.key))
        part.header[KEY] = (escaped(table.key), "entry of the frame in a .g3 file")
        part.header[KIND] = (table.kind, "its class there")
        for keyword, value in cards:
            part.header[keyword] = value
        part.add_checksum(when="of this part of the file")  # and not the time: same bits, always
        parts.append(part)
    if len(parts) == 1:
        return b""
    buffer = io.BytesIO()
    fits.HDUList(parts).writeto(buffer)
    return buffer.getvalue()[BLOCK:]


def _column(name: str, values: list[Any]) -> Any:
    from astropy.io import fits

    array = as_array(values)
    if array.dtype == object:
        texts = [escaped(text) for text in values]
        longest = max(map(len, texts), default=0)
        return fits.Column(name=name, format=f"{max(1, longest)}A", array=np.array(texts, "S"))
    kind = {"f": "D", "i": "K", "b": "L"}[array.dtype.kind]
    return fits.Column(name=name, format=kind, array=array)


def escaped(text: str) -> str:
    """A text in ASCII, without spaces at its end, which FITS does not keep."""
    ascii_only = text.encode("unicode_escape").decode("ascii")
    bare = ascii_only.rstrip(" ")
    return bare + r"\x20" * (len(ascii_only) - len(bare))


def unescaped(text: str) -> str:
    """The text that `escaped` was given."""
    return text.encode("ascii").decode("unicode_escape")


def in_table(header: Mapping[str, Any]) -> bool:
    """Whether a part of a file is an entry of a frame."""
    return KEY in header and KIND in header
