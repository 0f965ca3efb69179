"""Writing .g3 files so that they are either whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
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

    Raises
    ------
    OutputError
        If writing fails. What was there before is still there, and nothing else is left.
    """
    file = os.path.realpath(file)  # of a link, its target is replaced
    partial = _partial(file)
    try:
        writer = core.G3Writer(partial)
        for frame in frames:
            writer(frame)
        writer(core.G3Frame(core.G3FrameType.EndProcessing))
        del writer
        os.replace(partial, file)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{file}: writing failed ({str(error).splitlines()[0]}).") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


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
