"""The files that maps come from in the first place, and when two names mean the same one.

A file is known by its real path, without the ending of a compressed one (``x.g3`` beside
``x.g3.gz`` is the same file twice), and, where it has hard links, by what these have in common.

Coadds list the files of their inputs by the names that these had when and where the coadd was
made. A relative name is looked for beside the coadd, then here; where neither is found, it cannot
be known which file it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

_COMPRESSED = (".gz", ".bz2", ".xz")


class Original(NamedTuple):
    """A file: its name, and the keys by which it is recognized.

    Attributes
    ----------
    name : str
        As results list it.
    keys : tuple of str
        Files that have a key in common are the same. Empty if it is not known which file the name
        means.
    """

    name: str
    keys: tuple[str, ...]

    @property
    def short(self) -> str:
        """The name without folders and compression, which does not depend on the current folder."""
        return os.path.basename(without_compression(self.name))


def without_compression(name: str) -> str:
    """The name that a compressed file would have if it were not."""
    for ending in _COMPRESSED:
        if name.endswith(".g3" + ending):
            return name[: -len(ending)]
    return name


def same_because(file: Original, other: Original) -> str:
    """How messages say why two names that differ mean the same file."""
    if os.path.realpath(file.name) == os.path.realpath(other.name):
        return f"also as {other.name}"
    if file.keys[0] == other.keys[0]:
        return f"{other.name} beside it is the same, but for its compression"
    return f"{other.name} is a hard link to it"


class KnownFiles:
    """Files that were looked at; each is, once, as long as this object is used."""

    def __init__(self) -> None:
        self._folders: dict[tuple[str, str], str] = {}
        self._given: dict[tuple[str, str], Original] = {}
        self._listed: dict[tuple[str, str, str], Original] = {}

    def given(self, name: str) -> Original:
        """A file that was named here."""
        place = _here(name), name
        if place not in self._given:
            self._given[place] = Original(name, _keys_of(name, self._real_folder))
        return self._given[place]

    def _real_folder(self, folder: str) -> str:
        place = _here(folder), folder
        if place not in self._folders:
            self._folders[place] = os.path.realpath(folder)
        return self._folders[place]

    def listed(self, name: str, coadd: str | None) -> Original:
        """A file that a coadd lists among its inputs.

        Parameters
        ----------
        name : str
            As it stands there.
        coadd : str or None
            The file in which the coadd is, if it is in one.
        """
        place = _here(name), name, coadd or ""
        if place not in self._listed:
            self._listed[place] = _find(name, coadd)
        return self._listed[place]


def _here(name: str) -> str:
    """The folder on which the meaning of a name depends."""
    if os.path.isabs(name):
        return ""
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def _keys_of(name: str, real_folder: Callable[[str], str] = os.path.realpath) -> tuple[str, ...]:
    """The keys by which a file is recognized, whether it exists or not."""
    if "://" in name:
        return (name,)
    folder, last = os.path.split(name)
    try:
        path = os.path.join(real_folder(folder), last)
        if last in ("", ".", "..") or os.path.islink(path):
            path = os.path.realpath(name)
    except (OSError, ValueError):  # the folder that we are in was deleted; no name of a file
        path = name
    keys: tuple[str, ...] = (without_compression(path),)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return keys
    if status.st_nlink > 1:
        # Without the number of the device, which is not the same on all hosts.
        keys += (f"inode {status.st_ino}, {status.st_size} bytes of {status.st_mtime_ns}",)
    return keys


def _find(name: str, coadd: str | None) -> Original:
    if "://" in name:
        return Original(name, ())  # whoever sent it then may send something else now
    if os.path.isabs(name):
        return Original(name, _keys_of(name))
    folder = os.path.dirname(coadd) if coadd and "://" not in coadd else ""
    beside = os.path.join(folder, name)
    own = _keys_of(coadd) if coadd else ()
    for candidate in dict.fromkeys((beside, name)):
        found = _existing(candidate)
        if found is None or set(_keys_of(found)) & set(own):  # no coadd is an input of itself
            continue
        if candidate != beside and coadd and _is_newer(found, coadd):
            continue  # of the same name by chance
        # As results are to list it: by a name that leads to it from here.
        same = _existing(name)
        here = same is not None and set(_keys_of(same)) & set(_keys_of(found))
        return Original(name if here else candidate, _keys_of(found))
    return Original(name, ())


def _existing(name: str) -> str | None:
    """The name under which a file is there: it may have been compressed, or unpacked, since."""
    plain = without_compression(name)
    for candidate in (name, plain, *(plain + ending for ending in _COMPRESSED)):
        if os.path.exists(candidate):
            return candidate
    return None


def _is_newer(file: str, coadd: str) -> bool:
    try:
        return os.stat(file).st_mtime_ns > os.stat(coadd).st_mtime_ns
    except OSError:
        return False
