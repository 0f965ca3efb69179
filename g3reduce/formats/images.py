"""Images in FITS files: headers by astropy, pixels block by block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .wcs import Card

_UNIT = 2880  # bytes: of headers and data there are as many of these as it takes
_BLOCK = 2**17  # pixels that are turned into bytes of the file at once


class Written(Protocol):
    """Where bytes go."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Write all of it."""


def write_image(
    file: Written,
    shape: Sequence[int],
    cards: Iterable[Card],
    planes: Iterable[NDArray[np.float64]],
    *,
    primary: bool,
) -> None:
    """Write an HDU that is an image of float64.

    Parameters
    ----------
    file : file
    shape : tuple of int
        Of the whole image, as numpy has it.
    cards : iterable of (name, value)
        What its header says beside that.
    planes : iterable of float64 array
        Its pixels, in order; no more than one is held at once.
    primary : bool
        Whether it is the first HDU.
    """
    from astropy.io import fits

    header = fits.Header()
    if primary:
        header["SIMPLE"] = True
    else:
        header["XTENSION"] = "IMAGE"
    header["BITPIX"], header["NAXIS"] = -64, len(shape)
    for axis, length in enumerate(reversed(shape), 1):
        header[f"NAXIS{axis}"] = length
    if primary:
        header["EXTEND"] = True
    else:
        header["PCOUNT"], header["GCOUNT"] = 0, 1
    for name, value in cards:
        header[name] = value
    file.write(header.tostring().encode("ascii"))
    n_bytes = 0
    for plane in planes:
        flat = plane.reshape(-1)
        for begin in range(0, len(flat), _BLOCK):
            n_bytes += file.write(flat[begin : begin + _BLOCK].astype(">f8").tobytes())
    file.write(bytes(-n_bytes % _UNIT))


def read_plane(hdu: Any, index: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """One plane of an image, as (n_y, n_x) float64: the others are not read.

    Parameters
    ----------
    hdu : astropy.io.fits HDU
    index : tuple of int
        Which plane: as many numbers as the image has axes beside the last two.
    where : str
        How messages name it.

    Raises
    ------
    InputError
        If the file is broken there.
    """
    try:
        plane = (*index, slice(None), slice(None))
        return np.array(hdu.section[plane], np.float64)
    except (OSError, ValueError, TypeError, IndexError, EOFError) as error:
        raise InputError(
            f"{where}: its pixels cannot be read ({error}). Was the file cut off?",
            fault="pixels that cannot be read",
        ) from error
