"""Manifests: lists that say how many frames each file should have, or what its checksum is.

A file that ends between two frames cannot be told from a whole one by itself. A manifest is a text
file with one line for each file: a word, blanks, and the name as seen from the current folder. The
word is the number of frames in the file, or its SHA-256 as ``sha256sum`` prints it. Lines that are
empty or begin with ``#`` do not count; a file may have a line of each kind.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import InputError
from ..g3files.names import refuse_nul

_DIGITS_OF_SHA256 = 64
_STEP = 2**20


class Expected(NamedTuple):
    """What a manifest says of a file.

    Attributes
    ----------
    n_frames : int or None
    sha256 : str or None
    """

    n_frames: int | None = None
    sha256: str | None = None

    def refuse_other(self, name: str, n_frames: int) -> None:
        """Compare a file that has so many frames.

        Raises
        ------
        InputError
            If it is not as expected.
        """
        if self.n_frames is not None and n_frames != self.n_frames:
            raise InputError(
                f"{name}: there are {n_frames} frames in this file, but the manifest says "
                f"{self.n_frames}. Was it cut off between two frames?",
                fault=f"{n_frames} frames in place of {self.n_frames}",
            )
        if self.sha256 is not None and (found := sha256_of(name)) != self.sha256:
            raise InputError(
                f"{name}: the file has the SHA-256 {found}, but the manifest says {self.sha256}.",
                fault="not the SHA-256 of the manifest",
            )


def read_manifest(file: str) -> dict[str, Expected]:
    """What a manifest says of each file, by name.

    Raises
    ------
    InputError
        If it cannot be read, or is none.
    """
    refuse_nul(file)
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            text = lines.read()
    except OSError as error:
        raise InputError(f"{file}: the manifest cannot be read ({error.strerror}).") from error
    found: dict[str, Expected] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        word, _, name = line.strip().partition(" ")
        name = os.path.normpath(name.lstrip(" ").removeprefix("*"))
        here = found.get(name, Expected())
        if len(word) == _DIGITS_OF_SHA256 and not set(word.lower()) - set("0123456789abcdef"):
            here = here._replace(sha256=word.lower())
        elif word.isascii() and word.isdigit() and name != ".":
            here = here._replace(n_frames=int(word))
        else:
            raise InputError(
                f"{file}, line {number}: {line[:80]!r} is no line of a manifest; expected a number "
                "of frames or a SHA-256, and the name of a file."
            )
        found[name] = here
    return found


def expected_of(name: str, manifest: Mapping[str, Expected] | None) -> Expected | None:
    """What a manifest says of a file."""
    return None if manifest is None else manifest.get(os.path.normpath(name))


def not_given(names: Iterable[str], manifest: Mapping[str, Expected]) -> list[str]:
    """The files of a manifest that are not among these."""
    given = set(map(os.path.normpath, names))
    return [name for name in manifest if name not in given]


def lines_of_manifest(files: Sequence[tuple[str, int]], *, with_sha256: bool) -> list[str]:
    """The lines of a manifest of these files: the name of each, and how many frames it has."""
    lines = ["# The number of frames in each file, and the SHA-256 where it was asked for."]
    for name, n_frames in files:
        lines.append(f"{n_frames}  {name}")
        if with_sha256:
            lines.append(f"{sha256_of(name)}  {name}")
    return lines


def sha256_of(name: str) -> str:
    """The SHA-256 of a file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    whole = hashlib.sha256()
    try:
        with open(name, "rb") as file:
            while part := file.read(_STEP):
                whole.update(part)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}.") from error
    return whole.hexdigest()
