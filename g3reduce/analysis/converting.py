"""Maps from one format into another: `convert`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from ..errors import InputError
from ..formats.firstlook import expand
from ..formats.kinds import format_of
from ..formats.options import WriteOptions
from ..formats.reading import map_frames_in, stored_frames_in
from ..formats.writing import write_maps
from ..g3files.pieces import Piece
from ..mpi.communicators import OneProcess
from ..pipeline.units import length_in_file
from ..progress.events import Observer
from ..progress.reading import NoReading
from ..progress.watching import Watch, require_progress
from ..spt3gmarks import useful
from ..spt3gtypes import Frame
from .sources import Headers
from .unweighted import unweight


@useful
def convert(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_file: str | os.PathLike[str],
    options: WriteOptions | None = None,
    *,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
    progress: bool | Observer | None = None,
) -> list[str]:
    """Write the maps of files of any format into a file of another one.

    Map frames are taken one after another, with their Ids, their ledgers and whatever else is plain
    in them. Frames of other types are left out.

    Parameters
    ----------
    files : name, path or list of these
        Shell patterns are expanded.
    output_file : name or path
        Its ending says the format: see `g3reduce.formats.format_of`. It may be none of the inputs.
    options : g3reduce.formats.WriteOptions, optional
        How maps are written.
    pol_conv, coord, units : str, optional
        Those of maps of which a file does not say it: see `g3reduce.formats.map_frames_in`.
    progress : None, bool or callable, optional
        As in `coadd_files`.

    Returns
    -------
    list of str
        The files that were written: of several maps, a FITS file for each.

    Raises
    ------
    InputError
        If a file cannot be read, or does not say what must be known.
    OutputError
        If a file cannot be written, or is an input.
    UsageError
        If a name says no format.

    Examples
    --------
    >>> convert("coadd.g3", "coadd.fits", WriteOptions(units="uK"))  # doctest: +SKIP
    ['coadd_95GHz.fits', 'coadd_150GHz.fits']
    """
    headers = Headers(pol_conv, coord, units)
    return convert_noting(files, output_file, options, headers, lambda frame: None, progress)


def convert_noting(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_file: str | os.PathLike[str],
    options: WriteOptions | None,
    headers: Headers,
    note: Callable[[Frame], object],
    progress: bool | Observer | None = None,
) -> list[str]:
    """As `convert`; `note` is called with each frame before it is written."""
    require_progress(progress)
    kind = format_of(output_file)
    options = options or WriteOptions()
    divides = options.unweight and kind == "g3"  # other formats do it themselves
    several = isinstance(files, Sequence) and not isinstance(files, str)
    names = expand(files if several else [files])  # type: ignore[list-item,arg-type]

    def frames(reading: NoReading) -> Iterator[Frame]:
        any_met = False
        for number, name in enumerate(names):
            n_frames = 0
            reading.began(Piece(number))
            if kind != "g3" and format_of(name) == "g3":
                found = stored_frames_in(name)  # only their pixels are of use
            else:
                found = map_frames_in(name, **headers._asdict())
            for frame in found:
                any_met, n_frames = True, n_frames + 1
                note(frame)
                yield unweight(frame)[0] if divides else frame
                if reading.watched and name.endswith(".g3"):  # and not compressed
                    reading.passed(Piece(number), length_in_file(frame), n_frames)
            reading.done(Piece(number), name, n_frames)
        if not any_met:
            raise InputError(f"There is no map in {', '.join(names)}.")

    if kind == "g3":
        options = WriteOptions()  # all others are about other formats
    with Watch(OneProcess(), "convert", progress) as watch:
        watch.expect_files(names)
        reading = watch.reading(names, list(map(Piece, range(len(names)))))
        written = write_maps(output_file, frames(reading), options, inputs=names)
        watch.written(written)
    return written
