"""Options from a file, and files of options."""

import os
from pathlib import Path

import pytest
import yaml

from g3reduce import cli
from g3reduce.g3files.outputfile import OutputFile

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="is about one process")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def meaning(*words):
    """What a command line means, without what says where it stands."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"g3reduce.cli.{words[0]}.run", seen.append)
        assert cli.main(list(words)) == 0
    ours = ("words", "config", "refuse", "run", "translate")
    return {name: value for name, value in vars(seen[0]).items() if name not in ours}


def error_of(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main(list(words))
    assert end.value.code == 2
    return capsys.readouterr().err


COMMAND_LINES = [
    ["coadd", "a.g3", "b*.g3", "-cvm", "90GHz", "150GHz", "-oout.g3", "--ring", "--seed=3"],
    ["coadd", "@list", "--absmax", "T=3", "--absmax", "Q=4.5e3", "--split", "a=date<2019-05-01"],
    ["coadd", "--add", "null", "x.g3", "--map-ids", "true", "1:30", "007", "ü '\"# x"],
    ["coadd", "a.g3", "--split", "a=all", "--split", "b=id=x*", "--no-check-weighted"],
    ["coadd", "--from-file", "l1", "--from-file", "l2", "--checkpoint-every", "7", "--where", ""],
    ["coadd", "\udcff.g3", "😀.g3", "-m", "a\x7f\x85\u2028\ufeff\n", "-o", "é.g3"],
    ["stitch", "a.g3", "-t", "A", "-t", "B", "-o", "o.g3", "-b", ""],
    ["diff", "a.g3", "b.g3", "--rtol=1e-3", "-q"],
    ["unweight", "a.g3", "--nan", "-o", "b.g3"],
    ["difference", "a.g3", "--halves", "early", "late", "-o", "b.g3"],
    ["noise", "a.g3", "-o", "b.npz", "-o", "c.g3"],
    ["demo", "--ranks", "2"],
]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=lambda words: words[0])
def test_a_file_that_was_written_means_the_same(words):
    assert cli.main([*words, "--write-config", "job.yaml"]) == 0
    assert yaml.safe_load(Path("job.yaml").read_text("utf-8"))["command"] == words[0]
    assert meaning(words[0], "--config", "job.yaml") == meaning(*words)


def test_the_command_line_wins(folder):
    (folder / "job.yaml").write_text(
        "command:\nabsmax: {T: 3}\n"
        "files: [a.g3, b.g3]\nmap_ids: [A, B]\n--collate: true\nnest: true\nlike:\n"
        "split: {x: all, 'y': 'id=A'}\nreproducible: false\nstrategy: tree\n"
    )
    found = meaning("coadd", "--config=job.yaml")
    assert (found["files"], found["map_ids"], found["collate"]) == (
        ["a.g3", "b.g3"],
        ["A", "B"],
        True,
    )
    assert (found["nested"], found["like"], found["reproducible"]) == (True, None, False)
    assert (found["split"], found["absmax"]) == ([("x", "all"), ("y", "id=A")], {"T": 3.0})
    words = ["c.g3", "-m", "C", "--ring", "--config", "job.yaml", "--strategy", "owner"]
    found = meaning("coadd", *words, "--split", "z=all")
    assert (found["files"], found["map_ids"], found["nested"]) == (["c.g3"], ["C"], False)
    assert (found["strategy"], found["split"]) == ("owner", [("z", "all")])


def test_values_that_begin_with_a_dash(folder):
    """On the command line only -m=-x says it, of one value."""
    (folder / "job.yaml").write_text("map-ids: [-x, --, -5, --collate]\nfiles: [-a.g3, --]\n")
    found = meaning("coadd", "--config", "job.yaml")
    assert found["map_ids"] == ["-x", "--", "-5", "--collate"]
    assert found["files"] == ["-a.g3", "--"]
    assert not found["collate"]
    (folder / "job.yaml").write_text("halves: [-early, late]\nfiles: [a.g3]\noutput-file: b.g3\n")
    assert meaning("difference", "--config", "job.yaml")["halves"] == ["-early", "late"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x: 1", "job.yaml, line 1: g3reduce coadd has no option 'x'\n"),
        ("\nmap-id: A", "line 2: g3reduce coadd has no option 'map-id'; did you mean map-ids?"),
        ("outcome-file: x", "has no option 'outcome-file'"),
        ("collate: yes", "line 1: collate is 'yes'; expected true or false."),
        ("strategy: [tree, owner]", "strategy has several values; expected one."),
        ("map-ids: [[A]]", "map-ids: expected a list of values, or NAME: VALUE."),
        ("collate: true\ncollate: true", "line 2: collate is there twice."),
        ("command: stitch", "these are options of g3reduce stitch, not of coadd."),
        ("strategy: Tree", "or owner; did you mean tree? (job.yaml, line 1)"),
        ("\nseed: -1", "expected a whole number of 0 or more (job.yaml, line 2)"),
        ("? [a, b]\n: c", "line 1: expected the name of an option, as in 'collate: true'."),
        ("command: [coadd]", "line 1: command has several values; expected coadd."),
        ("collate: [true]", "collate has several values; expected true or false."),
        ("files: {a.g3: b}", "files has values with names; expected a list of values."),
        ('like: "a\\0b"', "like is 'a\\x00b'; expected a text without the character 0."),
        ("- a", "expected options, one a line"),
        ("a: [", "job.yaml, line 1: this is no YAML file"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(text, told, folder, capsys):
    (folder / "job.yaml").write_text(text)
    assert told in error_of(capsys, "coadd", "a.g3", "--config", "job.yaml")


def test_files_of_options_that_cannot_be_there(folder, capsys):
    assert "none.yaml: these options cannot be read" in error_of(
        capsys, "info", "--config", "none.yaml"
    )
    assert cli.main(["info", "a.g3", "--write-config", "map.g3"]) == 2
    assert "--write-config is 'map.g3'; expected a name that ends in" in capsys.readouterr().err
    assert not (folder / "map.g3").exists()
    assert cli.main(["info", "a.g3", "--write-config", "-"]) == 0
    assert "command: info\nfiles:\n  - a.g3\n" in capsys.readouterr().out


def test_a_file_of_options_that_cannot_be_written_whole_leaves_the_old_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text("collate: true\n")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OutputFile, "write", full)
    assert cli.main(["coadd", "a.g3", "--write-config", "job.yaml"]) == 1
    assert os.listdir() == ["job.yaml"]
    assert (tmp_path / "job.yaml").read_text() == "collate: true\n"
