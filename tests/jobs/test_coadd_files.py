"""coadd_files in one process, against spt3g's own coadd_map_files."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from skies import KINDS, WEIGHTINGS, assert_same_coadd, map_frame, planes, write_files
from spt3g import core, maps

from g3reduce import (
    Coadds,
    DuplicateError,
    G3ReduceError,
    InputError,
    MismatchError,
    OutputError,
    UsageError,
    coadd_files,
)

MAP = core.G3FrameType.Map


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frames_of(file):
    return [frame for frame in core.G3File(str(file)) if frame.type == MAP]


def assert_same(mine, theirs):
    """Coadds, or mappings of them, of which one by spt3g may be the only one."""
    if isinstance(theirs, dict):
        assert list(mine) == list(theirs)
        for name, frame in mine.items():
            assert_same_coadd(frame, theirs[name])
    else:
        assert_same_coadd(mine.frame if isinstance(mine, Coadds) else mine, theirs)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_coadd_is_that_of_spt3g(survey, kind, weighting):
    files = survey(4, kind, weighting)
    assert_same(coadd_files(files).frame, maps.coadd_map_files(files))


@pytest.mark.parametrize("kind", KINDS)
def test_small_sums_are_written_as_large_ones_are(survey, tmp_path, limits, kind):
    files, written = survey(3, kind, "polarized"), []
    for small_sum in (0, 2**20):
        limits(small_sum=small_sum)
        output = tmp_path / f"{small_sum}.g3"
        coadds = coadd_files(files, output, collate=True)
        assert_same(coadds, maps.coadd_map_files(files, collate=True))
        written.append(output.read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"map_ids": ["150GHz"]},
        {"map_ids": "150GHz", "output_map_id": "High"},
        {"collate": True},
        {"collate": True, "output_map_id": "", "record_obs_id": True},
        {"record_obs_id": True},
        {"weighted": False},
    ],
    ids=str,
)
def test_arguments_mean_what_they_mean_in_spt3g(survey, arguments):
    files = survey(3, "healpix ring", "unweighted")
    assert_same(coadd_files(files, **arguments), maps.coadd_map_files(files, **arguments))


def test_the_order_of_files_is_the_order_of_the_inputs(survey):
    files = survey(4, "flat sparse", "hits")[::-1]
    given = list(files)
    for schedule in ("dynamic", "static"):
        assert_same(coadd_files(given, schedule=schedule).frame, maps.coadd_map_files(files))
    assert given == files


def test_coadds_of_coadds_are_coadds_of_all(tmp_path, survey):
    files = survey(4, "healpix ring", "polarized")
    parts = [str(tmp_path / f"part{i}.g3") for i in range(2)]
    for i, part in enumerate(parts):
        coadd_files(files[2 * i : 2 * i + 2], part)
    assert_same(coadd_files(parts).frame, maps.coadd_map_files(files))


def test_assign_makes_splits_of_files(survey):
    files = survey(2, "flat dense", "hits")
    splits = coadd_files(files, assign=lambda frame: {"sum": 1, frame["Id"]: -1})
    assert list(splits) == ["90GHz", "sum", "150GHz"]
    one = maps.coadd_map_files(files, map_ids=["90GHz"])
    assert planes(splits["90GHz"])["T"].tolist() == (-planes(one)["T"] + 0.0).tolist()
    assert planes(splits["90GHz"])["H"].tolist() == planes(one)["H"].tolist()


@pytest.mark.parametrize("suffix", [".g3.gz", ".g3.bz2"])
def test_compressed_files_are_read(folder, suffix):
    files = write_files(folder, 2, "healpix ring", "hits")
    expected = coadd_files(files).frame
    packed = []
    for file in files:
        packed.append(file.replace(".g3", suffix))
        writer = core.G3Writer(packed[-1])
        for frame in core.G3File(file):
            writer(frame)
        writer(core.G3Frame(core.G3FrameType.EndProcessing))
    del writer
    mine = coadd_files(f"*{suffix}").frame
    assert planes(mine)["T"].tolist() == planes(expected)["T"].tolist()
    assert list(mine["InputFiles"]) == [os.path.basename(file) for file in packed]


def test_patterns_and_paths_stand_for_files(folder):
    files = write_files(folder, 3, "flat sparse", "hits")
    names = [os.path.basename(file) for file in files]
    expected = maps.coadd_map_files(names)
    (folder / "notes.txt").write_text("no map")
    for given in ("obs_*.g3", "*", ["obs_000.g3", "obs_00[12].g3"], [Path(name) for name in names]):
        assert_same(coadd_files(given).frame, expected)
    assert_same(coadd_files(Path(names[0])).frame, maps.coadd_map_files(names[:1]))


# The output


@pytest.mark.parametrize("collate", [False, True])
@pytest.mark.parametrize("kind", ["flat sparse", "flat dense", "healpix ring shifted"])
def test_what_is_written_is_what_is_returned(folder, kind, collate):
    files = write_files(folder, 3, kind, "polarized")
    mine = coadd_files(files, "coadd.g3", collate=collate)
    written = frames_of("coadd.g3")
    if collate:
        assert [frame["Id"] for frame in written] == ["Coadd90GHz", "Coadd150GHz"]
    for frame, returned in zip(written, mine.values(), strict=True):
        assert_same_coadd(frame, returned)
    assert_same(mine, maps.coadd_map_files(files, collate=collate))


def test_an_earlier_output_is_replaced(folder):
    files = write_files(folder, 2, "flat sparse", "hits")
    coadd_files(files[:1], Path("coadd.g3"))
    coadd_files(files, Path("coadd.g3"))
    assert list(frames_of("coadd.g3")[0]["InputFiles"]) == files


def test_an_earlier_output_that_the_pattern_matches_is_not_added_to_the_new_one(folder):
    write_files(folder, 2, "flat sparse", "hits")
    coadd_files("*.g3", "coadd.g3")
    before = Path("coadd.g3").read_bytes()
    with pytest.raises(OutputError, match=r"^coadd\.g3: the output is also an input \(coadd\.g3\)"):
        coadd_files("*.g3", "coadd.g3")
    assert Path("coadd.g3").read_bytes() == before


# What goes wrong


def lengths_of_frames(file):
    """Where each frame of a file ends."""
    ends = [0]
    for frame in core.G3File(file):
        ends.append(ends[-1] + len(frame.__getstate__()[1]))
    assert ends[-1] == os.path.getsize(file)
    return ends[1:]


def cut_inside_a_frame(file):
    os.truncate(file, lengths_of_frames(file)[1] + 200)


def cut_inside_a_header(file):
    os.truncate(file, lengths_of_frames(file)[1] + 3)


def overwrite(offset, new):
    def change(file):
        with open(file, "r+b") as stream:
            stream.seek(lengths_of_frames(file)[1] + offset)
            stream.write(new)

    return change


def zeros_to_the_end(file):
    """As a crash may leave a file. To spt3g, 17 zeros are an empty frame, checksum and all."""
    start = lengths_of_frames(file)[1]
    with open(file, "r+b") as stream:
        stream.truncate(start)
        stream.truncate(start + 17 * 200)


BROKEN = {
    "zeros to the end": zeros_to_the_end,
    "cut inside a frame": cut_inside_a_frame,
    "cut inside a header": cut_inside_a_header,
    "garbage for a header": overwrite(0, b"\xff" * 16),
    "zeros for a header": overwrite(0, bytes(16)),
    "another byte in a map": overwrite(300, b"\xaa\x55\xaa"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_is_named_with_the_frame_that_cannot_be_read(folder, how):
    files = write_files(folder, 3, "flat sparse", "polarized")
    BROKEN[how](files[1])
    with pytest.raises(InputError) as caught:
        coadd_files(files, "coadd.g3")
    assert re.match(
        rf"{re.escape(files[1])}, frame 2, byte \d+: this frame cannot be read", str(caught.value)
    )
    assert "spt3g-verify" in str(caught.value)
    assert not os.path.exists("coadd.g3")


def test_a_missing_id_is_an_error_that_lists_those_that_are_there(survey):
    files = survey(3, "flat sparse", "hits")
    text = (
        "There is no map with the Id '95GHz', '220GHz' in the 3 input files; these Ids are there "
        "(and how often): '150GHz' (3), '90GHz' (3)."
    )
    with pytest.raises(InputError, match=re.escape(text)):
        coadd_files(files, map_ids=["95GHz", "90GHz", "220GHz"])


def test_files_without_maps_are_an_error(survey):
    files = survey(2, "flat sparse", "hits", map_ids=())
    with pytest.raises(InputError, match=r"^There is no Map frame in the 2 input files\.$"):
        coadd_files(files)
    with pytest.raises(InputError, match=r"^There is no Map frame in the input file\.$"):
        coadd_files(files[0])


def test_maps_that_belong_to_no_coadd_are_an_error(survey):
    files = survey(2, "flat sparse", "hits")
    with pytest.raises(InputError, match=r"None of the maps in .* '150GHz' \(2\), '90GHz' \(2\)"):
        coadd_files(files, assign=lambda frame: None)


@pytest.mark.parametrize(
    ("files", "text"),
    [([], "No input files were given."), ("*.g3", "The pattern '*.g3' matches nothing")],
)
def test_no_files_at_all_are_an_error(folder, files, text):
    with pytest.raises(InputError, match=re.escape(text)):
        coadd_files(files)


def test_a_file_without_maps_among_others_is_fine(survey):
    files = survey(2, "flat sparse", "hits")
    files += survey(1, "flat sparse", "hits", map_ids=(), start=7)
    assert_same(coadd_files(files).frame, maps.coadd_map_files(files))


@pytest.mark.parametrize("name", ["obs_000.g3", "./obs_000.g3", "link.g3", "{folder}/obs_000.g3"])
def test_a_file_given_twice_is_an_error_also_by_another_name(folder, name):
    files = [os.path.basename(file) for file in write_files(folder, 2, "flat sparse", "hits")]
    os.symlink(files[0], "link.g3")
    given = [*files, name.format(folder=folder)]
    with pytest.raises(DuplicateError) as caught:
        coadd_files(given, "coadd.g3")
    assert str(caught.value).startswith(f"{given[-1]}, frame 0 came twice")
    assert 'on_duplicate="sum"' in str(caught.value)
    twice = coadd_files(given, on_duplicate="sum").frame
    assert planes(twice)["T"].tolist() == planes(maps.coadd_map_files(given))["T"].tolist()


def remove(file):
    os.unlink(file)


def make_empty(file):
    os.truncate(file, 0)


def make_other(file):
    Path(file).write_bytes(b"SIMPLE  =                    T")


def make_nested(file):
    shutil.rmtree("nested", ignore_errors=True)
    os.mkdir("nested")
    (other,) = write_files("nested", 1, "healpix nested dense", "hits")
    os.replace(other, file)


FAILURES = {
    "missing": (remove, {}, InputError, "obs_001.g3: No such file"),
    "empty": (make_empty, {}, InputError, "obs_001.g3: the file is empty"),
    "no .g3 file": (make_other, {}, InputError, "obs_001.g3: this is not a .g3 file"),
    "cut": (cut_inside_a_frame, {}, InputError, "obs_001.g3, frame 2, byte "),
    "other geometry": (make_nested, {}, MismatchError, "obs_001.g3, frame 1 (Id '90GHz') does"),
    "missing Id": (None, {"map_ids": ["95GHz"]}, InputError, "There is no map with the Id"),
    "strategy": (None, {"strategy": "best"}, UsageError, "strategy is 'best'; expected one of"),
    "schedule": (None, {"schedule": "any"}, UsageError, "schedule is 'any'; expected one of dyn"),
    "sharded": (
        *(None, {"result": "sharded", "checkpoint": "points"}, UsageError),
        "with checkpoint= one rank writes the output",
    ),
    "assign fails": (None, {"assign": lambda frame: 1 / 0}, ZeroDivisionError, "division by zero"),
    "assign is wrong": (None, {"assign": lambda frame: 7}, UsageError, "assign() returned 7"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_whatever_goes_wrong_an_earlier_output_is_untouched(folder, what):
    break_it, arguments, kind, text = FAILURES[what]
    files = write_files(folder, 3, "healpix ring", "hits")
    (folder / "coadd.g3").write_bytes(b"the last result")
    if break_it:
        break_it(files[1])
    before = sorted(os.listdir(folder))
    with pytest.raises(kind) as caught:
        coadd_files(files, "coadd.g3", **arguments)
    assert text in str(caught.value)
    assert issubclass(kind, G3ReduceError) or what == "assign fails"
    assert (folder / "coadd.g3").read_bytes() == b"the last result"
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("output", ["coadd.npy", "gone/coadd.g3"])
def test_an_output_that_cannot_be_written_is_told_before_anything_is_read(folder, output):
    files = write_files(folder, 2, "flat sparse", "hits")
    make_other(files[1])
    with pytest.raises(OutputError, match=f"^{re.escape(output)}: "):
        coadd_files(files, output)


def test_a_map_that_is_no_map_is_told_with_its_file(folder):
    frame = map_frame("flat sparse", "hits", 0)
    del frame["H"]
    frame["H"] = core.G3VectorDouble([1, 2])
    writer = core.G3Writer("odd.g3")
    writer(frame)
    del writer
    with pytest.raises(InputError, match=r"^odd\.g3, frame 0 \(Id '150GHz'\): H is a G3VectorDou"):
        coadd_files("odd.g3")


def test_compressed_files_that_are_broken_are_not_taken_for_empty(folder):
    files = write_files(folder, 2, "flat sparse", "polarized")
    for name, content in (("bad.g3.gz", b"hello, not gzip"), ("bad.g3.bz2", b"BZh9 but no more")):
        (folder / name).write_bytes(content)
        with pytest.raises(
            InputError, match=f"{name}, after 0 frames.*not compressed as its name says"
        ):
            coadd_files([*files, str(folder / name)])


def test_a_pipe_is_refused_instead_of_waited_for(folder):
    os.mkfifo(folder / "pipe.g3")
    with pytest.raises(InputError, match=r"pipe\.g3: this is a pipe"):
        coadd_files(str(folder / "pipe.g3"))


def test_a_name_that_is_too_long_is_told_before_the_work(folder):
    files = write_files(folder, 1, "flat sparse", "polarized")
    with pytest.raises(OutputError, match="the name is too long"):
        coadd_files(files, str(folder / ("x" * 253 + ".g3")))
    assert sorted(os.listdir(folder)) == ["obs_000.g3"]


def test_weights_without_a_component_are_an_error(folder):
    from spt3g import core

    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "x"
    whole = next(
        frame
        for frame in core.G3File(write_files(folder, 1, "flat sparse", "unpolarized")[0])
        if "T" in frame
    )
    frame["T"], frame["Wunpol"] = whole["T"], maps.G3SkyMapWeights()
    with core.G3Writer(str(folder / "null.g3")) as writer:
        writer(frame)
    with pytest.raises(
        InputError, match=r"null\.g3, frame 0 .*: the weights Wunpol have no TT map"
    ):
        coadd_files(str(folder / "null.g3"))
