"""Map frames into files of any format."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import UsageError
from ..pipeline.output import check_output, write_frames
from ..spt3gtypes import Frame
from .kinds import format_of
from .options import WriteOptions


def write_maps(
    file: str | os.PathLike[str],
    frames: Frame | Iterable[Frame],
    options: WriteOptions | None = None,
) -> list[str]:
    """Write Map frames into a file, in the format that its name stands for.

    A file has its name once it is complete; one that was there is replaced then.

    Parameters
    ----------
    file : name or path
        See `format_of`. .g3 and HDF5 files hold any number of frames. A FITS file holds one map:
        of several, each gets a file of its own, with its Id in the name.
    frames : G3Frame, or an iterable of them
        They are taken one after another.
    options : WriteOptions, optional
        How they are written.

    Returns
    -------
    list of str
        The files that were written.

    Raises
    ------
    OutputError
        If a file cannot be written.
    UsageError
        If the name has none of the endings.

    Examples
    --------
    >>> write_maps("coadd.fits", coadds.values(), WriteOptions(units="uK"))  # doctest: +SKIP
    ['coadd_90GHz.fits', 'coadd_150GHz.fits']
    """
    name = os.fspath(file)
    options = options or WriteOptions()
    kind = format_of(name)
    if hasattr(frames, "type"):  # one alone
        frames = [frames]
    if kind == "g3":
        check_output(name)
        write_frames(name, frames)
        return [name]
    raise UsageError(f"{name}: files of this format ({kind}) cannot be written yet, {options}.")
