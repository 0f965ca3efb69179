"""``g3reduce check``, the flags about bad files, and lists of names, as a user starts them."""

import json
import os
import subprocess
import sys

import healpy
import numpy as np
import pytest
import skies
from faults import rewrite
from patience import HANGS_S
from spt3g import core, maps

from g3reduce import cli
from g3reduce.mpi.launch import mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")


@pytest.fixture
def g3reduce(obs, monkeypatch, capsys):
    """The command in the folder of `obs`: in this process, or on ranks."""
    monkeypatch.chdir(obs)

    def run(*arguments, ranks=None):
        if ranks is None:
            try:
                code = cli.main([*map(str, arguments)])
            except SystemExit as end:
                code = end.code
            return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())
        command = [sys.executable, "-m", "g3reduce", *map(str, arguments)]
        return subprocess.run(
            mpirun_command(ranks, command),
            capture_output=True,
            text=True,
            timeout=HANGS_S,
            env=mpirun_environment(),
        )

    return run


@pytest.fixture
def obs(tmp_path):
    """A folder with files of which the third is cut off, the fourth odd, the fifth without maps."""
    (tmp_path / "obs").mkdir()
    files = skies.write_files(tmp_path / "obs", 7, "flat sparse", "polarized", map_ids=("90GHz",))
    os.truncate(files[2], 5000)
    rewrite(files[3], in_galactic)
    rewrite(files[4], list.pop)
    return tmp_path


def in_galactic(frames):
    for skymap in skies.maps_by_plane(frames[-1]).values():
        skymap.coord_ref = maps.MapCoordReference.Galactic
    for key in [key for key in skies.MAP_KEYS if key in frames[-1]]:
        frames[-1][key] = frames[-1].pop(key)


def test_the_report_tells_all_problems_and_the_exit_code_is_the_verdict(g3reduce):
    alone = g3reduce("check", "obs/*.g3")
    assert alone.returncode == 1, alone.stderr
    lines = [line for line in alone.stdout.splitlines() if not line.startswith("Estimate")]
    assert lines == [
        "Coadd: 4 of 7 files have flat-sky maps of 30 x 20 pixels, ProjZEA, Equatorial, Tcmb, IAU: "
        "T, Q, U, Wpol",
        "A coadd ends with an error because of",
        "  obs/obs_002.g3: cut off at byte 5000",
        "  obs/obs_003.g3: has Galactic, the other 4 Equatorial (coordinate system)",
        "To be known, though a coadd does not end because of it:",
        "  obs/obs_004.g3: no map in it",
        "Not fine: 2 of 7 files cannot be used.",
    ]
    on_ranks = g3reduce("check", "obs/*.g3", "--json", ranks=3)
    assert on_ranks.returncode == 1, on_ranks.stderr
    found = json.loads(on_ranks.stdout)
    assert [file["name"] for file in found["files"] if file["problems"]] == [
        f"obs/obs_00{number}.g3" for number in (2, 3, 4)
    ]
    assert found["estimate"]["n_ranks"] == 3
    fine = g3reduce("check", *(f"obs/obs_00{number}.g3" for number in (0, 1, 4)))
    assert fine.returncode == 0, fine.stdout
    assert fine.stdout.endswith("Fine: 3 files, 2 maps to be added.\n")


@pytest.mark.parametrize("ranks", [None, 2])
def test_bad_files_are_skipped_with_a_line_and_a_code_of_their_own(obs, g3reduce, ranks):
    done = g3reduce("coadd", "obs/*.g3", "-o", "coadd.g3", "--skip-bad", ranks=ranks)
    assert done.returncode == 3, done.stderr
    assert (
        "Left out 2 of 7 files:\n  obs/obs_002.g3 (cut off at byte 5000)\n"
        "  obs/obs_003.g3 (has Galactic, the other 4 Equatorial (coordinate system))\n"
    ) in done.stdout
    (frame,) = (f for f in core.G3File(str(obs / "coadd.g3")) if f.type == core.G3FrameType.Map)
    good = [str(obs / "obs" / f"obs_00{number}.g3") for number in (0, 1, 5, 6)]
    expected = maps.coadd_map_files(good)
    for name, skymap in skies.maps_by_plane(expected).items():
        assert (skies.pixels(skies.maps_by_plane(frame)[name]) == skies.pixels(skymap)).all()


def test_without_the_flag_nothing_is_written_and_the_flag_is_named(obs, g3reduce):
    for flags in ([], ["--check"], ["--skip-bad", "--max-bad", "10%"]):
        done = g3reduce("coadd", "obs/*.g3", "-o", "coadd.g3", *flags)
        assert done.returncode == 1
        assert "  obs/obs_002.g3: cut off at byte 5000\n" in done.stderr
        assert "  obs/obs_003.g3: has Galactic, the other 4 Equatorial" in done.stderr
        remedy = "more than --max-bad 10% allows" if flags[2:] else "--skip-bad leaves such files"
        assert remedy in done.stderr
        assert not (obs / "coadd.g3").exists()


def test_a_manifest_tells_files_that_end_between_two_frames(obs, g3reduce):
    names = [f"obs/obs_00{number}.g3" for number in (0, 1, 5)]
    for flags in ([], ["--deep"]):
        done = g3reduce("check", *names, "--write-manifest", "MANIFEST", *flags)
        assert done.returncode == 0, done.stdout
        assert g3reduce("check", *names, "--manifest", "MANIFEST").returncode == 0
    digests = (line for line in (obs / "MANIFEST").read_text().splitlines() if len(line) > 64)
    checked = subprocess.run(
        ["sha256sum", "-c"], input="\n".join(digests), text=True, cwd=obs, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr
    rewrite(str(obs / names[1]), list.pop)
    done = g3reduce("check", *names[:2], "--manifest", "MANIFEST")
    assert done.returncode == 1
    assert f"  {names[1]}: 1 frames in place of 2\n" in done.stdout
    assert f"  {names[2]}: listed in the manifest, but not given\n" in done.stdout


def test_names_come_from_lists(obs, g3reduce):
    (obs / "list.txt").write_text("# those of today\n\nobs/obs_000.g3\nobs/obs_00[5].g3\n")
    for words in (["@list.txt"], ["--from-file", "list.txt"], ["-m", "90GHz", "@list.txt"]):
        done = g3reduce("coadd", *words, "obs/obs_001.g3", "-o", "coadd.g3")
        assert done.returncode == 0, done.stderr
        assert "Coadd: T, Q, U, Wpol from 3 files" in done.stdout
    (obs / "empty.txt").write_text("# nothing\n")
    for words, message, code in (
        (["@nolist"], "nolist: this list of files cannot be read (No such file", 1),
        (["@empty.txt"], "empty.txt: there is no name of a file in this list", 1),
        (["@obs/obs_000.g3"], "obs/obs_000.g3: ", 1),
        ([], "no input files", 2),
    ):
        done = g3reduce("coadd", *words, "-o", "coadd.g3")
        assert done.returncode == code, done.stderr
        assert message in done.stderr


def test_what_was_meant_or_is_needed_is_in_the_report(g3reduce, tmp_path):
    sky = np.zeros(12)
    healpy.write_map(tmp_path / "silent.fits", sky, dtype=np.float64)
    said = g3reduce("check", "obs", "silent.fits").stdout
    assert "  obs: a folder (did you mean 'obs/*.g3' (7 files)?)\n" in said
    assert "  silent.fits: units not said; say --input-units, one of " in said
