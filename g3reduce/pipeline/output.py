"""Outputs: checked before the work begins, and under their name only when they are complete."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from spt3g import core

from .. import temporary
from ..errors import InterruptedByUser, OutputError, UsageError
from ..g3files.names import SUFFIXES
from ..g3files.outputfile import OutputFile, Outputs, failure
from ..mpi import communicators, stopping
from ..mpi.agreement import collectively, describe_rank
from ..mpi.interrupts import Interrupts
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame
from ..temporary import TemporaryFile, others

logger = unit_logger(__name__)


class Output(Protocol):
    """A file or folder that gets its name when it is complete."""

    def complete(self) -> None:
        """Make sure that everything is on the disk."""

    def publish(self) -> None:
        """Give it its name."""


def check_ending(file: str, endings: Sequence[str]) -> None:
    """Refuse a name that does not say what is to be written.

    Raises
    ------
    UsageError
    """
    if not file.endswith(tuple(endings)):
        raise UsageError(_endings_in_words(file, endings))


def _endings_in_words(file: str, endings: Sequence[str]) -> str:
    listed = f"{', '.join(endings[:-1])} or {endings[-1]}"
    return f"{file}: the name of the output must end in {listed}."


def check_output(file: str, inputs: Sequence[str] = (), endings: Sequence[str] = SUFFIXES) -> None:
    """Check that an output can be written, before the work begins.

    Temporary files of other jobs with the same output are logged as warnings.

    Parameters
    ----------
    file : str
    inputs : list of str
        Files that must not be replaced.
    endings : list of str
        What the name may end in. Default: as spt3g writes it.

    Raises
    ------
    OutputError
        If the name does not end like that, the folder is missing or read-only, or the file
        is one of the inputs, or no regular file.
    """
    if not file:
        raise OutputError("The name of the output is empty.")
    if "\0" in file:
        raise OutputError(
            f"{file!r}: the name of the output has a NUL byte, which no name can have."
        )
    if (kind := _kind(file)) is not None:
        raise OutputError(
            f"{file}: this is {kind}; expected the name of a file, which is replaced when the new "
            "one is complete."
        )
    if not file.endswith(tuple(endings)):
        raise OutputError(_endings_in_words(file, endings))
    target = _target(file)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise OutputError(f"{file}: there is no folder {folder}.")
    longest = os.pathconf(folder, "PC_NAME_MAX")
    if len(os.fsencode(os.path.basename(target))) > longest:
        raise OutputError(f"{file}: the name is too long; at most {longest} bytes can be used.")
    if os.path.exists(file):
        same = next((name for name in inputs if _same_file(name, file)), None)
        if same is not None:
            raise OutputError(
                f"{file}: the output is also an input ({same}), so an earlier result would go "
                "into the new one. Name another output, or take it out of the inputs."
            )
    if _is_held(folder, target):
        raise OutputError(
            f"{file}: this file is another user's, who alone may replace it in the folder {folder}."
        )
    try:  # a file server may refuse what the permissions allow
        TemporaryFile(target).discard()
    except OSError as error:
        raise OutputError(
            f"{file}: the folder {folder} cannot be written to ({error.strerror})."
        ) from error
    warn_of_others(file, target)


def warn_of_others(name: str, target: str) -> None:
    """Warn of temporary files of other jobs that have, or had, the same output."""
    for path, in_use in others(target):
        if in_use:
            logger.warning(
                "%s: another job is about to write the same output (%s); the one that ends last "
                "replaces the other's.",
                *(name, path),
            )
        else:
            logger.warning(
                "%s: a job that was killed%s left %s behind; it can be removed.",
                *(name, "" if in_use is False else ", or one that is still at work,", path),
            )


def write_frames(
    file: str,
    frames: Iterable[Frame],
    comm: communicators.Comm | None = None,
    root: int = 0,
) -> None:
    """Write frames to a temporary file, and rename it when it is complete. Collective over `comm`.

    An existing file is replaced only then.

    Parameters
    ----------
    file : str
    frames : iterable
        Of ``spt3g.core.G3Frame``, or of objects with a method ``write(file)`` that takes a file
        object. They are taken on `root` only.
    comm : communicator, optional
        All of its ranks raise if one fails. Default: this process alone.
    root : int
        The rank that writes.

    Raises
    ------
    OutputError
        If writing fails. What was there before is still there, and nothing else is left.
    """

    def put(output: OutputFile) -> None:
        for frame in frames:
            if isinstance(frame, core.G3Frame):
                output.write(frame.__getstate__()[1])
            else:
                frame.write(output)
            output.check()

    write_output(file, put, comm, root)


def write_output(
    file: str,
    put: Callable[[OutputFile], object],
    comm: communicators.Comm | None = None,
    root: int = 0,
) -> None:
    """Write any file as `write_frames` does; on `root`, `put` writes the content.

    Raises
    ------
    OutputError
    """
    comm = comm or communicators.OneProcess()
    outputs = Outputs()
    try:
        begin_output(file, put, comm, root, outputs)
        publish(comm, outputs)
    finally:
        outputs.discard()


def begin_output(
    file: str,
    put: Callable[[OutputFile], object],
    comm: communicators.Comm,
    root: int,
    outputs: Outputs,
) -> None:
    """Write a file that gets its name with others: do what `write_output` does, but not `publish`.

    Parameters
    ----------
    file, put, comm, root
        As there.
    outputs : Outputs
        What the file is added to, on `root`.

    Raises
    ------
    OutputError
    """

    def write() -> None:
        if comm.rank != root:
            return
        output = OutputFile(file)
        outputs.add(output)
        try:
            put(output)
        except (OSError, RuntimeError) as error:
            raise failure(file, error) from error

    collectively(comm, write)


def publish(comm: communicators.Comm, output: Output | None) -> None:
    """Give an output its name when it is complete. Collective over `comm`.

    A signal that comes meanwhile takes effect either on all ranks, before the output has its name,
    or after all of it is done. So no exit code says that there is no output when there is one.
    Where signals only ask to stop (see `StopRequest`), the output is finished.

    Parameters
    ----------
    comm : communicator
    output : Output or None
        None on the ranks that do not write.

    Raises
    ------
    OutputError, InterruptedByUser
        On the ranks that failed; `RemoteError` on the others. The output does not get its name.
    """
    interrupts = Interrupts()

    def complete() -> None:
        if output is not None:
            output.complete()
        if interrupts.number is not None:
            raise InterruptedByUser(
                f"{interrupts.name()} came{describe_rank(comm)} before the output "
                "had its name; nothing was written."
            )

    if not stopping.are_noted():
        interrupts.open()
    try:
        collectively(comm, complete)
        collectively(comm, output.publish if output is not None else lambda: None)
        temporary.published += 1
    finally:
        interrupts.close()
    if interrupts.number is not None:
        interrupts.pass_on()


def _kind(file: str) -> str | None:
    """The kind of what has this name, if that is no regular file; else None."""
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError:
        return None
    except OSError:  # reported by the checks that follow
        return None
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode))


def _is_held(folder: str, target: str) -> bool:
    """Whether this user may not replace a file, because of the sticky bit of a folder like /tmp."""
    if not os.path.exists(target):
        return False
    status = os.stat(folder)
    allowed = (0, status.st_uid, os.stat(target).st_uid)
    return bool(status.st_mode & stat.S_ISVTX) and os.geteuid() not in allowed


def _target(file: str) -> str:
    try:
        target = os.path.realpath(file)
    except OSError as error:  # the working folder was removed
        raise OutputError(
            f"{file}: the working folder cannot be found ({error.strerror}). Name the output by "
            "its absolute path."
        ) from error
    if os.path.islink(target):
        raise OutputError(f"{file}: this is a link that leads to itself.")
    return target


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False
