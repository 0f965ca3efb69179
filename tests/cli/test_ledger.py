"""g3reduce ledger: what is in a coadd, printed, exported, and asked for."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest
from families import write
from skies import write_files
from spt3g import core, maps

from g3reduce import cli, coadd_files
from g3reduce.limits import LIMITS

IN_NUMBERS = ("sign", "pixels", "weight", "checksum")


@pytest.fixture
def coadd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [write(f"obs{n}.g3", {"90GHz": 10.0**n}, observation=n) for n in range(3)]
    coadd_files(files, "coadd.g3")
    return "coadd.g3"


def ledger(capsys, *words):
    code = cli.main(["ledger", *words])
    return code, capsys.readouterr().out


def test_a_table_has_a_line_for_each_frame_and_the_totals(coadd, capsys):
    code, text = ledger(capsys, coadd)
    head, columns, *rows, total = text.splitlines()
    assert code == 0
    assert head == "coadd.g3, frame 0 (Id 'Coadd'):"
    names = columns.split()
    assert names == ["file", "frame", "id", "observation", *IN_NUMBERS]
    found = [dict(zip(names, row.split(), strict=True)) for row in rows]
    assert [row["file"] for row in found] == [f"obs{n}.g3" for n in range(3)]
    assert [row["observation"] for row in found] == [f"field/{n}" for n in range(3)]
    assert {(row["frame"], row["sign"], row["pixels"], row["weight"]) for row in found} == {
        ("1", "1", "4", "4")
    }
    assert total == "  3 frames of 3 files, 3 observations; 0 left out"


@pytest.mark.parametrize("name", ["coadd.fits", "coadd.h5"])
def test_files_of_any_format_have_the_same_ledger_and_the_same_digests(coadd, capsys, name):
    coadd_files(write_files(".", 2, "healpix ring", "hits"), coadd, map_ids="90GHz")
    to_the_bit = ["--fits-units", "mK"] if name == "coadd.fits" else []
    assert cli.main(["convert", coadd, "-o", name, *to_the_bit]) == 0
    capsys.readouterr()
    _, expected = ledger(capsys, coadd)
    code, text = ledger(capsys, name)
    assert (code, text.splitlines()[1:]) == (0, expected.splitlines()[1:])
    assert cli.main(["digest", "--total", coadd, name]) == 0
    first, second = (line.split()[0] for line in capsys.readouterr().out.splitlines())
    assert first == second


def test_all_formats_say_the_same(coadd, capsys):
    _, text = ledger(capsys, coadd, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    _, text = ledger(capsys, coadd, "--format", "json")
    (one,) = json.loads(text)
    assert [{key: str(value) for key, value in row.items()} for row in one["ledger"]] == [
        {key: value for key, value in row.items() if not key.startswith("coadd")} for row in rows
    ]
    assert one["InputFiles"] == ["obs0.g3", "obs1.g3", "obs2.g3"]
    assert ledger(capsys, coadd, "--format", "sqlite", "-o", "coadd.sqlite") == (0, "")
    database = sqlite3.connect("coadd.sqlite")
    database.row_factory = sqlite3.Row
    found = [dict(row) for row in database.execute("SELECT * FROM ledger")]
    assert [{key: str(value) for key, value in row.items()} for row in found] == rows
    assert database.execute("SELECT count(*) FROM left_out").fetchone()[0] == 0
    database.close()
    assert ledger(capsys, coadd, "--format", "sqlite")[0] == 2
    assert ledger(capsys, coadd, "--format", "csv", "-o", "nowhere/x.csv")[0] == 1


@pytest.mark.parametrize("name", ["obs1.g3", "./obs1.g3", "field/1", "1", "90GHz"])
def test_what_is_in_is_said_with_its_place(coadd, capsys, name):
    code, text = ledger(capsys, coadd, "--input", name)
    assert code == 0
    assert "coadd.g3, frame 0 (Id 'Coadd'): obs1.g3, frame 1 (Id '90GHz', observation fi" in text
    assert len(text.splitlines()) == (3 if name == "90GHz" else 1)


@pytest.mark.parametrize("name", ["obs9.g3", "bs1.g3", "field/9", "field", "150GHz", ""])
def test_what_is_not_in_is_said_too(coadd, capsys, name):
    assert ledger(capsys, coadd, "--input", name) == (1, f"{name} is not in it.\n")


def test_the_maps_are_not_read(coadd, capsys, monkeypatch):
    """A coadd with broken pixels still says what is in it."""
    monkeypatch.setattr(LIMITS, "small_frame", 0)  # small ones are read as a whole
    content = bytearray(Path(coadd).read_bytes())
    content[-1] ^= 1  # the checksum
    Path(coadd).write_bytes(content)
    assert cli.main(["digest", coadd]) == 1
    capsys.readouterr()
    code, text = ledger(capsys, coadd)
    assert code == 0
    assert "3 frames of 3 files" in text


def test_coadds_of_spt3g_say_what_they_list(coadd, capsys):
    with core.G3Writer("theirs.g3") as writer:
        writer(maps.coadd_map_files(["obs0.g3", "obs1.g3"], record_obs_id=True))
    code, text = ledger(capsys, "theirs.g3")
    assert code == 0
    assert "no ledger. It lists 2 files: obs0.g3, obs1.g3;" in text
    assert ledger(capsys, "theirs.g3", "--input", "obs1.g3")[0] == 0
    assert ledger(capsys, "theirs.g3", "--input", "field/1")[0] == 0
    assert ledger(capsys, "theirs.g3", "--input", "obs2.g3")[0] == 1


def test_files_without_maps_are_refused(coadd, capsys):
    with core.G3Writer("none.g3") as writer:
        writer(core.G3Frame(core.G3FrameType.Housekeeping))
    assert cli.main(["ledger", "none.g3"]) == 1
    assert "There is no Map frame in none.g3" in capsys.readouterr().err
    assert cli.main(["ledger", "gone.g3"]) == 1


# The closing lines of a coadd


def test_the_closing_lines_account_for_all_files(coadd, capsys):
    for n in range(7):
        with core.G3Writer(f"empty{n}.g3") as writer:
            writer(core.G3Frame(core.G3FrameType.Housekeeping))
    files = ["obs0.g3", "obs1.g3", *(f"empty{n}.g3" for n in range(7))]
    assert cli.main(["coadd", *files, "-o", "two.g3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[:6] == [
        "Coadd: T, Wunpol from 2 files",
        "Files:        9 given, 9 read",
        "Without maps: 7: empty0.g3, empty1.g3, empty2.g3, empty3.g3, empty4.g3, and 2",
        "              more",
        "Frames:       2: 90GHz (2)",
        "Observations: 2",
    ]


def test_files_that_were_left_out_are_not_counted_as_read(coadd, capsys):
    Path("bad.g3").write_bytes(Path("obs2.g3").read_bytes()[:-9])
    assert cli.main(["coadd", "obs0.g3", "obs1.g3", "bad.g3", "-o", "two.g3", "--skip-bad"]) == 3
    text = capsys.readouterr().out
    assert "Files:        3 given, 2 read" in text
    assert "Left out 1 of 3 files: bad.g3" in text
    assert cli.main(["ledger", "two.g3", "--input", "bad.g3"]) == 1
    assert "bad.g3 is not in it; left out: bad.g3 (" in capsys.readouterr().out
