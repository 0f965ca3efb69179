"""FITS files as input: the coadd is that of the same maps in .g3 files, on any number of ranks."""

import os
import shutil

import pytest
import skies
from astropy.io import fits
from choices import some_of

import g3reduce
from g3reduce.formats import write_maps


@pytest.fixture
def series(shared_folder, on_first):
    """The names of four .g3 files, and of FITS files of the same maps."""

    def write():
        frames = [skies.map_frame("flat sparse", "polarized", seed) for seed in range(4)]
        names = skies.write_frames(shared_folder, frames)
        for name, frame in zip(names, frames, strict=True):
            write_maps(name.replace(".g3", ".fits"), frame)
        return names

    names = on_first(write)
    return names, [name.replace(".g3", ".fits") for name in names]


def coadd(comm, files, **options):
    return g3reduce.coadd_files(files, mpicomm=comm, result="all", **options)


def assert_same_maps(mine, theirs):
    expected = skies.maps_by_plane(theirs)
    found = skies.maps_by_plane(mine)
    assert found.keys() == expected.keys()
    for name, skymap in found.items():
        skies.assert_same_map(skymap, expected[name], name)


@pytest.mark.ranks(*some_of((1, 2, 3), fewer=(2,)))
def test_coadd_of_fits_files_is_that_of_g3_files(comm, series):
    g3, same = series
    expected = coadd(comm, g3).frame
    for files in (same, [g3[0], same[1], g3[2], same[3]]):
        found = coadd(comm, files)
        assert_same_maps(found.frame, expected)
        assert list(found.frame["InputFiles"]) == files
        for mine, theirs in zip(found.ledger.entries, coadd(comm, g3).ledger.entries, strict=True):
            assert (mine.pixels, mine.weight) == (theirs.pixels, theirs.weight)
            assert (mine.map_id, mine.unit.index) == (theirs.map_id, 0)
            assert mine.fingerprint is not None


@pytest.mark.ranks(2)
def test_bad_fits_files_are_left_out(comm, series, on_first):
    g3, same = series

    def spoil():
        with open(same[1], "r+b") as file:
            file.truncate(os.path.getsize(same[1]) // 2)
        os.remove(same[3])

    on_first(spoil)
    with pytest.raises(g3reduce.G3ReduceError):
        coadd(comm, same)
    found = coadd(comm, same, on_error="skip")
    assert_same_maps(found.frame, coadd(comm, [g3[0], g3[2]]).frame)
    assert [os.path.basename(one.file) for one in found.left_out] == ["obs1.fits", "obs3.fits"]


@pytest.mark.ranks(2)
def test_copies_are_found(comm, series, on_first, shared_folder):
    _, same = series
    copy = os.path.join(shared_folder, "other.fits")
    on_first(lambda: shutil.copy(same[0], copy))
    with pytest.raises(g3reduce.G3ReduceError, match=r"same content|another rank"):
        coadd(comm, [*same, copy])
    assert_same_maps(coadd(comm, [*same, copy], on_duplicate="skip").frame, coadd(comm, same).frame)


@pytest.mark.ranks(2)
def test_what_headers_do_not_say(comm, series, on_first):
    g3, same = series

    def silence():
        for name in same:
            with fits.open(name, mode="update") as hdus:
                for hdu in hdus:
                    del hdu.header["POLCCONV"]

    on_first(silence)
    with pytest.raises(g3reduce.G3ReduceError, match=r"input_pol_conv=|another rank"):
        coadd(comm, same)
    assert_same_maps(coadd(comm, same, input_pol_conv="IAU").frame, coadd(comm, g3).frame)
    converted = coadd(comm, same, input_pol_conv="COSMO", pol_conv="IAU").frame
    assert (skies.pixels(converted["U"]) == -skies.pixels(coadd(comm, g3).frame["U"])).all()
    with pytest.raises(g3reduce.UsageError, match="input_pol_conv is 'X'; expected one of IAU"):
        coadd(comm, same, input_pol_conv="X")


@pytest.mark.ranks(2)
def test_checkpoints(comm, series, shared_folder):
    g3, same = series
    folder = os.path.join(shared_folder, "state")
    with pytest.raises(g3reduce.Stopped):
        coadd(comm, same, checkpoint=folder, stop_after=1e-6)
    found = coadd(comm, same, checkpoint=folder, resume=True)
    assert_same_maps(found.frame, coadd(comm, g3).frame)


@pytest.mark.ranks(2)
def test_check_and_patterns(comm, series, shared_folder, on_first):
    _, same = series
    on_first(lambda: shutil.copy(same[0], os.path.join(shared_folder, "obs0_hits.fits")))
    checked = g3reduce.check_files(os.path.join(shared_folder, "*.fits"), mpicomm=comm, deep=True)
    assert checked.is_fine
    assert [file.name for file in checked.seen.files] == same  # obs0_hits are the hits of obs0
