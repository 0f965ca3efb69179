"""Writing results: whole or not at all, and never over an input."""

from __future__ import annotations

import os

import pytest
from skies import assert_same_coadd, map_frame
from spt3g import core

from g3reduce import OutputError
from g3reduce.pipeline.output import check_output, write_frames


def frames_of(file):
    return [frame for frame in core.G3File(str(file)) if frame.type == core.G3FrameType.Map]


def message(call, *arguments):
    with pytest.raises(OutputError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", ["out.g3", "out.g3.gz", "out.g3.bz2", "out [1] ä.g3"])
def test_frames_that_were_written_are_read_back_equal(tmp_path, name):
    frames = [map_frame("healpix ring", "polarized", seed, f"{seed}GHz") for seed in range(3)]
    write_frames(str(tmp_path / name), frames)
    for mine, theirs in zip(frames_of(tmp_path / name), frames, strict=True):
        assert_same_coadd(mine, theirs)
    assert os.listdir(tmp_path) == [name]


def test_a_name_without_a_folder_is_written_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_output("out.g3")
    write_frames("out.g3", [map_frame("flat sparse", "hits", 1)])
    assert os.listdir(tmp_path) == ["out.g3"]


def test_an_existing_file_is_replaced(tmp_path):
    output = tmp_path / "out.g3"
    output.write_bytes(b"something old")
    write_frames(str(output), [map_frame("flat sparse", "hits", 1)])
    assert len(frames_of(output)) == 1


def half_way(error):
    yield map_frame("flat sparse", "hits", 1)
    raise error


@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError("bad frame")])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, error):
    output = tmp_path / "out.g3"
    output.write_bytes(b"something old")
    text = message(write_frames, str(output), half_way(error))
    assert text == f"{output}: writing failed ({error})."
    assert output.read_bytes() == b"something old"
    assert os.listdir(tmp_path) == ["out.g3"]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_errors_of_others_pass_and_leave_nothing_either(tmp_path, error):
    with pytest.raises(type(error)):
        write_frames(str(tmp_path / "out.g3"), half_way(error))
    assert os.listdir(tmp_path) == []


def test_nobody_sees_the_file_before_it_is_whole(tmp_path):
    output = tmp_path / "out.g3"
    seen = []

    def frames():
        for seed in range(2):
            yield map_frame("flat sparse", "hits", seed)
            seen.append(output.exists())

    write_frames(str(output), frames())
    assert seen == [False, False]
    assert len(frames_of(output)) == 2


def test_a_folder_that_went_away_is_an_output_error(tmp_path):
    output = str(tmp_path / "gone" / "out.g3")
    text = message(write_frames, output, [map_frame("flat sparse", "hits", 1)])
    assert text.startswith(f"{output}: writing failed (")


@pytest.mark.parametrize("name", ["out.fits", "out", "out.g3.zip", "out.hdf5"])
def test_a_name_that_spt3g_does_not_write_is_refused(tmp_path, name):
    text = message(check_output, str(tmp_path / name))
    assert text.endswith("the name of the output must end in .g3, .g3.gz, .g3.bz2 or .g3.xz.")


def test_a_name_that_no_file_can_have_is_refused():
    assert "NUL byte" in message(check_output, "out\0.g3")
    assert "empty" in message(check_output, "")


@pytest.mark.parametrize("suffix", [".g3", ".g3.gz", ".g3.bz2", ".g3.xz"])
def test_every_name_that_is_promised_is_one_that_spt3g_writes(tmp_path, suffix):
    output = str(tmp_path / f"out{suffix}")
    check_output(output)
    write_frames(output, [map_frame("flat sparse", "hits", 1)])
    assert len(frames_of(output)) == 1


def test_a_missing_folder_is_told_before_the_work(tmp_path):
    output = tmp_path / "gone" / "out.g3"
    assert message(check_output, str(output)) == f"{output}: there is no folder {output.parent}."


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    assert "there is no folder" in message(check_output, str(tmp_path / "file" / "out.g3"))


def test_a_folder_in_place_of_the_file_is_told(tmp_path):
    (tmp_path / "out.g3").mkdir()
    assert "this is a folder" in message(check_output, str(tmp_path / "out.g3"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_told(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written to" in message(check_output, str(tmp_path / "locked" / "out.g3"))


def test_the_output_must_not_be_an_input(tmp_path, survey):
    inputs = survey(2, "flat sparse", "hits")
    text = message(check_output, inputs[1], inputs)
    assert text.startswith(f"{inputs[1]}: the output is also an input ({inputs[1]})")
    assert "Name another output" in text
    check_output(str(tmp_path / "out.g3"), inputs)
    check_output(inputs[1], inputs[:1])  # a result of before, which is not read now


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("way", ["output is the link", "input is the link"])
def test_nor_an_input_by_another_name(tmp_path, survey, link, way):
    (real,) = survey(1, "flat sparse", "hits")
    other = str(tmp_path / "other.g3")
    link(real, other)
    output, given = (other, real) if way == "output is the link" else (real, other)
    text = message(check_output, output, ["gone.g3", given])
    assert text.startswith(f"{output}: the output is also an input ({given})")


def test_checking_writes_nothing(tmp_path):
    check_output(str(tmp_path / "out.g3"))
    assert os.listdir(tmp_path) == []
