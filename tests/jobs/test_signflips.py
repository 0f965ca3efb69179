"""Sign flips from files: of coadds, into a file, and after work that was stopped or killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import killedjob
import numpy as np
import pytest
import skies
from choices import ALL, among_all, some_of
from spt3g import core

from g3reduce import Stopped, coadd_files, splits
from g3reduce.jobs import checkpointcommit, checkpoints
from g3reduce.jobs.mapopener import MapOpener

FLIPS = splits.by("id") * splits.signflips(5, seed=2)
FLAGS = ["--collate", "--split", "all=all", "--signflips", "5", "--seed", "2"]
MAP = core.G3FrameType.Map


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Six files of maps in the current folder; checkpoints follow each other at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "_COST", 0)
    monkeypatch.setattr(checkpointcommit, "_LOOK_S", 0)
    return [*map(os.path.basename, skies.write_files(".", 6, "flat sparse", "polarized"))]


def maps_in(file):
    return {frame["Id"]: frame for frame in core.G3File(file) if frame.type == MAP}


def signed_in(frame):
    """The maps of a ledger, and their signs."""
    texts, numbers = frame["Ledger"], frame["LedgerNumbers"]
    signs = map(int, numbers["sign"])
    return dict(zip(zip(texts["file"], texts["id"], strict=True), signs, strict=True))


@pytest.mark.parametrize("small_sum", [2**30, 0])
@pytest.mark.parametrize(
    "kind", some_of(skies.KINDS, fewer=["flat sparse", "flat dense", "healpix nested indexed"])
)
def test_realisations_in_a_file_are_those_in_memory(tmp_path, limits, kind, small_sum):
    limits(small_sum=small_sum)  # from there on maps are written without being made
    files = skies.write_files(tmp_path, 3, kind, "polarized")
    coadds = coadd_files(files, assign=FLIPS)
    outlines = coadd_files(files, str(tmp_path / "out.g3"), assign=FLIPS, keep_maps=False)
    written = maps_in(str(tmp_path / "out.g3"))
    assert list(written) == list(coadds) == list(outlines)
    assert len(written) == 2 * 6
    for name, frame in coadds.items():
        keys = sorted(frame.keys())
        assert sorted(written[name].keys()) == sorted(outlines[name].keys()) == keys
        assert signed_in(written[name]) == signed_in(frame) == signed_in(outlines[name])
        skies.assert_same_coadd(written[name], frame)


def test_flips_of_coadds_have_the_signs_of_their_maps_times_their_own(files):
    """Coadds in which some maps were subtracted are flipped as a whole."""
    signs = {file: 1 if number % 2 else -1 for number, file in enumerate(files)}
    for number in range(3):
        mine = files[2 * number : 2 * number + 2]
        coadd_files(
            mine,
            f"coadd{number}.g3",
            assign=lambda frame: {frame["Id"]: signs[os.path.basename(frame.unit.file)]},
        )
    inputs = {(file, name): frame for file in files for name, frame in maps_in(file).items()}
    coadds = coadd_files([f"coadd{number}.g3" for number in range(3)], assign=FLIPS)
    assert len(coadds) == 2 * 6
    flipped = set()
    for name, frame in coadds.items():
        signed = signed_in(frame)
        ledger = {(os.path.basename(file), one): sign for (file, one), sign in signed.items()}
        assert {map_id for _, map_id in ledger} == {name.partition("_")[0]}
        own = [sign * signs[file] for (file, _), sign in ledger.items()]
        assert len(own) == 6
        assert own[0::2] == own[1::2]  # the maps of a coadd together
        flipped.add(tuple(own[0::2]))
        planes = skies.planes(frame)
        for plane, values in planes.items():
            expected = sum(
                (sign if plane in "TQU" else 1) * skies.planes(inputs[place])[plane]
                for place, sign in ledger.items()
            )
            np.testing.assert_array_equal(values, expected, err_msg=plane)
    assert (1, 1, 1) in flipped
    assert len(flipped) > 2


def coadd(files, output, **options):
    return coadd_files(files, output, assign=FLIPS, checkpoint_every=1e-9, **options)


@pytest.mark.parametrize("reproducible", [False, True][: 2 if ALL else 1])
def test_flips_that_were_stopped_and_resumed_are_the_undisturbed_ones(
    files, monkeypatch, reproducible
):
    coadd(files, "undisturbed.g3", checkpoint="first", reproducible=reproducible)
    original = MapOpener.frames

    def frames(self, name, piece):
        if name == files[3]:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, name, piece)

    with monkeypatch.context() as patch:
        patch.setattr(MapOpener, "frames", frames)
        with pytest.raises(Stopped, match=r"^stopped at \d of 6 files"):
            coadd(files, "out.g3", checkpoint="second", reproducible=reproducible)
    assert not os.path.exists("out.g3")
    coadd(files, "out.g3", checkpoint="second", reproducible=reproducible, resume=True)
    assert Path("out.g3").read_bytes() == Path("undisturbed.g3").read_bytes()
    assert len(maps_in("out.g3")) == 2 * 6


@among_all
@pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts processes")
@pytest.mark.parametrize(
    ("stage", "place", "number"),
    [("adding", 1, 4), ("committing", 1, 3), ("committing", 0, 4), ("joining", 0, 1)],
)
def test_flips_that_were_killed_and_resumed_are_the_undisturbed_ones(files, stage, place, number):
    words = ["coadd", *files, *FLAGS, "--checkpoint-every", "1e-6", "-o"]

    def run(stage, *rest):
        os.makedirs("notes", exist_ok=True)
        script = [sys.executable, killedjob.__file__, "notes", stage, str(place), str(number)]
        return subprocess.run([*script, "0", "rank", *words, *rest], check=False).returncode

    assert run("none", "undisturbed.g3", "--checkpoint", "first") == 0
    assert run(stage, "out.g3", "--checkpoint", "second") == -signal.SIGKILL
    assert not os.path.exists("out.g3")
    assert run("none", "out.g3", "--checkpoint", "second", "--resume") == 0
    assert Path("out.g3").read_bytes() == Path("undisturbed.g3").read_bytes()
