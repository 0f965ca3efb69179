"""A season of small files in which faults of every kind are strewn, and the truth about each file.

All of it follows from a seed. Sums of the good files are integers, so that they are the same to
the bit in any order.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import faults
import numpy as np
import skies
from spt3g import core, maps

IDS = ("90GHz", "150GHz")


@dataclass
class Season:
    """Names of files in the order in which they are given, and what is true of each.

    Attributes
    ----------
    files : list of str
        All names. One that stands there twice is good where it comes first.
    good : list of str
        Those that are to be coadded, in this order.
    bad : dict of str to str
        The fault of each that is to be left out.
    again : list of str
        Names that are given a second time.
    same_as : dict of str to str
        Of files that have the content of another one, that one, which comes earlier.
    without_maps : list of str
        Good files that have nothing to coadd.
    short : list of str
        Good files that lack a frame at their end, which only a manifest can tell.
    repeated : dict of str to str
        Good files that say that they are the observation of another one, with other content.
    """

    files: list[str]
    good: list[str] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    same_as: dict[str, str] = field(default_factory=dict)
    without_maps: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    repeated: dict[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> list[tuple[str, int, str]]:
        """File, index and Id of each frame that is to be counted, in order."""
        return [
            (file, index, frame["Id"])
            for file in self.good
            for index, frame in enumerate(core.G3File(file))
            if frame.type == core.G3FrameType.Map
        ]

    def expected(self, **arguments: object) -> dict[str, core.G3Frame]:
        """The coadds of the good files by spt3g, by Id."""
        with_maps = [file for file in self.good if file not in self.without_maps]
        return maps.coadd_map_files(with_maps, collate=True, **arguments)


Copy = Callable[[str, str], object]
COPIES: dict[str, tuple[str, Copy]] = {
    "a link": (".g3", lambda file, copy: os.symlink(os.path.basename(file), copy)),
    "a hard link": (".g3", os.link),
    "a copy": (".g3", shutil.copyfile),
    "a compressed copy": (
        ".g3.gz",
        lambda file, copy: Path(copy).write_bytes(gzip.compress(Path(file).read_bytes(), 1)),
    ),
}
# What can happen to a file; each is drawn as often as any other.
KINDS = (
    *faults.BROKEN,
    *faults.MISFITS,
    *faults.NOT_FINITE,
    *COPIES,
    *("cut and packed", "given again", "without maps", "cut between frames", "same observation"),
)


def make(
    folder: str | os.PathLike[str],
    n_files: int,
    seed: int,
    kind: str = "flat sparse",
    share: float = 0.4,
) -> Season:
    """Write a season.

    Parameters
    ----------
    folder : name or path
    n_files : int
        Copies and names that are given again are among them.
    seed : int
    kind : str
        One of `skies.KINDS`.
    share : float
        How many of the files have a fault. Kinds of faults come in turn, in the order of the seed.
    """
    rng = np.random.default_rng(seed)
    drawn = np.resize(rng.permutation(KINDS), int(n_files * share)).tolist()
    n_copies = sum(what in COPIES or what == "given again" for what in drawn)
    files = skies.write_files(folder, n_files - n_copies, kind, "polarized", seed, IDS)
    touched = rng.permutation(len(files)).tolist()
    season = Season(list(files))
    for what in drawn:
        file = files[touched.pop()]
        if what in COPIES or what == "given again":
            _repeat(season, file, what, rng)
        else:
            _spoil(season, file, what, rng, files[touched[0]])
    season.good = _once(name for name in season.files if name not in season.bad)
    return season


def _once(names) -> list[str]:
    return list(dict.fromkeys(names))


def _repeat(season: Season, file: str, what: str, rng: np.random.Generator) -> None:
    """Give the content of a file once more, anywhere in the list."""
    if what == "given again":
        name = file
        season.again.append(file)
    else:
        ending, copy = COPIES[what]
        name = f"{file.removesuffix('.g3')}_again{ending}"
        copy(file, name)
    place = int(rng.integers(len(season.files) + 1))
    first, later = (file, name) if place > season.files.index(file) else (name, file)
    season.files.insert(place, name)
    if first != later:
        season.bad[later] = what
        season.same_as[later] = first


def _spoil(season: Season, file: str, what: str, rng: np.random.Generator, other: str) -> None:
    if what == "cut and packed":
        packed = f"{file}.gz"
        faults.cut_and_packed(file, packed, rng)
        season.files[season.files.index(file)] = packed
        season.bad[packed] = what
    elif what == "without maps":
        faults.rewrite(file, lambda frames: frames.__delitem__(slice(1, None)))
        season.without_maps.append(file)
    elif what == "cut between frames":
        faults.rewrite(file, list.pop)
        season.short.append(file)
    elif what == "same observation":
        faults.rewrite(file, lambda frames: _call(frames[0], _observation_of(other)))
        season.repeated[file] = other
    else:
        (faults.BROKEN | faults.MISFITS | faults.NOT_FINITE)[what](file, rng)
        season.bad[file] = what


def _observation_of(file: str) -> int:
    return 1000 + int(Path(file).name[4:7])


def _call(observation: core.G3Frame, number: int) -> None:
    del observation["ObservationID"]
    observation["ObservationID"] = number
