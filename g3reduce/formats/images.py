"""Images in FITS files: their headers, and their planes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..maps.wcs import Card


def image_header(shape: Sequence[int], cards: Iterable[Card], *, primary: bool) -> Any:
    """The header of an image of float64.

    Parameters
    ----------
    shape : tuple of int
        Of the image, as numpy has it.
    cards : iterable of (name, value)
        What it says beside that.
    primary : bool
        Whether it is the first of the file.

    Returns
    -------
    astropy.io.fits.Header
        Without checksums.
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
    return header


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
