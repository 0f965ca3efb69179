"""Formats by the names of files, and .g3 files as one of them."""

import pytest
from skies import map_frame, write_files

import g3reduce
from g3reduce.formats import WriteOptions, format_of, map_frames_in, write_maps


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/b.g3", "g3"),
        ("b.g3.gz", "g3"),
        ("b.fits", "fits"),
        ("b.fits.gz", "fits"),
        ("b.g3.h5", "hdf5"),
        ("b.hdf5", "hdf5"),
    ],
)
def test_the_ending_says_the_format(name, kind):
    assert format_of(name) == kind


@pytest.mark.parametrize("name", ["b", "b.npy", "b.g3.zip", ""])
def test_other_endings_are_refused_with_a_list(name):
    with pytest.raises(g3reduce.UsageError, match=r"\.g3, .*\.fits, .*\.h5"):
        format_of(name)


@pytest.mark.parametrize("ending", [".g3", ".g3.gz"])
def test_map_frames_of_g3_files_are_read_and_written(tmp_path, ending):
    (file,) = write_files(tmp_path, 1, "healpix ring", "polarized")
    frames = list(map_frames_in(file))
    assert [frame["Id"] for frame in frames] == ["90GHz", "150GHz"]
    assert str(g3reduce.unit_of(frames[1])) == f"{file}, frame 2"
    copy = str(tmp_path / f"copy{ending}")
    assert write_maps(copy, frames) == [copy]
    for frame, again in zip(frames, map_frames_in(copy), strict=True):
        assert g3reduce.digest(frame) == g3reduce.digest(again)


def test_one_frame_alone_is_written(tmp_path):
    frame = map_frame("flat sparse", "polarized", 0)
    write_maps(tmp_path / "one.g3", frame)
    (again,) = map_frames_in(tmp_path / "one.g3")
    assert g3reduce.digest(frame) == g3reduce.digest(again)


def test_options_are_checked():
    with pytest.raises(g3reduce.UsageError, match="units is 'nK'"):
        WriteOptions(units="nK")
    with pytest.raises(g3reduce.UsageError, match="unweight is 1"):
        WriteOptions(unweight=1)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(g3reduce.InputError, match="No such file"):
        list(map_frames_in(tmp_path / "none.g3"))
