"""The command line, as a user starts it: alone and under mpirun."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scans
import skies
from choices import some_of
from patience import HANGS_S
from spt3g import core, maps

from g3reduce import stitch_files
from g3reduce.mpi.launch import mpirun_command, mpirun_environment

SHARDED = ["--result", "sharded"]

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")


def g3reduce(*arguments, ranks=None, folder=None, **environment):
    command = [sys.executable, "-m", "g3reduce", *map(str, arguments)]
    return subprocess.run(
        mpirun_command(ranks, command) if ranks else command,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        cwd=folder,
        env=mpirun_environment() | environment,
    )


@pytest.fixture
def files(tmp_path):
    return skies.write_files(tmp_path, 4, "flat sparse", "polarized")


def frames_of(path):
    return list(core.G3File(str(path)))


@pytest.mark.parametrize(
    ("ranks", "own"),
    some_of([(None, []), (None, SHARDED), (3, []), (3, SHARDED)], fewer=[(None, []), (3, SHARDED)]),
)
def test_the_flags_of_spt3g_coadd_maps_do_the_same(files, tmp_path, ranks, own):
    flags = ["--collate", "-i", "Sum", "--record-obs-id", "-m", "90GHz", "150GHz"]
    theirs = tmp_path / "theirs.g3"
    tool = shutil.which("spt3g-coadd-maps", path=os.path.dirname(sys.executable))
    subprocess.run([tool, *files, "-o", theirs, *flags], check=True, env=mpirun_environment())
    mine = tmp_path / "mine.g3"
    done = g3reduce("coadd", *files, "-o", mine, *flags, *own, ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert "Sum90GHz: T, Q, U, Wpol from 4 files" in done.stdout
    assert (" on 3 ranks." in done.stdout) == (ranks == 3)
    for a, b in zip(frames_of(mine), frames_of(theirs), strict=True):
        skies.assert_same_coadd(a, b)


def test_quoted_patterns_are_expanded_and_the_default_output_is_that_of_spt3g(files, tmp_path):
    done = g3reduce("coadd", "obs_*.g3", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("s.\n")
    (coadd,) = frames_of(tmp_path / "map_coadd.g3")
    assert coadd["Id"] == "Coadd"
    assert list(coadd["InputFiles"]) == [os.path.basename(file) for file in files]


def test_compressed_files_in_and_out(tmp_path):
    paths = []
    for i, ending in enumerate(["g3.gz", "g3.bz2", "g3"]):
        paths.append(str(tmp_path / f"obs{i}.{ending}"))
        with core.G3Writer(paths[-1]) as writer:
            writer(skies.map_frame("healpix ring", "polarized", seed=i))
    output = tmp_path / "coadd.g3.gz"
    assert g3reduce("coadd", *paths, "-o", output).returncode == 0
    assert output.read_bytes()[:2] == b"\x1f\x8b"
    (coadd,) = frames_of(output)
    skies.assert_same_coadd(coadd, maps.coadd_map_files(paths))


BAD_INPUT = [
    (["none.g3"], 1, "none.g3: No such file or directory."),
    (["none*.g3"], 1, "The pattern 'none*.g3' matches nothing"),
    (["text.g3"], 1, "text.g3: this is not a .g3 file"),
    (["empty.g3"], 1, "empty.g3: the file is empty"),
    (["cut.g3"], 1, "cut.g3, frame 2, byte "),
    (["obs_000.g3", "-m", "220GHz"], 1, "no map with the Id '220GHz' in the input file"),
    (["obs_000.g3", "./obs_000.g3"], 1, "./obs_000.g3, frame 0 came twice"),
    (["obs_000.g3", "--strategy", "ring"], 2, "'ring' is not valid; expected auto, gather"),
    ([], 2, "there are no input files: name them (IN)"),
]


@pytest.mark.parametrize(
    ("ranks", "bad"),
    some_of(
        [None, 2],
        BAD_INPUT,
        fewer=[*((None, bad) for bad in BAD_INPUT[::2]), (2, BAD_INPUT[3])],
    ),
)
def test_bad_input_is_told_once_and_leaves_nothing(files, tmp_path, ranks, bad):
    arguments, code, text = bad
    (tmp_path / "text.g3").write_text("no .g3 file")
    (tmp_path / "empty.g3").touch()
    whole = (tmp_path / "obs_001.g3").read_bytes()
    (tmp_path / "cut.g3").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "old.g3").write_text("an earlier result")
    done = g3reduce("coadd", *arguments, "-o", "old.g3", ranks=ranks, folder=tmp_path)
    assert done.returncode == code
    assert done.stderr.count(text) == 1
    assert done.stderr.count("g3reduce coadd: error:") == 1
    assert "Traceback" not in done.stderr
    assert (tmp_path / "old.g3").read_text() == "an earlier result"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".g3reduce-")]


@pytest.fixture
def scan_files(tmp_path):
    rng = np.random.default_rng(1)
    lists = []
    for obs in (1, 2):
        frames = scans.an_observation(
            rng, (7, 5, 9), gaps=[0, 1, 0], detectors="abcd", obs=obs, detector_flags="int"
        )
        lists.append(scans.write_files(tmp_path, frames, 2, f"scans_{obs}"))
    return lists


@pytest.mark.parametrize("ranks", [None, 3])
def test_scans_are_stitched(scan_files, tmp_path, ranks):
    flags = ["--detector-flags", scans.DETECTOR_FLAGS, "--detectors-per-frame", 3]
    done = g3reduce("stitch", "scans_*.g3", "-o", "out.g3", *flags, ranks=ranks, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = "field-2: 4 detectors, 21 samples from 3 scans over 0.137615 s, 1 gap of 0.0131062 s, "
    assert said in done.stdout
    assert (" on 3 ranks." in done.stdout) == (ranks == 3)
    kinds = [frame.type for frame in frames_of(tmp_path / "out.g3")]
    assert kinds == [
        *(core.G3FrameType.Observation, core.G3FrameType.Calibration),
        *[core.G3FrameType.Scan] * 2,
        *(core.G3FrameType.Observation, *[core.G3FrameType.Scan] * 2),
    ]
    expected = tmp_path / "expected.g3"
    stitch_files(
        [name for files in scan_files for name in files],
        expected,
        detector_flags=scans.DETECTOR_FLAGS,
        detectors_per_frame=3,
    )
    assert (tmp_path / "out.g3").stat().st_size < expected.stat().st_size  # shorter names of files
    for mine, theirs in zip(frames_of(tmp_path / "out.g3"), frames_of(expected), strict=True):
        assert set(mine.keys()) == set(theirs.keys())
        if scans.KEY in mine:
            signals = [np.asarray(frame[scans.KEY]) for frame in (mine, theirs)]
            np.testing.assert_array_equal(*map(scans.bits, signals))


BAD_SCANS = [
    (2, ["scans_1_*.g3", "-t", "Others"], 1, "has no 'Others'; it has "),
    (2, ["cut.g3", "scans_2_*.g3"], 1, "cut.g3, frame 2, byte "),
    (2, ["scans_1_*.g3", "--gaps", "refuse"], 1, "has a gap of 0.0131062 s, 1 sample,"),
    (None, ["scans_1_*.g3", "old.g3"], 1, "old.g3: the output is also an input"),
    (2, ["scans_1_*.g3", "--nets", "NET"], 2, "--nets is only for TOAST's files"),
    (None, ["scans_1_*.g3", "-o", "out"], 2, "a folder (out/) or a name that ends in .h5"),
    (None, ["scans_1_*.g3", "-o", "."], 1, "this folder is not empty"),
    (None, ["scans_1_*.g3", "-o", "x/", "-t", "A", "B"], 2, "give one key of timestreams"),
]


@pytest.mark.parametrize(
    ("ranks", "arguments", "code", "text"), some_of(BAD_SCANS, fewer=BAD_SCANS[1::3])
)
def test_bad_scans_are_told_once_and_leave_nothing(
    scan_files, tmp_path, ranks, arguments, code, text
):
    whole = (tmp_path / "scans_1_00.g3").read_bytes()
    (tmp_path / "cut.g3").write_bytes(whole[:-100])
    earlier = (tmp_path / "scans_2_00.g3").read_bytes()
    (tmp_path / "old.g3").write_bytes(earlier)
    done = g3reduce("stitch", "-o", "old.g3", *arguments, ranks=ranks, folder=tmp_path)
    assert done.returncode == code
    assert done.stderr.count(text) == 1
    assert done.stderr.count("g3reduce stitch: error:") == 1
    assert "Traceback" not in done.stderr
    assert (tmp_path / "old.g3").read_bytes() == earlier
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".g3reduce-")]


def test_the_list_of_strategies_is_that_of_the_library():
    from g3reduce import strategies

    done = g3reduce("coadd", "--help")
    listed = ",".join(["auto", *strategies.names("root")])
    assert f"{{{listed}}}" in done.stdout.replace("\n", "").replace(" ", "")


def test_every_command_has_help_with_an_example():
    done = g3reduce("--help")
    assert done.returncode == 0
    for command in ("coadd", "stitch", "demo"):
        assert command in done.stdout
        text = g3reduce(command, "--help").stdout
        assert "example" in text
        assert f"g3reduce {command}" in text


@pytest.mark.parametrize("command", ["coadd", "stitch"])
def test_one_process_needs_no_mpi_and_imports_only_what_it_uses(
    files, scan_files, tmp_path, command
):
    inputs = files if command == "coadd" else scan_files[0]
    code = (
        "import sys; from g3reduce.cli import main; "
        f"assert main([{command!r}, *{inputs!r}, '-o', {str(tmp_path / 'out.g3')!r}]) == 0; "
        "print(sorted(set(sys.modules) & {'mpi4py', 'mpi4py.MPI', 'healpy', 'astropy', "
        "'matplotlib', 'scipy', 'toast', 'h5py'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_one_process_under_mpirun_needs_no_mpi_either(files, tmp_path):
    code = (
        "import sys; from g3reduce.cli import main; "
        f"assert main(['coadd', *{files!r}, '-o', {str(tmp_path / 'out.g3')!r}]) == 0; "
        "assert 'mpi4py' not in sys.modules"
    )
    command = mpirun_command(1, [sys.executable, "-c", code])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=HANGS_S, env=mpirun_environment()
    )
    assert done.returncode == 0, done.stderr
