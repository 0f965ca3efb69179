"""Words of the command line: where files may stand, and flags in messages."""

import argparse
import itertools
import os
import re
import subprocess
import sys

import pytest
from patience import HANGS_S
from spt3g import core

from g3reduce import cli
from g3reduce.cli.messages import Flags

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="is about one process")


def options_of(*words):
    """What a command line means."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"g3reduce.cli.{words[0]}.run", seen.append)
        assert cli.main(list(words)) == 0
    return seen[0]


FILES = ["b.g3", "a.g3.gz", "obs/*.g3"]
FLAGS = (["-m", "90GHz", "150GHz"], ["-o", "out.g3"], ["--absmax", "T=3", "Wpol=4"], ["-c"])


@pytest.mark.parametrize("cut", range(4))
@pytest.mark.parametrize("flags", list(itertools.permutations(FLAGS))[::3])
def test_files_may_stand_anywhere_among_the_flags(flags, cut):
    words = ["coadd", *flags[0], *FILES[:cut], *flags[1], *FILES[cut:], *flags[2], *flags[3]]
    options = options_of(*words)
    assert options.files == FILES
    assert options.map_ids == ["90GHz", "150GHz"]
    assert options.output_file == "out.g3"
    assert options.absmax == {"T": 3, "Wpol": 4}
    assert options.collate


@pytest.mark.parametrize(
    ("words", "files", "ids"),
    [
        (["-m", "150GHz", "obs.g3"], ["obs.g3"], ["150GHz"]),
        (["-cm", "150GHz", "obs.g3"], ["obs.g3"], ["150GHz"]),
        (["--map", "A", "B", "obs.g3"], ["obs.g3"], ["A", "B"]),
        (["-mA", "obs.g3"], ["obs.g3"], ["A"]),
        (["--map-ids=A", "obs.g3"], ["obs.g3"], ["A"]),
        (["-m", "A", "-v", "obs.g3"], ["obs.g3"], ["A"]),
        (["-m", "A", "--", "odd", "-names"], ["odd", "-names"], ["A"]),
        (["-m", "A", "two words.g3"], ["two words.g3"], ["A"]),
        (["-m", "A", "tcp://host:1234"], ["tcp://host:1234"], ["A"]),
        (["obs.g3", "-m", "A", "./more"], ["obs.g3"], ["A", "./more"]),
        (["folder", "-m", "A"], ["folder"], ["A"]),
        (["-m", "A", "a.g3", "-m", "B", "C", "b.g3"], ["a.g3", "b.g3"], ["A", "B", "C"]),
    ],
)
def test_a_list_of_ids_does_not_swallow_files(words, files, ids):
    options = options_of("coadd", *words)
    assert (options.files, options.map_ids) == (files, ids)


def test_a_list_of_keys_does_not_swallow_files():
    options = options_of("stitch", "-o", "out.g3", "-t", "Left", "Right", "scans_*.g3")
    assert (options.files, options.timestreams) == (["scans_*.g3"], ["Left", "Right"])


def test_what_stands_after_an_option_and_its_sign_is_its_value():
    words = ["--where=freq_channel = 'f090'", "--split=dry=pwv<1 & ~(pwv<0.5)", "--table=a b.csv"]
    options = options_of("coadd", "a.g3", *words, "--bundles=2", "--output-file=-c d.g3")
    assert (options.files, options.where) == (["a.g3"], "freq_channel = 'f090'")
    assert options.split == [("dry", "pwv<1 & ~(pwv<0.5)")]
    assert (options.table, options.output_file) == ("a b.csv", "-c d.g3")


def test_lists_that_are_given_twice_are_one_list():
    options = options_of("coadd", "--absmax", "T=3", "--absmax", "Q=4", "a.g3")
    assert options.absmax == {"T": 3, "Q": 4}
    options = options_of("stitch", "-t", "A", "-o", "out.g3", "-t", "B", "a.g3")
    assert options.timestreams == ["A", "B"]


def test_alone_it_shows_its_help(capsys):
    assert cli.main([]) == 0
    shown = capsys.readouterr()
    assert not shown.err
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert shown.out == capsys.readouterr().out


def test_the_help_lists_each_command_once_in_its_group(capsys):
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    sections = dict(re.findall(r"^([a-z ,]+):\n((?:  .*\n)+)", shown, re.M))
    found = {title: re.findall(r"^  (\w+) ", text, re.M) for title, text in sections.items()}
    assert found == {**{title: [*names] for title, names in cli.GROUPS.items()}, "options": []}
    with pytest.raises(SystemExit):
        cli.main(["help"])
    assert capsys.readouterr().out == shown
    with pytest.raises(SystemExit):
        cli.main(["help", "digest"])
    assert "usage: g3reduce digest" in capsys.readouterr().out


@pytest.mark.parametrize("command", [None, *cli.COMMANDS])
def test_help_fits_a_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([*filter(None, [command]), "--help"])
    lines = capsys.readouterr().out.splitlines()
    choices = re.compile(r" *\[--[a-z-]+ \{[a-z_,]+\}\]")  # which argparse does not cut
    assert not [line for line in lines if len(line) > 80 and not choices.fullmatch(line)]


@pytest.mark.parametrize("command", ["coadd", "check", "stitch"])
def test_help_of_many_flags_has_headings(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    for heading in (
        "input",
        *{"coadd": ("coadds that grow", "checkpoints", "ranks")}.get(command, ()),
    ):
        assert f"\n\n{heading}:\n" in shown
    without_heading = re.search(r"^options:\n(.*?)\n\n", shown, re.M | re.S)[1]
    flags = {"--help", "--verbose", "--quiet"}
    assert {*re.findall(r"--[a-z-]+", without_heading)} <= flags


def test_check_takes_the_flags_of_coadd_about_what_is_added():
    words = ["-cm", "A", "--no-check-weighted", "--pol-conv", "IAU", "--nonfinite", "skip"]
    for command in ("check", "coadd"):
        options = options_of(command, *words, "a.g3")
        assert (options.collate, options.map_ids, options.weighted) == (True, ["A"], False)
        assert (options.pol_conv, options.nonfinite, options.reproducible) == ("IAU", "skip", False)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["coadd", "--absmax", "foo", "a.g3"], "--absmax: 'foo': expected X or MAP=X"),
        (["coadd", "--absmax", "-5", "a.g3"], "'-5': expected X or MAP=X with a positive"),
        (["coadd", "--absmax", "T=nan", "a.g3"], "'T=nan': expected X or MAP=X with a positive"),
        (["coadd", "--absmax", "T=3", "T=4", "a.g3"], "there are two bounds for T"),
        (["coadd", "--absmax", "3", "4", "a.g3"], "there are two numbers"),
        (["coadd", "--absmax", "3", "T=4", "a.g3"], "expected one number, or MAP=X for each map"),
        (["coadd", "--foo", "a.g3"], "g3reduce coadd: error: there is no option --foo"),
        (["coadd", "a.g3", "-m"], "-m/--map-ids: expected at least one argument"),
        (
            ["stitch", "-o", "o.g3", "--detectors-per-frame", "0", "a.g3"],
            "'0' is not valid; expected a whole",
        ),
        (["demo", "extra"], "unexpected word 'extra'; this command takes no files"),
        (
            ["demo", "--ranks", "two"],
            "'two' is not valid; expected a whole number of 1",
        ),
        (
            ["demo", "--seed", "-1"],
            "--seed: '-1' is not valid; expected a whole number of 0",
        ),
        (["sum", "a.g3"], "g3reduce: error: there is no command 'sum'; did you mean coadd?"),
        (["coad", "a.g3"], "there is no command 'coad'; did you mean coadd?"),
        (["help", "coad"], "there is no command 'coad'; did you mean coadd?"),
        (["obs/a.g3"], "say what to do with it, as in g3reduce info obs/a.g3"),
        (["xyz"], "error: there is no command 'xyz'\n"),
        (["--foo", "coadd"], "there is no option --foo before the name of a command"),
        (["coadd", "--resum", "--colate"], "there is no option --colate; did you mean --collate?"),
        (["coadd", "--deep"], "there is no option --deep; g3reduce check has it"),
        (["plot", "a.g3", "--retries=1"], "there is no option --retries; g3reduce coadd has it"),
        (["coadd", "a.g3", "-output-file", "b"], "no option -output-file; did you mean --output"),
        (["stitch", "--outptu-file", "b.g3"], "no option --outptu-file; did you mean --output-fil"),
        (["coadd", "a.g3", "--strategy", "Tree"], "or owner; did you mean tree?"),
        (["completion", "fish"], "shell: 'fish' is not valid; expected bash, zsh or tcsh"),
        (["diff", "a.g3", "b.g3", "c.g3"], "unexpected word 'c.g3'; this command takes A and B"),
        (["diff", "a.g3", "--ledger"], "the following arguments are required: B"),
    ],
)
def test_what_cannot_be_meant_is_told_before_any_work(words, text, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert capsys.readouterr().err.count(text) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gaps is 'x'; expected keep or fill, or None.", "--gaps is 'x'; expected keep or fill."),
        ("what of the gaps is fine, or None.", "what of the gaps is fine, or None."),
        ("Is of use with reproducible=True only", "Is of use with --reproducible only"),
        ('Convert them with pol_conv="IAU".', "Convert them with --pol-conv IAU."),
        ("weighted=False adds them", "--no-check-weighted adds them"),
        ("obs/map_ids.g3: map_ids, pol_conv: no", "obs/map_ids.g3: --map-ids, --pol-conv: no"),
        ("It has 'map_ids' and map_ids=\"A\"", "It has 'map_ids' and --map-ids A"),
        ("Leave output_file out.", "Leave --output-file out."),
        ("Name the key by gaps=.", "Name the key by --gaps."),
        ("gaps is 'x' and map_ids is 'y'.", "--gaps is 'x' and --map-ids is 'y'."),
        ("pol_conv is 'x' and gaps is 'y'.", "--pol-conv is 'x' and --gaps is 'y'."),
        ("gaps is 3; expected A, or None for all.", "--gaps is 3; expected A."),
        ("files is empty", "IN is empty"),
        ("no number; output_file needs one", "no number; --output-file needs one"),
        ("say coord= (or, where files are coadded, pol_conv=), as", "say --pol-conv, as"),
        (
            'U differs in pol_conv, A and B (pol_conv="A" or "B" converts); map_ids, 1 and 2.',
            "U differs in pol_conv, A and B (--pol-conv A or B converts); map_ids, 1 and 2.",
        ),
        ("say gaps= (or, where files are coadded, coord=), as", "say --gaps, as"),
    ],
)
def test_messages_name_flags(text, expected):
    parser = argparse.ArgumentParser()
    parser.add_argument("files", metavar="IN")
    for name in ("--map-ids", "--pol-conv", "-o --output-file", "--gaps"):
        parser.add_argument(*name.split())
    parser.add_argument("--reproducible", action="store_true")
    parser.add_argument("--no-check-weighted", dest="weighted", action="store_false")
    assert Flags(parser._actions).translate(text) == expected


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--absmax", "5"], "--absmax is given, but is of use with --reproducible only"),
        (["--absmax", "Z=5", "--reproducible"], "--absmax has a bound for 'Z'; expected a plane"),
        (["-m", "220GHz"], "no map with the Id '220GHz' in the input file; these Ids are there"),
        (["obs_000.g3"], "Name each file once, or pass --on-duplicate skip"),
        (["--checkpoint", "c", "--result", "sharded"], "with --checkpoint one rank writes"),
        (
            ["--split", "a=all", "--passes", "2", "--checkpoint", "c"],
            "--passes 2 cannot be used with --checkpoint.",
        ),
    ],
)
def test_errors_of_the_library_name_flags(words, text, tmp_path, survey, monkeypatch, capsys):
    survey(1, "flat sparse", "polarized")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["coadd", *words, "obs_000.g3", "-o", "out.g3"]) in (1, 2)
    said = capsys.readouterr().err
    assert text in said
    assert not os.path.exists("out.g3")
    for name in ("on_duplicate", "map_ids", "absmax is", "reproducible="):
        assert f" {name}" not in said


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["empty"], "empty: this is a folder without any file of maps or scans; expected a file."),
        (["folder"], "folder: this is a folder; did you mean 'folder/*.g3' (1 file)?"),
        (["folder/"], "folder/: this is a folder; did you mean 'folder/*.g3' (1 file)?"),
        ([""], "The name of an input file is empty."),
    ],
)
def test_names_that_are_no_files_are_told(words, text, tmp_path, survey, monkeypatch, capsys):
    survey(1, "flat sparse", "hits")
    for name in ("folder", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "a.g3").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["coadd", *words]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["info", "digest", "ledger", "plot", "noise", "convert", "diff"]
)
def test_a_folder_is_no_file_of_any_command(command, tmp_path, monkeypatch, capsys):
    """The files that may be meant are found, those of several folders apart."""
    for name in ("season/flat/a.g3", "season/flat/b.g3", "season/b [2]/c.fits", "season/log/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    more = {"convert": ["-o", "out.fits"], "diff": ["b.g3"]}.get(command, [])
    assert cli.main([command, "season", *more]) == (2 if command == "diff" else 1)
    meant = "did you mean 'season/b [[]2]/*.fits' (1 file) or 'season/flat/*.g3' (2 files)?"
    assert f"season: this is a folder; {meant}" in capsys.readouterr().err


def test_lists_and_patterns_name_files_of_commands_for_one_rank(
    tmp_path, survey, monkeypatch, capsys
):
    survey(3, "flat sparse", "hits")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("# two of them\nobs_002.g3\n\nobs_000.g3\n")
    for words, names in (
        (["@list.txt"], ["obs_002.g3", "obs_000.g3"]),
        (["obs_00[12].g3", "obs_000.g3"], ["obs_001.g3", "obs_002.g3", "obs_000.g3"]),
    ):
        assert cli.main(["digest", "--total", *words]) == 0
        assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == names
    assert cli.main(["info", "@none.txt"]) == 1
    assert "none.txt: this list of files cannot be read" in capsys.readouterr().err
    assert cli.main(["ledger", "none*.g3"]) == 1
    assert "The pattern 'none*.g3' matches nothing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "out.txt"])
def test_names_of_outputs_that_say_no_format_are_bad_usage(name, capsys):
    assert cli.main(["coadd", "obs_000.g3", "-o", name]) == 2
    assert f"{name or repr(name)}: the name does not say what format" in capsys.readouterr().err


def test_what_has_no_maps_has_no_digest(tmp_path, capsys):
    file = str(tmp_path / "none.g3")
    with core.G3Writer(file) as writer:
        writer(core.G3Frame(core.G3FrameType.Scan))
    assert cli.main(["digest", file]) == 1
    assert f"There is no Map frame in {file}" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_digest_that_cannot_be_printed_is_an_error(survey):
    (file,) = survey(1, "flat sparse", "hits")
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "g3reduce", "digest", file]
        done = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANGS_S
        )
    assert done.returncode == 1
    assert done.stderr.count("standard output cannot be written (No space left on device)") == 1
    assert "Traceback" not in done.stderr


def test_the_demo_tells_where_it_cannot_write(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["demo", "-d", str(tmp_path / "file")]) == 1
    assert f"{tmp_path / 'file'}" in capsys.readouterr().err


def test_ids_that_end_like_files_can_be_given(survey):
    (file,) = survey(1, "flat sparse", "hits")
    frames = [frame for frame in core.G3File(file) if frame.type == core.G3FrameType.Map]
    assert frames
    options = options_of("coadd", "--map-ids=odd.g3", file)
    assert (options.map_ids, options.files) == (["odd.g3"], [file])


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["coadd", "{0}", "{1}", "-o", "out.g3"], "out.g3"),
        (["check", "{0}", "{1}"], None),
        (["convert", "{0}", "-o", "out.h5"], "out.h5"),
        (["unweight", "{0}", "-o", "out.g3"], "out.g3"),
        (["ledger", "{0}", "-f", "csv", "-o", "out.csv"], "out.csv"),
        (["diff", "{0}", "{0}"], None),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_quiet_commands_print_nothing(words, written, tmp_path, survey, monkeypatch, capfd):
    files = survey(2, "flat sparse", "polarized")
    monkeypatch.chdir(tmp_path)
    assert cli.main([*(word.format(*files) for word in words), "-q"]) == 0
    assert capfd.readouterr() == ("", "")
    assert written is None or os.path.getsize(written)


def test_a_quiet_command_still_tells_of_errors_and_the_next_one_speaks(tmp_path, survey, capsys):
    (file,) = survey(1, "flat sparse", "hits")
    assert cli.main(["ledger", file, "-q", "--input", "none"]) == 1
    assert not capsys.readouterr().out
    assert cli.main(["coadd", "-q", "none.g3", "-o", str(tmp_path / "out.g3")]) == 1
    assert "none.g3: No such file" in capsys.readouterr().err
    assert cli.main(["convert", file, "-o", str(tmp_path / "out.h5")]) == 0
    assert "Wrote" in capsys.readouterr().out
