"""The flags of ``g3reduce coadd`` about splits, bundles and sign flips."""

import os
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import skies
from choices import some_of
from spt3g import core

from g3reduce import UsageError, coadd_files, splits
from g3reduce.cli import main
from g3reduce.formats import map_frames_in


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = skies.write_files(tmp_path, 6, "healpix ring", "polarized")
    return [os.path.basename(file) for file in made]


def run(*words):
    return main(["coadd", *words])


def frames_in(file):
    return {frame["Id"]: frame for frame in core.G3File(file)}


def assert_same_frames(mine, theirs):
    assert list(mine) == list(theirs)
    for name, frame in mine.items():
        assert sorted(frame.keys()) == sorted(theirs[name].keys())
        assert dict(frame["Split"].items()) == dict(theirs[name]["Split"].items())
        assert list(frame["LedgerNumbers"]["sign"]) == list(theirs[name]["LedgerNumbers"]["sign"])
        skies.assert_same_coadd(frame, theirs[name])


def test_flags_are_what_is_composed_in_python(files, capsys):
    words = ["--split", "early=observation=100[0-3]", "--split", "all=all", "--collate"]
    words += ["--bundles", "2", "--bundle-by", "number", "--signflips", "4", "--seed", "7"]
    assert run(*files, *words, "-o", "out.g3") == 0
    said = capsys.readouterr().out
    assert "150GHz_all_bundle1: T, Q, U, Wpol from 3 files\n" in said
    name = "90GHz_early_bundle0"
    assert f"{name}_signflip000 to {name}_signflip003: 4 sign flips of {name}\n" in said
    assert said.count("signflip003") == 8
    parts = splits.split(early="observation=100[0-3]", all="all")
    parts = splits.by("id") * parts * splits.bundles(2, by="number", seed=7)
    theirs = coadd_files(files, assign=parts * splits.signflips(4, seed=7))
    assert_same_frames(frames_in("out.g3"), theirs)


def test_a_table_says_what_is_split(files, tmp_path):
    rows = "".join(f"{1000 + number},{number % 3}\n" for number in range(6))
    (tmp_path / "table.csv").write_text("obsid,pwv\n" + rows)
    words = ["--split", "wet=pwv>=median", "--split", "dry=pwv<1", "--table", "table.csv"]
    assert run(*files, *words, "--table-key", "obsid", "-o", "out.g3") == 0
    found = {
        name: sorted({*frame["Ledger"]["file"]}) for name, frame in frames_in("out.g3").items()
    }
    assert found == {
        "wet": [file for number, file in enumerate(files) if number % 3 >= 1],
        "dry": [files[0], files[3]],
    }


def test_a_jackknife_lacks_one_bundle(files):
    assert run(*files, "--bundles", "3", "--jackknife", "-o", "out.g3") == 0
    found = frames_in("out.g3")
    for number in range(3):
        others = [found[f"bundle{other}"] for other in range(3) if other != number]
        expected = sum(skies.pixels(frame["T"]) for frame in others)
        np.testing.assert_array_equal(skies.pixels(found[f"jackknife{number}"]["T"]), expected)


def test_coadds_are_made_again_from_their_ledgers(files, capsys):
    words = ["--split", "some=observation=100[0-2]", "--split", "all=all", "--signflips", "5"]
    assert run(*files, *words, "-o", "first.g3", "--collate") == 0
    assert run("--repeat", "first.g3", "-o", "again.g3") == 0
    assert_same_frames(frames_in("again.g3"), frames_in("first.g3"))
    os.mkdir("elsewhere")
    for file in files:
        os.rename(file, f"elsewhere/{file}")
    assert run("--repeat", "first.g3", "-o", "again.g3") == 1
    assert "name all: files" in capsys.readouterr().err
    assert run("--repeat", "first.g3", "elsewhere/*.g3", "-o", "moved.g3") == 0
    assert list(frames_in("moved.g3")) == list(frames_in("first.g3"))
    for file in files:
        os.rename(f"elsewhere/{file}", file)
    os.remove("again.g3")
    with core.G3Writer(files[1]) as writer:  # no map is left in it
        writer(core.G3Frame())
    assert run("--repeat", "first.g3", "-o", "again.g3") == 1
    assert "2 of 12 maps are not there" in capsys.readouterr().err
    assert not os.path.exists("again.g3")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--bundles", "2"], "'bundle0' (one of 2 such coadds)"),
        (["--signflips", "2"], "'Coadd'"),
        (["--signflips", "2", "--reproducible"], "'Coadd'"),
        (["--split", "a=all", "--split", "b=id=90GHz | id=150GHz"], "'a'"),
        (["--bundles", "2", "--collate"], None),
        (["--split", "b=file=*.g3 & id=90GHz"], None),
    ],
)
def test_ids_that_were_mixed_unasked_are_warned_of(files, caplog, words, names):
    assert run(*files, *words, "-o", "out.g3") == 0
    said = [record.getMessage() for record in caplog.records if "Ids" in record.getMessage()]
    expected = f"Maps of 2 Ids ('150GHz', '90GHz') went into one coadd, {names}. For coadds of each"
    assert [expected in line and "--collate" in line for line in said] == [True] * bool(names)
    caplog.clear()
    assert run("--repeat", "out.g3", "-o", "again.g3") == 0
    assert not caplog.records


