"""The Map frames of a file of any format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from spt3g import core

from ..g3files.names import check_file, refuse_folder
from ..g3files.pieces import Piece
from ..maps import mapfile
from ..maps.assumed import Assumed
from ..pipeline.reader import Opener, WholeFiles, numbered_frames
from ..pipeline.units import Unit, fingerprint_of, set_unit
from ..spt3gtypes import Frame
from .kinds import ALL_ENDINGS, format_of


def map_frames_in(
    file: str | os.PathLike[str],
    *,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> Iterator[Frame]:
    """The Map frames of a file of any format, one after another.

    Parameters
    ----------
    file : name or path
        Its ending says what format it has: see `format_of`.
    pol_conv : {"IAU", "COSMO"}, optional
        The polarization convention of maps of which the file does not say it. What the file says
        is never overruled; this is true of all three.
    coord : {"C", "G", "E", "L"}, optional
        Their coordinate system: equatorial, Galactic, ecliptic, local.
    units : {"K", "mK", "uK", ...}, optional
        Their units, as FITS names them.

    Yields
    ------
    spt3g.core.G3Frame
        With ``Id`` and the maps ``T``, ``Q``, ``U``, ``Wpol`` or ``Wunpol`` and ``H``, as far as
        there are any. Values are in the units of G3 (``core.G3Units``). `g3reduce.unit_of` says
        which file and frame it was.

    Raises
    ------
    UsageError
        If the name has none of the endings.
    InputError
        If the file cannot be read; or does not say what must be known, and none of the arguments
        does. No value is ever guessed.

    Examples
    --------
    >>> for frame in map_frames_in("map.fits", coord="C", pol_conv="COSMO"):  # doctest: +SKIP
    ...     print(frame["Id"], frame["T"].units)
    """
    from .fitsreading import check_assumed

    assumed = Assumed(pol_conv, coord, units).checked()
    check_assumed(assumed)
    return frames_of(os.fspath(file), assumed)


def frames_of(name: str, assumed: Assumed) -> Iterator[Frame]:
    """What `map_frames_in` returns."""
    refuse_folder(name, ALL_ENDINGS)
    kind = format_of(name)
    if kind == "g3":
        return _map_frames(name)
    # Each format is loaded when it is met: each file costs at start-up.
    if kind == "fits":
        from .fitsreading import map_frames_in_fits

        return map_frames_in_fits(name, assumed)
    from .hdf5reading import map_frames_in_hdf5

    return map_frames_in_hdf5(name, assumed)


class _Stored(WholeFiles):
    """Opens files so that the pixels of maps stay there."""

    def frames(self, file: str, piece: Piece) -> Iterator[tuple[int, Frame]]:
        """All frames."""
        return enumerate(mapfile.frames_of(file))


def stored_frames_in(
    file: str,
    *,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> Iterator[Frame]:
    """As `map_frames_in`, but maps of .g3 files are read when they are asked for."""
    refuse_folder(file, ALL_ENDINGS)
    if format_of(file) == "g3":
        return _map_frames(file, _Stored())
    return map_frames_in(file, pol_conv=pol_conv, coord=coord, units=units)


def _map_frames(file: str, opener: Opener | None = None) -> Iterator[Any]:
    check_file(file)
    for index, frame in numbered_frames(opener or WholeFiles(), file, Piece(0)):
        if frame.type == core.G3FrameType.Map:
            set_unit(frame, Unit(file, index, fingerprint=fingerprint_of(frame)))
            yield frame
