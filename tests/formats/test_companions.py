"""HEALPix maps with weights and hits in files of their own, as TOAST and sotodlib have them."""

import healpy
import numpy as np
import pytest
import skies
from spt3g import maps

from g3reduce import InputError
from g3reduce.formats import companions, map_frames_in

NSIDE = 4
UPPER = (0, 1, 2, 4, 5, 8)


def values(seed, n):
    return np.random.default_rng(seed).integers(1, 9, (n, 12 * NSIDE**2)).astype(float)


def read(file, **assumed):
    (frame,) = map_frames_in(str(file), **assumed)
    return frame


@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.parametrize(("name", "power"), [("_map", 1), ("_noiseweighted_map", -1)])
def test_maps_of_toast(tmp_path, name, power, nest):
    stokes, upper, hits = values(1, 3), values(2, 6), values(3, 1)
    how = {"nest": nest, "coord": "C", "dtype": np.float64}
    unit = {1: "mK", -1: "1 / mK"}[power]
    healpy.write_map(tmp_path / f"mm{name}.fits", stokes, column_units=unit, **how)
    healpy.write_map(tmp_path / "mm_invcov.fits", upper, column_units="1 / mK2", **how)
    healpy.write_map(tmp_path / "mm_hits.fits", hits[0], **how)
    frame = read(tmp_path / f"mm{name}.fits", pol_conv="COSMO")
    assert frame["Id"] == "mm"
    assert frame["T"].weighted == (power < 0)
    for number, stokes_name in enumerate("TQU"):
        np.testing.assert_array_equal(skies.pixels(frame[stokes_name]), stokes[number])
    for number, component in enumerate(("TT", "TQ", "TU", "QQ", "QU", "UU")):
        found = frame["Wpol"][component]
        np.testing.assert_array_equal(skies.pixels(found), upper[number])
        assert found.nested == nest
        assert found.pol_conv == maps.MapPolConv.COSMO
    np.testing.assert_array_equal(skies.pixels(frame["H"]), hits[0])


def test_maps_of_sotodlib(tmp_path):
    stokes, matrix, hits = values(1, 3), values(2, 9), values(3, 1)
    base = tmp_path / "atomic_1709852088_ws0_f090_full"
    how = {"nest": True, "dtype": np.float64}  # neither units nor coordinates
    healpy.write_map(f"{base}_wmap.fits.gz", stokes, **how)
    names = [f"COLUMN_{number}" for number in range(1, 10)]
    healpy.write_map(f"{base}_weights.fits.gz", matrix, column_names=names, **how)
    healpy.write_map(f"{base}_hits.fits.gz", hits[0], **how)
    file = f"{base}_wmap.fits.gz"
    with pytest.raises(InputError, match="does not say its units"):
        read(file, coord="C", pol_conv="COSMO")
    with pytest.raises(InputError, match="does not say the coordinate system"):
        read(file, units="mK", pol_conv="COSMO")
    frame = read(file, coord="C", units="K", pol_conv="COSMO")
    assert frame["T"].weighted
    np.testing.assert_allclose(skies.pixels(frame["Q"]), stokes[1] / 1000, rtol=1e-15)
    for number, component in zip(UPPER, ("TT", "TQ", "TU", "QQ", "QU", "UU"), strict=True):
        found = skies.pixels(frame["Wpol"][component])
        np.testing.assert_allclose(found, matrix[number] / 1e6, rtol=1e-15)
    np.testing.assert_array_equal(skies.pixels(frame["H"]), hits[0])


def test_columns_that_do_not_fit(tmp_path):
    healpy.write_map(tmp_path / "a_map.fits", values(1, 3), coord="C", column_units="K")
    healpy.write_map(tmp_path / "a_invcov.fits", values(2, 4), coord="C", column_units="K^-2")
    with pytest.raises(InputError, match=r"a_invcov\.fits: there are 4 columns of weights"):
        read(tmp_path / "a_map.fits", pol_conv="COSMO")


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("a_wmap.fits", ["a_weights.fits", "a_hits.fits"]),
        ("a_map.fits", ["a_invcov.fits", "a_hits.fits.gz"]),
        ("a_noiseweighted_map.fits.gz", ["a_invcov.fits.gz", "a_hits.fits"]),
        ("a.fits", ["a_div.fits", "a_hits.fits"]),
        ("a.fits", ["a_ivar.fits", "a_hits.fits"]),
    ],
)
def test_what_belongs_to_a_map(tmp_path, name, others):
    paths = [str(tmp_path / one) for one in (name, *others)]
    for path in paths:
        open(path, "w").close()
    assert companions.companion_of(paths[0], companions.WEIGHTS) == paths[1]
    assert companions.companion_of(paths[0], companions.HITS) == paths[2]
    assert [companions.map_of(path) for path in paths] == [None, paths[0], paths[0]]
    assert companions.without_companions(reversed(paths)) == [paths[0]]
    assert companions.stem_of(paths[0]) == "a"
