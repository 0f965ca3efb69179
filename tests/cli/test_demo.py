"""The demo does what it says, with real files, real ranks and real pictures."""

import os
import re
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
from choices import among_all
from patience import HANGS_S
from spt3g import core, maps

from g3reduce.mpi.launch import mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")


def demo(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "g3reduce", "demo", "-d", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        env=mpirun_environment(),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    done = demo(folder, "--observations", "2", "--ranks", "2", "--more", "3")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@among_all
def test_it_says_what_it_did_and_where_the_results_are(made):
    folder, said = made
    assert "Simulating 2 observations of a 20 by 10 degree field with 76 detectors" in said
    assert said.count("$ mpirun -n 2 g3reduce coadd") == 4
    assert said.count(" on 2 ranks.") == 4
    assert said.count("The same as spt3g's serial coadd") == 3
    for name in ("coadd_flat.png", "coadd_healpix.png", "difference.png"):
        assert f"  {folder / name}\n" in said
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert f"  {folder / 'coadd_healpix.html'}\n" in said
    assert "</html>" in (folder / "coadd_healpix.html").read_text()


@among_all
def test_what_it_says_to_try_next_works(made):
    folder, said = made
    commands = said.split("To try next:\n")[1].splitlines()
    assert len(commands) == 3
    here = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    for command in commands:
        done = subprocess.run(
            command.split(),
            capture_output=True,
            text=True,
            cwd=folder,
            env=os.environ | {"PATH": here},
        )
        assert done.returncode == 0, done.stderr


@among_all
def test_halves_and_their_difference_are_there(made):
    folder, _ = made
    ids = [frame["Id"] for frame in core.G3File(str(folder / "splits.g3"))]
    assert sorted(ids) == ["150GHz_even", "150GHz_odd", "95GHz_even", "95GHz_odd"]
    assert len(list(core.G3File(str(folder / "difference.g3")))) == 2


@among_all
def test_more_observations_are_timed_and_removed(made):
    folder, said = made
    assert re.search(r"To read and add \d+ MB spt3g took [\d.]+ s, and g3reduce [\d.]+ s", said)
    assert not (folder / "more").exists()
    frames = list(core.G3File(str(folder / "coadd_more.g3")))
    assert [len(frame["InputFiles"]) for frame in frames] == [3, 3]


@among_all
def test_its_coadd_is_that_of_spt3g(made):
    folder, _ = made
    for kind in ("flat", "healpix"):
        files = [str(path) for path in sorted((folder / kind).glob("*.g3"))]
        expected = maps.coadd_map_files(files, map_ids=["150GHz"])
        mine = next(
            frame for frame in core.G3File(str(folder / f"coadd_{kind}.g3")) if "150" in frame["Id"]
        )
        np.testing.assert_array_equal(mine["H"], expected["H"])
        for key in "TQU":
            a, b = np.asarray(mine[key]), np.asarray(expected[key])
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * np.abs(b).max())


@among_all
def test_the_maps_show_the_sky_that_was_simulated(made):
    """The coadded temperature is that of the input sky, but for the filter and noise."""
    from g3reduce.simulate import Survey, cmb_sky

    folder, _ = made
    survey = Survey()
    sky = cmb_sky(survey.sky_nside, survey.seed, beam=survey.beam)
    mine = next(
        frame for frame in core.G3File(str(folder / "coadd_healpix.g3")) if "150" in frame["Id"]
    )
    weight = np.asarray(mine["Wpol"].TT)
    well = weight > 0.5 * weight.max()
    seen = np.asarray(mine["T"])[well] / weight[well]
    assert np.corrcoef(seen, np.asarray(sky.T)[well])[0, 1] > 0.85


def test_it_refuses_a_folder_with_files_of_another_run(tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "obs_0002.g3").touch()
    done = demo(tmp_path, "--observations", "1")
    assert done.returncode == 2
    assert "holds files that are not of this run" in done.stderr


@among_all
def test_data_only_may_be_said_again(tmp_path):
    for _ in range(2):
        done = demo(tmp_path, "--observations", "2", "--data-only")
        assert done.returncode == 0, done.stderr
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*.g3"))
    scans = [f"scans/obs_000{obs}_0{part}.g3" for obs in (1, 2) for part in range(3)]
    maps_of_both = [f"{kind}/obs_000{obs}.g3" for kind in ("flat", "healpix") for obs in (1, 2)]
    assert names == sorted(maps_of_both + scans)
