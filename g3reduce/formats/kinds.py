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


ALL_ENDINGS = tuple(ending for endings in ENDINGS.values() for ending in endings)


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
    what = (
        "this is a folder" if os.path.isdir(name) else "the name does not say what format this is"
    )
    raise UsageError(f"{name or repr(name)}: {what}; expected one of {listed}.")


def split_name(file: str) -> tuple[str, str]:
    """A name without its ending, and that."""
    ending = max((one for one in ENDINGS[format_of(file)] if file.endswith(one)), key=len)
    return file.removesuffix(ending), ending


def bare_name(file: str) -> str:
    """The name of a file without its folder and its ending."""
    return os.path.basename(split_name(file)[0])


def distinct_name(map_id: str, met: set[str]) -> str:
    """An Id as a part of the name of a file or a group, different from those that were met."""
    name = bare = map_id.replace("/", "_").strip(" .") or "map"
    number = 1
    while name in met:
        number += 1
        name = f"{bare}_{number}"
    met.add(name)
    return name
