"""Names of input files: patterns, and a first look before any work begins."""

from __future__ import annotations

import glob
import os
import stat
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from ..errors import InputError, about_file

_SIZES = 8  # of at least so many files are looked at, to know about how large all are

# The endings that spt3g reads and writes.
SUFFIXES = (".g3", ".g3.gz", ".g3.bz2", ".g3.xz")

# A frame begins with one byte for the byte order (1: little) and a 32-bit class version.
_HEADER = struct.Struct("<BI")
_NEWEST_PLAUSIBLE_VERSION = 255

# Of a folder where a file is expected: so many patterns are shown, and so many folders looked into.
# A folder that is not there is looked for among as many others.
_FOLDERS = 3
_LOOKED_INTO = 1000


def expand(
    patterns: Iterable[str | os.PathLike[str]], endings: tuple[str, ...] = SUFFIXES
) -> list[str]:
    """File names that names and shell patterns stand for, those of one pattern in sorted order.

    Of what a pattern matches, only names with one of these endings are taken (those that spt3g
    reads: ``.g3``, perhaps followed by ``.gz``, ``.bz2`` or ``.xz``); a plain name is taken as it
    is.

    Raises
    ------
    InputError
        If a pattern matches nothing, a name has a NUL byte, or there are no names at all.

    Examples
    --------
    >>> expand(["obs*.g3", "late.g3"])  # doctest: +SKIP
    ['obs1.g3', 'obs2.g3', 'late.g3']
    """
    files: list[str] = []
    for pattern in patterns:
        name = os.fspath(pattern)
        refuse_nul(name)
        # A file may have brackets in its name: what exists is a name.
        if not glob.has_magic(name) or os.path.exists(name):
            files.append(name)
            continue
        matches = sorted(glob.glob(name, recursive=True))
        usable = [match for match in matches if match.endswith(endings)]
        if not usable:
            named = f"{len(matches)} files, none of them named *{', *'.join(endings)}"
            found = named if matches else "nothing"
            meant = "" if matches else _nearly(name)
            ending = f"; did you mean {meant!r}?" if meant else "."
            raise InputError(f"The pattern {name!r} matches {found}, seen from {_here()}{ending}")
        files.extend(usable)
    if not files:
        raise InputError("No input files were given.")
    return files


def _nearly(pattern: str) -> str:
    """A pattern that matches something, in a folder of nearly this name; else nothing."""
    import difflib  # of use after a mistake only

    *folders, name = pattern.split(os.sep)
    there = os.sep if pattern.startswith(os.sep) else ""
    for n, part in enumerate(folders):
        if glob.has_magic(part):
            return ""
        if os.path.isdir(os.path.join(there, part)):
            there = os.path.join(there, part)
            continue
        try:
            with os.scandir(there or os.curdir) as entries:
                found = sorted(one.name for one in islice(entries, _LOOKED_INTO) if one.is_dir())
        except OSError:
            return ""
        for near in difflib.get_close_matches(part, found, 3, 0.6):
            meant = os.path.join(there, near, *folders[n + 1 :], name)
            if glob.glob(meant, recursive=True):
                return meant
        return ""
    return ""


def may_be_pattern(name: str | os.PathLike[str]) -> bool:
    """Whether `expand` may make other names of this one."""
    return glob.has_magic(os.fspath(name))


def is_stream(file: str) -> bool:
    """Whether this is the address of a stream of frames, not a file."""
    return "://" in file


def check_file(file: str) -> None:
    """Take a first look at a file.

    Raises
    ------
    InputError
        If it is missing, unreadable, empty, or visibly no .g3 file.
    """
    if is_stream(file):
        return  # nothing can be known before it is read
    with about_file(file):
        _look_at(file)


def _look_at(file: str) -> None:
    if not file:
        raise InputError("The name of an input file is empty.")
    refuse_folder(file)
    if not file.endswith(SUFFIXES):
        raise InputError(
            f"{file}: the name does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, "
            "by which spt3g recognizes its files.",
            fault="not named like a .g3 file",
        )
    head = head_of(file)
    if file.endswith(".g3") and not _begins_a_frame(head):
        raise InputError(
            f"{file}: this is not a .g3 file (it begins with {head!r}).", fault="no .g3 file"
        )


