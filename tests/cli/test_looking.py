"""``--list``: what is in files."""

import os

import pytest
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
