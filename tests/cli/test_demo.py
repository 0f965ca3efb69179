"""The demo does what it says, with real files, real ranks and real pictures."""

import os
import subprocess
import sys

import numpy as np
import pytest
from choices import among_all
from spt3g import core, maps

from g3reduce.mpi.launch import mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")


def demo(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "g3reduce", "demo", "-d", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=mpirun_environment(),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    done = demo(folder, "--observations", "2", "--ranks", "2")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@among_all
def test_it_says_what_it_did_and_where_the_results_are(made):
    folder, said = made
    assert "Simulating 2 observations of a 20 by 10 degree field with 76 detectors" in said
    assert said.count("$ mpirun -n 2 g3reduce coadd") == 2
    assert said.count(" on 2 ranks.") == 2
    assert said.count("The same as spt3g's serial coadd") == 2
    for kind in ("flat", "healpix"):
        picture = folder / f"coadd_{kind}_150GHz.png"
        assert str(picture) in said
        assert picture.read_bytes().startswith(b"\x89PNG")


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
