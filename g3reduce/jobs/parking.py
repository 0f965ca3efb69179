"""Coadds of earlier passes, which wait on the disk until those of all passes are there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import IO

from ..coadd.joining import Coadd
from ..g3files.frames import Sink
from ..g3files.outputfile import as_output_error
from ..spt3gtypes import Frame

_PIECE = 2**24


class Parked:
    """A coadd of which the frame was written, and is to be written once more.

    Parameters
    ----------
    frame : G3Frame
        What is returned of it.
    file : file object or None
        Where its bytes are, if it is to be written.
    begin, end : int
        Where they are there.
    """

    def __init__(self, frame: Frame, file: IO[bytes] | None, begin: int = 0, end: int = 0):
        self._frame = frame
        self._file, self._begin, self._end = file, begin, end

    def to_frame(self) -> Frame:
        """The frame, with its maps if they were to be kept."""
        return self._frame

    outline = to_frame

    def write(self, file: Sink) -> None:
        """Write the frame to a file."""
        if self._file is None:
            raise TypeError("a coadd that was not written before")
        self._file.seek(self._begin)
        left = self._end - self._begin
        while left:
            data = self._file.read(min(left, _PIECE))
            if not data:
                raise OSError("the temporary file is shorter than what was written to it")
            file.write(data)
            left -= len(data)


class Parking:
    """The coadds of some passes.

    Parameters
    ----------
    output : str or None
        The file in which they will be: those of earlier passes lie beside it, in a file without a
        name, which is gone when this process is. None if they need not be written here.
    """

    def __init__(self, output: str | None):
        self.coadds: dict[str, Parked] = {}
        self._output = output
        self._file: IO[bytes] | None = None
        if output is not None:
            folder = os.path.dirname(os.path.realpath(output))
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (used as long as this)

    def take(self, made: Mapping[str, Coadd | Parked], *, keep_maps: bool) -> None:
        """Take coadds out of memory, but for their frames if maps are to be kept.

        Raises
        ------
        OutputError
        """
        for name, coadd in made.items():
            frame = coadd.to_frame() if keep_maps else coadd.outline()
            if self._file is None or self._output is None:
                self.coadds[name] = Parked(frame, None)
                continue
            begin = self._file.seek(0, os.SEEK_END)
            with as_output_error(self._output):
                coadd.write(self._file)
                self._file.flush()
            self.coadds[name] = Parked(frame, self._file, begin, self._file.tell())

    def close(self) -> None:
        """Give the disk back."""
        if self._file is not None:
            self._file.close()
