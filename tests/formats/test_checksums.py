"""Each part of a FITS file has the checksums of the standard, which astropy checks."""

import warnings

import pytest
from astropy.io import fits
from skies import map_frame

from g3reduce.formats import WriteOptions, write_maps


@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("healpix ring", {"full_sky": False}),
        ("healpix ring", {"full_sky": True}),
        ("flat sparse", {}),
        ("flat sparse", {"style": "enmap"}),
    ],
)
def test_all_parts_have_the_right_checksums(tmp_path, kind, options, ending):
    frame = map_frame(kind, "polarized", 1)
    (name,) = write_maps(tmp_path / f"map{ending}", frame, WriteOptions(**options))
    assert_right(name)


def assert_right(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of checksums, too
        with fits.open(name, checksum=True) as parts:
            parts.verify("exception")
            assert all({"CHECKSUM", "DATASUM"} <= {*part.header} for part in parts)
