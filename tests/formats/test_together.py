"""Several FITS files get their names together, or none of them does."""

import errno
import os
import resource

import pytest
from choices import among_all
from skies import map_frame

from g3reduce import OutputError, digest
from g3reduce.formats import WriteOptions, map_frames_in, write_maps
from g3reduce.g3files import outputfile
from g3reduce.temporary import TemporaryFile


@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
def test_where_the_last_cannot_be_written_the_first_stays_as_it_was(tmp_path, ending):
    frames = [map_frame("healpix ring", "no weights", seed, one) for seed, one in enumerate("abc")]
    before = tmp_path / f"out_a{ending}"
    before.write_bytes(b"something old")
    (tmp_path / f"out_c{ending}").mkdir()
    with pytest.raises(OutputError, match="this is a folder"):
        write_maps(tmp_path / f"out{ending}", frames)
    assert before.read_bytes() == b"something old"
    assert sorted(os.listdir(tmp_path)) == [f"out_a{ending}", f"out_c{ending}"]


def test_where_frames_end_in_an_error_nothing_is_replaced(tmp_path):
    def frames():
        yield map_frame("healpix ring", "polarized", 0, "a")
        yield map_frame("healpix ring", "polarized", 1, "b")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_maps(tmp_path / "out.fits", frames(), WriteOptions(companions=True))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
def test_those_that_are_closed_before_the_last_is_written_are_whole(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(outputfile, "_MOST_OPEN", 2)
    frames = [
        map_frame("healpix ring", "no weights", seed, one) for seed, one in enumerate("abcde")
    ]
    written = write_maps(tmp_path / f"out{ending}", frames)
    assert sorted(os.listdir(tmp_path)) == [f"out_{name}{ending}" for name in "abcde"]
    assert [digest(*map_frames_in(file)) for file in written] == [*map(digest, frames)]


def test_an_error_that_the_system_reports_when_a_file_is_closed_names_the_file(
    tmp_path, monkeypatch
):
    """As a network file system does whose disk is full."""

    def close(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    output = outputfile.OutputFile(str(tmp_path / "out.fits.gz"))
    output.complete()
    with monkeypatch.context() as patch:
        patch.setattr(TemporaryFile, "close", close)
        with pytest.raises(OutputError, match=r"out\.fits\.gz: writing failed \(No space left"):
            output.close()
    output.discard()
    assert os.listdir(tmp_path) == []


@among_all
def test_there_may_be_more_files_than_can_be_open(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (140, hard))
    names = [f"coadd{number:03}" for number in range(130)]
    try:
        written = write_maps(
            tmp_path / "out.fits", (map_frame("healpix ring", "no weights", 0, n) for n in names)
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(os.listdir(tmp_path)) == [f"out_{name}.fits" for name in names]
    assert [next(map_frames_in(file))["Id"] for file in written] == names
