"""A season rehearsed: the good files are summed, each once, and every other file is accounted for.

What is good, and what is wrong with the others, is known from how they were made; the sum of the
good ones is spt3g's.
"""

from __future__ import annotations

import math
import re

import faultyseason
import numpy as np
import pytest
import skies
from choices import ALL, some_of
from spt3g import core
from ways import RANKS

from g3reduce import coadd_files

N_FILES = 300 if ALL else 40

# What a user must be told of each fault, at least.
TOLD = {
    "cut in the head of a frame": r"cut off at byte \d+",
    "cut in a key": r"cut off at byte \d+",
    "cut in a length": r"cut off at byte \d+",
    "cut in pixels": r"cut off at byte \d+",
    "cut in a checksum": r"cut off at byte \d+",
    "cut and packed": "cut off",
    "a bit of a pixel": r"checksum in frame [12]",
    "a bit of a key": r"checksum in frame [12]|not UTF-8|frame [12].* CRC ",
    "a bit of a checksum": r"checksum in frame [12]",
    "a type that does not exist": r"frame [12].* type .*205",
    "a wrong number of keys": r"(cut off|broken) at byte \d+",
    "an id that is none": "'Id' cannot be decoded",
    "text": r"no \.g3 file",
    "empty": "empty",
    "a folder": "folder",
    "a pipe": "no file",
    "a link to nothing": "missing",
    "not readable": "cannot be opened",
    "missing": "missing",
    "other units": r"Power, .* Tcmb .*units",
    "another geometry": "0.19.*0.17|16.* 8",
    "another coordinate system": r"Galactic, .* Equatorial .*coord",
    "another convention": "COSMO, .* IAU ",
    "without weights": "no Wpol|without weights",
    "without polarization": "no [QU],",
    "a pixel that is NaN": r"frame [12]: T .* nan|NaN or infinite: \d+ in T$",
    "a weight that is infinite": r"frame [12]: Wpol\.TT .* inf|NaN or infinite: \d+ in Wpol\.TT$",
}


@pytest.fixture
def season(shared_folder, on_first):
    def make(seed, kind):
        return on_first(lambda: faultyseason.make(shared_folder, N_FILES, seed, kind))

    return make


def what_was_told(season, ledger):
    """What is left out and why, by file, compared with what was done to it."""
    told = {one.file: one.reason for one in ledger.left_out}
    assert len(told) == len(ledger.left_out), "a file is listed twice"
    assert set(told) == set(season.bad)
    due = TOLD | dict.fromkeys(faultyseason.COPIES, "^the same as ")
    assert not [
        (fault, file, told[file])
        for file, fault in season.bad.items()
        if not re.search(due[fault], told[file])
        or not told[file].endswith(season.same_as.get(file, ""))
    ]
    return told


def contributions(files):
    """What each frame contributes, by numpy: pixels that it hits, and the sum of the weights."""
    for file in files:
        for frame in core.G3File(file):
            if frame.type == core.G3FrameType.Map:
                weights = skies.pixels(frame["Wpol"].TT)
                yield int(np.count_nonzero(weights)), math.fsum(weights.ravel())


def without_exact_keys(frame):
    """A coadd without what reproducible ones tell of themselves."""
    plain = core.G3Frame(frame.type)
    for key in frame.keys():  # noqa: SIM118 (no dictionary)
        if not key.startswith("Exact"):
            plain[key] = frame[key]
    return plain


def assert_ledger(season, ledger):
    """Each frame of the good files stands there once, with all that is known of it."""
    counted = [(one.unit.file, one.unit.index, one.map_id) for one in ledger.entries]
    assert counted == season.counted
    for one, contributed in zip(ledger.entries, contributions(season.good), strict=True):
        file = season.repeated.get(one.unit.file, one.unit.file)
        number = 1000 + int(re.search(r"obs_(\d+)", file)[1])
        assert one.observation == f"field/{number}"
        assert one.sign == 1
        assert (one.pixels, one.weight) == contributed, one


SEASONS = some_of(range(2), ["flat sparse", "healpix ring"], fewer=[(0, "flat sparse")])


@pytest.mark.ranks(*RANKS, seconds=300)
@pytest.mark.parametrize(("seed", "kind"), SEASONS)
def test_good_files_are_summed_and_all_others_accounted_for(
    comm, season, shared_folder, seed, kind
):
    """So it is the same on any number of ranks."""
    season = season(seed, kind)
    output = shared_folder / "coadd.g3"
    coadds = coadd_files(
        *(season.files, output),
        mpicomm=comm,
        collate=True,
        on_error="skip",
        nonfinite="error",
        reproducible=bool(seed % 2),
    )
    if comm.rank != 0:
        assert not coadds.here
        return
    expected = season.expected()
    written = {frame["Id"]: frame for frame in core.G3File(str(output))}
    for name, frame in expected.items():
        for mine in (coadds[name], written[f"Coadd{name}"]):
            skies.assert_same_coadd(without_exact_keys(mine), frame)
    assert_ledger(season, coadds.ledger)
    assert what_was_told(season, coadds.ledger)