def refuse_folder(name: str, endings: tuple[str, ...] = SUFFIXES) -> None:
    """Refuse a folder where a file is expected, and find patterns of the files in it.

    Raises
    ------
    InputError
    """
    if not os.path.isdir(name):
        return
    found = _patterns_in(name, endings)
    if found:
        others = [*found[:_FOLDERS]]
        if len(found) > _FOLDERS:
            others.append(f"one of {len(found) - _FOLDERS} more patterns")
        *first, last = others
        which = f"{', '.join(first)} or {last}" if first else last
        meant, fault = f"this is a folder; did you mean {which}?", f"did you mean {which}?"
    else:
        meant = "this is a folder without any file of maps or scans; expected a file."
        fault = "without any file of maps or scans"
    raise InputError(f"{name}: {meant}", fault=f"a folder ({fault})")


def _patterns_in(folder: str, endings: tuple[str, ...], depth: int = 2) -> list[str]:
    """Patterns of files with these endings in a folder, or else in those that are in it."""
    try:
        with os.scandir(folder) as entries:
            there = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
    patterns = []
    files = [entry.name for entry in there]
    for ending in endings:
        n_files = sum(name.endswith(ending) for name in files)
        if n_files:
            counted = "1 file" if n_files == 1 else f"{n_files} files"
            pattern = os.path.join(glob.escape(folder), f"*{ending}")
            patterns.append(f"{pattern!r} ({counted})")
    if patterns or not depth:
        return patterns
    for entry in there[:_LOOKED_INTO]:
        if entry.is_dir():
            patterns += _patterns_in(entry.path, endings, depth - 1)
    return patterns


def refuse_nul(name: str) -> None:
    """Refuse a name of which the system would say no more than "embedded null byte".

    Raises
    ------
    InputError
    """
    if "\0" in name:
        raise InputError(f"{name!r}: the name has a NUL byte, which no name can have.")


def head_of(file: str) -> bytes:
    """The first bytes of a file.

    Raises
    ------
    InputError
        If it is missing, no file, unreadable or empty.
    """
    refuse_nul(file)
    try:
        file.encode()
        mode = os.stat(file).st_mode
        if not stat.S_ISREG(mode):
            raise InputError(
                f"{file}: this is a pipe, a socket or a device; expected a file.", fault="no file"
            )
        with open(file, "rb") as stream:
            head = stream.read(_HEADER.size)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise InputError(
            f"{file}: {error.strerror or error}.",
            fault="missing" if missing else f"cannot be opened ({error.strerror or error})",
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(f"{file!r}: the name is not UTF-8, which spt3g cannot open.") from error
    if not head:
        raise InputError(
            f"{file}: the file is empty. Was the job that wrote it cut off?", fault="empty"
        )
    return head


def check_files(files: Sequence[str], check: Callable[[str], None] = check_file) -> None:
    """Look at several files, and report all that cannot be used together.

    Raises
    ------
    InputError
        With one line for each file that is missing, unreadable, empty or no .g3 file; of many,
        the first few.
    """
    problems = []
    for file in files:
        try:
            check(file)
        except InputError as error:
            problems.append(str(error))
    if not problems:
        return
    shown = 10
    more = [f"... and {len(problems) - shown} more"] if len(problems) > shown else []
    raise InputError("\n".join(problems[:shown] + more))


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "a folder that does not exist any more"


def _begins_a_frame(head: bytes) -> bool:
    if len(head) < _HEADER.size:
        return False
    order, version = _HEADER.unpack(head)
    if order == 0:  # written on a big-endian machine
        version = int.from_bytes(head[1:], "big")
    return order in (0, 1) and 0 < version <= _NEWEST_PLAUSIBLE_VERSION


def about_bytes(names: Sequence[str]) -> float:
    """About how many bytes there are in files, from the sizes of a few of them; 0 if unknown."""
    looked_at = names[:: max(1, len(names) // _SIZES)]
    try:
        return sum(map(os.path.getsize, looked_at)) / max(1, len(looked_at)) * len(names)
    except OSError:  # it will be said when that file is read
        return 0
