"""Writing .g3 files so that they are either whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from io import FileIO
from typing import Any

from spt3g import core

from .errors import OutputError
from .inputs import SUFFIXES


def check_output(file: str, inputs: Sequence[str] = ()) -> None:
    """Find out before the work begins whether its result can be written.

    Raises
    ------
    OutputError
        If the name is not one that spt3g writes, the folder is missing or read-only, or the file
        is one of the inputs.
    """
    if not file.endswith(SUFFIXES):
        raise OutputError(
            f"{file}: the name of the output must end in {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}."
        )
    folder = os.path.dirname(file) or "."
    if not os.path.isdir(folder):
        raise OutputError(f"{file}: there is no folder {folder}.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{file}: the folder {folder} cannot be written to.")
    longest = os.pathconf(folder, "PC_NAME_MAX")
    if len(os.path.basename(_partial(file)).encode()) > longest:
        raise OutputError(f"{file}: the name is too long; {longest - 30} bytes are safe.")
    if os.path.isdir(file):
        raise OutputError(f"{file}: this is a folder; expected the name of a file.")
    if os.path.exists(file):
        same = next((name for name in inputs if _same_file(name, file)), None)
        if same is not None:
            raise OutputError(
                f"{file}: the output is also an input ({same}), so an earlier result would be "
                "added to the new one. Name another output, or take it out of the inputs."
            )


def write_frames(file: str, frames: Iterable[Any]) -> None:
    """Write frames beside the file, then rename, so that nobody ever sees half of it.

    An existing file is replaced only then.

    Parameters
    ----------
    file : str
    frames : iterable
        Of ``spt3g.core.G3Frame``, or of what can write itself: it has ``write(file)``, which takes
        a file object, and ``to_frame()`` for files that spt3g has to write.

    Raises
    ------
    OutputError
        If writing fails. What was there before is still there, and nothing else is left.
    """
    file = os.path.realpath(file)  # of a link, its target is replaced
    partial = _partial(file)
    try:
        if file.endswith(".g3"):
            _write_plain(partial, frames)
        else:
            _write_by_spt3g(partial, frames)
        os.replace(partial, file)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(f"{file}: writing failed ({reason}).") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


def _write_plain(file: str, frames: Iterable[Any]) -> None:
    # Without a buffer: pieces are large, and fresh memory for another copy costs more.
    with open(file, "wb", buffering=0) as raw:
        stream = _Whole(raw)
        for frame in frames:
            if isinstance(frame, core.G3Frame):
                stream.write(frame.__getstate__()[1])
            else:
                frame.write(stream)


class _Whole:
    """Writes all of what it is given, where a raw file may write less."""

    def __init__(self, raw: FileIO):
        self._raw = raw

    def write(self, data: bytes | memoryview) -> int:
        rest = memoryview(data).cast("B")
        while len(rest):
            rest = rest[self._raw.write(rest) :]
        return len(data)


def _write_by_spt3g(file: str, frames: Iterable[Any]) -> None:
    writer = core.G3Writer(file)
    for frame in frames:
        writer(frame if isinstance(frame, core.G3Frame) else frame.to_frame())
    writer(core.G3Frame(core.G3FrameType.EndProcessing))


def _partial(file: str) -> str:
    """The name under which a file is written."""
    folder, name = os.path.split(file)
    # The same ending, because spt3g goes by it; hidden, so that patterns pass it by.
    return os.path.join(folder, f".partial-{os.getpid()}-{name}")


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False
