"""Names of input files: what patterns stand for, and the first look at each file."""

from __future__ import annotations

import os

import pytest
from skies import write_files

from g3reduce import InputError
from g3reduce.g3files.names import SUFFIXES, check_file, check_files, expand


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of real files, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()


def message(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_pattern_stands_for_its_files_in_sorted_order(folder):
    touch(folder, "obs10.g3", "obs2.g3", "obs1.g3", "other.g3")
    assert expand(["obs*.g3"]) == ["obs1.g3", "obs10.g3", "obs2.g3"]
    assert expand(["obs[12].g3"]) == ["obs1.g3", "obs2.g3"]
    assert expand(["obs?.g3", "other.g3"]) == ["obs1.g3", "obs2.g3", "other.g3"]


def test_the_order_of_patterns_is_kept(folder):
    touch(folder, "a.g3", "b.g3", "c.g3")
    assert expand(["c.g3", "[ab].g3"]) == ["c.g3", "a.g3", "b.g3"]


def test_two_stars_stand_for_folders(folder):
    touch(folder, "2020/a.g3", "2021/deep/b.g3")
    assert expand(["**/*.g3"]) == ["2020/a.g3", "2021/deep/b.g3"]


@pytest.mark.parametrize("suffix", [".g3", ".g3.gz", ".g3.bz2", ".g3.xz"])
def test_a_pattern_takes_files_by_every_name_that_spt3g_reads(folder, suffix):
    touch(folder, f"obs{suffix}", "obs.txt", "obs.g3.old", "obs.fits", "obsg3")
    assert expand(["obs*"]) == [f"obs{suffix}"]
    assert suffix in SUFFIXES


def test_a_file_with_brackets_in_its_name_is_found_by_it(folder):
    touch(folder, "map[150].g3", "map1.g3")
    assert expand(["map[150].g3"]) == ["map[150].g3"]
    os.unlink("map[150].g3")
    assert expand(["map[150].g3"]) == ["map1.g3"]


def test_hidden_files_are_not_matched(folder):
    """Output is written to a hidden file first: patterns must pass it by."""
    touch(folder, ".g3reduce-0123456789abcdef-coadd.g3.partial", ".b.g3", "a.g3")
    assert expand(["*.g3"]) == ["a.g3"]


def test_a_plain_name_is_taken_as_it_is(folder):
    assert expand(["missing.g3", "odd.name", folder / "x.g3"]) == [
        "missing.g3",
        "odd.name",
        str(folder / "x.g3"),
    ]


def test_a_pattern_that_matches_nothing_is_an_error_that_says_where_it_looked(folder):
    text = message(expand, ["none*.g3"])
    assert text == f"The pattern 'none*.g3' matches nothing, seen from {os.getcwd()}."


def test_a_pattern_in_a_folder_of_nearly_this_name_is_suggested(folder):
    os.makedirs("season/flat")
    os.makedirs("seasn_of_nothing")
    touch(folder, "season/flat/a.g3")
    for pattern in ("seasn/flat/*.g3", "season/falt/*.g3", f"{folder}/Season/flat/*.g3"):
        text = message(expand, [pattern])
        assert text.startswith(f"The pattern {pattern!r} matches nothing, seen from ")
        meant = f"{folder}/season/flat/*.g3" if os.path.isabs(pattern) else "season/flat/*.g3"
        assert text.endswith(f"; did you mean {meant!r}?")
    for pattern in ("seasn/flat/*.fits", "other/flat/*.g3", "*/falt/*.g3", "season/flat/x*.g3"):
        assert message(expand, [pattern]).endswith(f", seen from {os.getcwd()}.")


def test_a_pattern_that_matches_other_files_only_says_so(folder):
    touch(folder, "a.fits", "b.fits")
    text = message(expand, ["*.fits"])
    assert text.startswith("The pattern '*.fits' matches 2 files, none of them named *.g3")


@pytest.mark.parametrize("nothing", [[], ()])
def test_no_names_at_all_is_an_error(nothing):
    assert message(expand, nothing) == "No input files were given."


def test_a_good_file_passes_whatever_its_name(folder):
    (name,) = write_files(folder, 1, "flat sparse", "hits")
    check_file(name)
    os.symlink(name, "link [1].g3")
    check_file("link [1].g3")
    check_files([name, "link [1].g3"])
    check_files([])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty. Was the job that wrote it cut off?"),
        (b"\x01\x01\x00", "this is not a .g3 file (it begins with b'\\x01\\x01\\x00')"),
        (b"SIMPLE  = T / FITS", "this is not a .g3 file (it begins with b'SIMPL')"),
        (b"\x89HDF\r\n\x1a\n", "this is not a .g3 file"),
        (b"version https://git-lfs", "this is not a .g3 file"),
        (bytes(100), "this is not a .g3 file"),
    ],
)
def test_a_file_that_cannot_be_g3_is_told_by_its_first_bytes(folder, content, text):
    (folder / "odd.g3").write_bytes(content)
    assert message(check_file, "odd.g3").startswith("odd.g3: " + text)


@pytest.mark.parametrize("name", ["map.fits", "map", "map.g3.zip", "map.g3x", "mapg3", "map.G3"])
def test_a_name_that_spt3g_does_not_know_is_refused_with_the_names_it_knows(folder, name):
    touch(folder, name)
    text = message(check_file, name)
    assert text.startswith(f"{name}: the name does not end in .g3, .g3.gz, .g3.bz2 or .g3.xz")


def test_a_missing_file_and_a_folder_are_told_apart(folder):
    (folder / "folder.g3").mkdir()
    assert message(check_file, "gone.g3") == "gone.g3: No such file or directory."
    assert message(check_file, "folder.g3") == (
        "folder.g3: this is a folder without any file of maps or scans; expected a file."
    )
    os.symlink("gone.g3", "dangling.g3")
    assert message(check_file, "dangling.g3") == "dangling.g3: No such file or directory."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_told(folder):
    touch(folder, "secret.g3")
    os.chmod("secret.g3", 0)
    assert message(check_file, "secret.g3") == "secret.g3: Permission denied."


@pytest.mark.parametrize("suffix", [".g3.gz", ".g3.bz2", ".g3.xz"])
def test_compressed_files_are_not_judged_by_their_first_bytes(folder, suffix):
    (folder / f"a{suffix}").write_bytes(b"\x1f\x8b anything")
    check_file(f"a{suffix}")
    (folder / f"b{suffix}").touch()
    assert "the file is empty" in message(check_file, f"b{suffix}")


def test_streams_are_not_looked_at():
    check_file("tcp://localhost:1234")


def test_all_problems_are_told_at_once(folder):
    touch(folder, "empty.g3", "map.fits")
    (good,) = write_files(folder, 1, "flat sparse", "hits")
    text = message(check_files, ["gone.g3", good, "empty.g3", "map.fits"])
    lines = text.splitlines()
    assert [line.split(":")[0] for line in lines] == ["gone.g3", "empty.g3", "map.fits"]
    assert good not in text


def test_of_many_problems_the_first_ten_are_told_and_the_others_counted():
    ten = [f"gone{number}.g3" for number in range(10)]
    assert len(message(check_files, ten).splitlines()) == 10
    lines = message(check_files, [*ten, "gone10.g3", "gone11.g3"]).splitlines()
    assert [line.split(":")[0] for line in lines[:10]] == ten
    assert lines[10:] == ["... and 2 more"]