def test_one_of_several_tables_is_named(files, capsys):
    with closing(sqlite3.connect("t.db")) as database, database:
        for table in ("night", "day"):
            database.execute(f"CREATE TABLE {table} (obs_id, pwv)")
            rows = [(str(1000 + number), number) for number in range(6)]
            database.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)
    words = ["--collate", "--split", "dry=pwv<3", "-o", "out.g3", "--table", "t.db"]
    assert run(*files, *words) == 1
    assert "there are day, night. Name one: --table-name NAME" in capsys.readouterr().err
    assert run(*files, *words, "--table-name", "night") == 0
    (frame, *_) = frames_in("out.g3").values()
    assert frame["Split"]["table"] == "t.db, table night (by obs_id)"
    with pytest.raises(SystemExit):
        run(*files, *words[:-2], "--table-name", "night")
    assert "name this, too (--table FILE)" in capsys.readouterr().err


@pytest.mark.parametrize("ending", some_of([".h5", ".fits"], fewer=[".h5"]))
def test_coadds_of_any_format_are_made_again(files, ending):
    pytest.importorskip("h5py")
    for file in files:
        assert main(["convert", file, "-o", file.replace(".g3", ".h5")]) == 0
    converted = [file.replace(".g3", ".h5") for file in files]
    assert run(*converted, "--split", "high=id=150GHz", "-o", f"first{ending}") == 0
    (first,) = [name for name in os.listdir() if name.startswith("first")]
    os.mkdir("elsewhere")
    for file in converted:
        os.rename(file, f"elsewhere/{file}")
    assert run("--repeat", first, "elsewhere/*.h5", "-o", "again.g3") == 0
    assert run(*files, "--split", "high=id=150GHz", "-o", "whole.g3") == 0
    (again,), (whole,) = frames_in("again.g3").values(), frames_in("whole.g3").values()
    for name in ("T", "Q", "U"):
        np.testing.assert_array_equal(skies.pixels(again[name]), skies.pixels(whole[name]))
    with pytest.raises(UsageError, match=r"say repeat\(..., read=g3reduce.formats.map_frames_in\)"):
        splits.repeat(first)
    moved = [f"elsewhere/{file}" for file in converted]
    assert splits.repeat(first, read=map_frames_in, files=moved).files == moved


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--split", "early"], "expected NAME=RULE"),
        (["--split", "early=date<"], "the rule 'date<' cannot be read"),
        (["--split", "a=all", "--split", "a=all"], "two splits are named 'a'"),
        (["--split", "a=all", "-m", "90GHz"], "name the Ids in a rule"),
        (["--split", "a=all", "-i", "Mine"], "-i cannot be used with splits"),
        (["--jackknife"], "--jackknife needs --bundles N"),
        (["--bundles", "2", "--bundle-days", "3"], "give one"),
        (["--bundle-days", "3", "--bundle-by", "number"], "of use with --bundles only"),
        (["--seed", "3"], "--seed is of use with --split, bundles and sign flips only"),
        (["--repeat", "x.g3", "--signflips", "3"], "--signflips cannot be used with --repeat"),
        (["--split", "wet=pwv<1"], "--table FILE"),
    ],
)
def test_words_that_make_no_sense(files, capsys, words, text):
    try:
        code = run(*files, *words, "-o", "out.g3")
    except SystemExit as end:
        code = end.code
    assert code in (1, 2)
    assert text in " ".join(capsys.readouterr().err.split())
    assert not os.path.exists("out.g3")


def test_a_split_to_which_no_map_is_added_stays_as_it_is(files):
    halves = ["--split", "early=observation=100[0-2]", "--split", "late=observation=100[3-9]"]
    assert run(*files[:5], *halves, "-o", "season.g3") == 0
    assert run("--add", files[5], *halves, "-o", "season.g3") == 0
    assert run(*files, *halves, "-o", "whole.g3") == 0
    assert_same_frames(frames_in("season.g3"), frames_in("whole.g3"))


def test_maps_are_added_to_splits_by_the_same_rules_only(files, capsys):
    split = ["--split", "late=observation=100[2-9]", "-o", "season.g3"]
    assert run(*files[:4], *split) == 0
    assert run("--add", files[4], *split) == 0
    (frame,) = frames_in("season.g3").values()
    assert sorted({*frame["Ledger"]["file"]}) == files[2:5]
    assert run("--add", files[5], "--split", "late=all", "-o", "season.g3") == 2
    assert "is chosen by another rule: late: all. Say the same." in capsys.readouterr().err
    assert run("--add", files[5], "-o", "season.g3") == 2
    assert "Split by the same rule: late: observation=100[2-9]." in capsys.readouterr().err
    assert run("--add", files[5], "--bundles", "2", "-o", "season.g3") == 2
    assert run(*files, "--signflips", "2", "-o", "flips.g3") == 0
    assert run("--add", files[5], "--signflips", "2", "-o", "flips.g3") == 2
    assert "Make them again of all files." in capsys.readouterr().err
