"""The formats of files of maps, by the names of the files."""

from __future__ import annotations

import os

from ..choices import MapFormat
from ..errors import UsageError
from ..g3files.names import SUFFIXES

ENDINGS: dict[MapFormat, tuple[str, ...]] = {
    "g3": SUFFIXES,
    "fits": (".fits", ".fits.gz", ".fit", ".fit.gz"),
    "hdf5": (".h5", ".hdf5"),
}


def format_of(file: str | os.PathLike[str]) -> MapFormat:
    """The format that the name of a file stands for.

    Parameters
    ----------
    file : name or path
        It need not exist.

    Returns
    -------
    {"g3", "fits", "hdf5"}

    Raises
    ------
    UsageError
        If the name ends in none of the endings, which are listed.

    Examples
    --------
    >>> format_of("coadd.g3.gz"), format_of("coadd.fits"), format_of("coadd.h5")
    ('g3', 'fits', 'hdf5')
    """
    name = os.fspath(file)
    for kind, endings in ENDINGS.items():
        if name.endswith(endings):
            return kind
    listed = "; ".join(f"{kind}: {', '.join(endings)}" for kind, endings in ENDINGS.items())
    raise UsageError(
        f"{name}: the name does not say what format this is; expected one of {listed}."
    )
