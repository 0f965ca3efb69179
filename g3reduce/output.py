"""Writing .g3 files so that they are either whole or not there."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
from collections.abc import Callable, Iterable, Sequence
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
                f"{file}: the output is also an input ({same}), so an earlier result would go "
                "into the new one. Name another output, or take it out of the inputs."
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
        raise _failure(file, error) from error
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


class OutputFile:
    """A .g3 file that is written bit by bit, and there when it is whole.

    After an error of the system nothing more is written, but whoever writes may go on: that is for
    output that other ranks send, which would wait for ever. `check` and `finish` tell of it.

    Parameters
    ----------
    file : str
        Of what ends in ``.gz``, ``.bz2`` or ``.xz`` the content is compressed.

    Raises
    ------
    OutputError
        If it cannot be opened.
    """

    def __init__(self, file: str):
        self._name = file
        self._file = os.path.realpath(file)  # of a link, its target is replaced
        self._partial = _partial(self._file)
        self._problem: OSError | None = None
        try:
            self._raw = open(self._partial, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _failure(file, error) from error
        self._sink: Any = _compressed(self._file, self._raw) or _Whole(self._raw)

    def write(self, data: bytes | memoryview) -> int:
        """Write all of it, unless something failed before."""
        if self._problem is None:
            try:
                self._sink.write(data)
            except OSError as error:
                self._problem = error
        return len(data)

    def check(self) -> None:
        """Raise what has failed.

        Raises
        ------
        OutputError
        """
        if self._problem is not None:
            raise _failure(self._name, self._problem) from self._problem

    def finish(self) -> None:
        """Give it its name. What had that name is replaced.

        Raises
        ------
        OutputError
            If anything failed.
        """
        self.check()
        try:
            self._close()
            os.replace(self._partial, self._file)
        except OSError as error:
            raise _failure(self._name, error) from error

    def discard(self) -> None:
        """Let nothing remain of it, unless it is finished."""
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._partial)

    def _close(self) -> None:
        if not self._raw.closed:
            try:
                self._sink.close()
            finally:  # also if the last bytes of a compressor find no room
                self._raw.close()


# Not stamped with a name and a time: the same frames make the same bytes.
_COMPRESSORS: dict[str, Callable[[FileIO], Any]] = {
    ".gz": lambda raw: gzip.GzipFile("", "wb", 6, raw, mtime=0),
    ".bz2": lambda raw: bz2.BZ2File(raw, "wb"),
    ".xz": lambda raw: lzma.LZMAFile(raw, "wb"),  # noqa: SIM115
}


def _compressed(file: str, raw: FileIO) -> Any:
    """What compresses into a file; None if its name does not ask for it."""
    make = _COMPRESSORS.get(os.path.splitext(file)[1])
    return make(raw) if make else None


def _failure(file: str, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return OutputError(f"{file}: writing failed ({reason}).")


class _Whole:
    """Writes all of what it is given, where a raw file may write less."""

    def __init__(self, raw: FileIO):
        self._raw = raw

    def write(self, data: bytes | memoryview) -> int:
        rest = memoryview(data).cast("B")
        while len(rest):
            rest = rest[self._raw.write(rest) :]
        return len(data)

    def close(self) -> None:
        self._raw.close()


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
