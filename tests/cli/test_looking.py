"""``--list``: what is in files; ``--dry-run``: what would be made of them."""

import os

import numpy as np
import pytest
import scans
import skies
from spt3g import core

from g3reduce import cli

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="is about one process")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    skies.write_files(tmp_path, 2, "flat sparse", "polarized")
    return tmp_path


def test_a_line_a_file_says_what_is_in_it(folder, capsys):
    os.truncate("obs_001.g3", os.path.getsize("obs_001.g3") - 20)
    assert cli.main(["coadd", "--list", "obs_*.g3", "nothing.g3"]) == 1
    first, second, third, last = capsys.readouterr().out.splitlines()
    kinds = [str(frame.type) for frame in core.G3File("obs_000.g3")]
    ids = [frame["Id"] for frame in core.G3File("obs_000.g3") if frame.type.name == "Map"]
    assert kinds == ["Observation", "Map", "Map"]
    assert first.startswith("obs_000.g3: ")
    assert first.endswith(
        f"kB, Observation (1), Map (2), Id {ids[0]} (1), {ids[1]} (1), of field/1000"
    )
    assert "Map (1), Id 90GHz (1), of field/1001, cut off" in second
    assert third == "nothing.g3: missing"
    assert last.startswith("3 files, ")
    assert last.endswith("5 frames; 2 cannot be read")
    assert sorted(os.listdir()) == ["obs_000.g3", "obs_001.g3"]


def test_scans_are_listed_and_no_output_is_needed(folder, capsys):
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["SourceName"], frame["ObservationID"] = "field", 7
    frame["CalTimestreams"] = core.G3TimestreamMap()
    core.G3Writer("scans.g3")(frame)
    assert cli.main(["stitch", "--list", "scans.g3"]) == 0
    assert "Scan (1), of field/7\n" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        cli.main(["stitch", "scans.g3"])
    assert end.value.code == 2
    assert "required: -o/--output-file" in capsys.readouterr().err


def test_a_dry_run_of_stitching(folder, capsys):
    made = scans.an_observation(np.random.default_rng(1), detectors="abc", obs=7)
    scans.write_files(folder, made, 2, "scans")
    words = ["stitch", "scans_*.g3", "-o", "whole.g3"]
    assert cli.main([*words, "--dry-run"]) == 0
    about, last = capsys.readouterr().out.splitlines()
    assert last == "Dry run: nothing was written to whole.g3."
    assert not os.path.exists("whole.g3")
    assert cli.main(words) == 0
    assert capsys.readouterr().out.splitlines()[0] == about
    assert cli.main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("written to whole.g3 (it would be replaced).\n")
    assert cli.main([*words, "--dry-run", "-t", "Other"]) == 1
    assert cli.main(["stitch", "scans_*.g3", "-o", "whole/", "--dry-run"]) == 2
    assert not os.path.exists("whole")


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "out.fits", "--fits-units", "mK", "--collate", "-i", "All"],
        ["-o", "out.g3", "--split", "one=observation=1000", "--split", "all=all", "--signflips=2"],
        ["-o", "out.h5", "-m", "90GHz"],
    ],
)
def test_a_dry_run_writes_nothing_and_names_what_a_run_writes(folder, capsys, words):
    before = sorted(os.listdir())
    assert cli.main(["coadd", "obs_*.g3", *words, "--dry-run"]) == 0
    assert sorted(os.listdir()) == before
    said = capsys.readouterr().out
    assert said.endswith("Dry run: nothing was added or written.\n")
    assert max(map(len, said.splitlines())) <= 80
    assert cli.main(["coadd", "obs_*.g3", *words]) == 0
    output = next(line for line in said.splitlines() if line.startswith("Output:"))
    written = output.removeprefix("Output:").strip().split(", ")
    assert sorted([*before, *written]) == sorted(os.listdir())
    if "--signflips=2" in words:
        assert "one: 2 maps, 2 sign flips\nall: 4 maps, 2 sign flips\n" in said
    if "-m" in words:
        assert "Coadd: 2 maps\nFiles:        2 given, 2 to be read, " in said


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing.g3"], "nothing.g3"),
        (["-m", "220GHz"], "no map with the Id '220GHz' in the 2 input files; these Ids are"),
        (["-o", "missing/out.g3"], "missing"),
        (["--bundles", "3", "--bundle-by", "number"], "bundles"),
    ],
)
def test_a_dry_run_tells_what_a_run_would(folder, capsys, words, text):
    assert cli.main(["coadd", "obs_*.g3", "--dry-run", *words]) in (1, 2)
    said = capsys.readouterr().err
    assert text in said
    assert cli.main(["coadd", "obs_*.g3", *words]) in (1, 2)
    assert text in capsys.readouterr().err


def test_what_would_be_left_out_is_told(folder, capsys):
    os.truncate("obs_001.g3", 100)
    assert cli.main(["coadd", "obs_*.g3", "--dry-run"]) == 1
    assert cli.main(["coadd", "obs_*.g3", "--dry-run", "--skip-bad"]) == 3
    said = capsys.readouterr().out
    assert "Files:        2 given, 1 to be read, " in said
    assert "Left out 1 of 2 files: obs_001.g3 (" in said


def test_a_dry_run_makes_no_folder_of_checkpoints(folder, capsys):
    before = sorted(os.listdir())
    words = ["coadd", "obs_*.g3", "--dry-run", "-o", "out.g3", "--checkpoint", "parts"]
    assert cli.main(words) == 0
    assert "Checkpoints:  in parts\n" in capsys.readouterr().out
    assert sorted(os.listdir()) == before
