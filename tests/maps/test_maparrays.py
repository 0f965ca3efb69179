"""Map frames from numpy arrays, and back: checked with numpy, healpy, astropy and spt3g itself."""

from __future__ import annotations

import healpy
import numpy as np
import pytest
from choices import among_all
from skies import KINDS, bits, map_frame, maps_by_plane, pixels, storage
from spt3g import core, maps

import g3reduce
from g3reduce import UsageError, digest, map_arrays
from g3reduce.maps.unweighting import COMPONENTS

N = 192  # pixels of nside 4
uK = core.G3Units.uK
KNOWN = {"units": "uK", "coord": "C"}
POLARIZED = KNOWN | {"pol_conv": "COSMO"}


def stokes(seed=0):
    return np.random.default_rng(seed).normal(size=(3, N))


def good_weights(seed=0):
    """Positive definite ones."""
    a = np.random.default_rng(seed).normal(size=(3, 3, N))
    return np.einsum("ikp,jkp->ijp", a, a) + np.eye(3)[:, :, None]


def six(matrix):
    return np.array([matrix["TQU".index(a), "TQU".index(b)] for a, b in COMPONENTS])


# There and back again


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighting", ["polarized", "no weights", "hits"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_of_the_arrays_of_a_frame_is_the_same_to_the_bit(kind, weighting, sparse):
    """mK is the unit of G3, so that nothing is rounded."""
    frame = map_frame(kind, weighting, 1)
    arrays = map_arrays(frame, "mK", weighted=None, sparse=sparse)
    again = g3reduce.map_frame(**vars(arrays))
    assert again["Id"] == frame["Id"]
    assert digest(again) == digest(frame)
    for name, skymap in maps_by_plane(again).items():
        theirs = maps_by_plane(frame)[name]
        attributes = ["units", "coord_ref", "pol_type", "pol_conv"]
        attributes += ["weighted"] if name in "TQU" else []
        for attribute in attributes:
            if (name, attribute) != ("T", "pol_conv"):
                assert getattr(skymap, attribute) == getattr(theirs, attribute), (name, attribute)
        assert storage(skymap) == ("indexed" if "nested" in kind else "ring" if "heal" in kind
                                   else "sparse")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_are_what_numpy_has(kind):
    frame = map_frame(kind, "polarized", 1)
    dense = map_arrays(frame, "mK", weighted=True)
    few = map_arrays(frame, "mK", weighted=True, sparse=True)
    assert (np.diff(few.pixels) > 0).all()
    for name, mine, part in [
        *((name, getattr(dense, name), getattr(few, name)) for name in "TQU"),
        *zip([f"Wpol.{name}" for name in COMPONENTS], dense.weights, few.weights, strict=True),
    ]:
        expected = pixels(maps_by_plane(frame)[name])
        np.testing.assert_array_equal(mine, expected, err_msg=name)
        np.testing.assert_array_equal(part, expected.ravel()[few.pixels], err_msg=name)
        assert np.count_nonzero(part) == np.count_nonzero(expected)


@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring", "healpix nested dense"])
def test_unweighted_arrays_are_those_of_spt3g_and_marked_where_nothing_is_known(kind):
    frame = map_frame(kind, "polarized", 1)
    before = digest(frame)
    mine, few = map_arrays(frame), map_arrays(frame, sparse=True)
    assert digest(frame) == before
    weights = {name: pixels(getattr(frame["Wpol"], name)) for name in COMPONENTS}
    maps.RemoveWeights(frame)
    for name in "TQU":
        theirs = pixels(frame[name])
        seen = ~np.isnan(theirs)
        np.testing.assert_allclose(getattr(mine, name)[seen], theirs[seen] / uK, rtol=1e-15)
        marked = getattr(mine, name)[~seen]
        assert np.isnan(marked).all() if "flat" in kind else (marked == healpy.UNSEEN).all()
        np.testing.assert_array_equal(getattr(few, name), getattr(mine, name).ravel()[few.pixels])
        assert (map_arrays(frame, fill=-7).T[~seen] == -7).all()
    for mine_, name in zip(mine.weights, COMPONENTS, strict=True):
        np.testing.assert_allclose(mine_, weights[name] * uK**2, rtol=1e-15)


def test_weighted_arrays_of_an_unweighted_frame():
    frame = map_frame("healpix ring", "unweighted", 1)
    arrays = map_arrays(frame, "mK", weighted=True)
    maps.ApplyWeights(frame)
    for name in "TQU":
        np.testing.assert_array_equal(getattr(arrays, name), pixels(frame[name]))


# What arrays mean


def test_a_healpix_map_is_the_one_that_spt3g_makes():
    t, q, u = stokes()
    matrix = good_weights()
    frame = g3reduce.map_frame(
        t, q, u, weights=six(matrix), weighted=False, hits=np.arange(N), **POLARIZED, map_id="a"
    )
    assert frame.type == core.G3FrameType.Map
    assert frame["Id"] == "a"
    theirs = maps.HealpixSkyMap(
        t / 1000,  # in the units of G3 a mK is 1
        nested=False,
        weighted=False,
        coord_ref=maps.MapCoordReference.Equatorial,
        units=core.G3TimestreamUnits.Tcmb,
        pol_type=maps.MapPolType.T,
        pol_conv=maps.MapPolConv.COSMO,
    )
    assert frame["T"].compatible(theirs)
    for attribute in ("units", "coord_ref", "weighted", "pol_type", "pol_conv", "nested"):
        assert getattr(frame["T"], attribute) == getattr(theirs, attribute)
    assert (bits(pixels(frame["T"])) == bits(pixels(theirs))).all()
    np.testing.assert_allclose(pixels(frame["Wpol"].QU), matrix[1, 2] / uK**2, rtol=1e-15)
    np.testing.assert_array_equal(pixels(frame["H"]), np.arange(N))
    maps.ValidateMaps(frame)
    maps.ApplyWeights(frame)  # spt3g's own arithmetic comes to the same
    expected = np.einsum("ijp,jp->ip", matrix, [t, q, u]) / uK
    np.testing.assert_allclose(pixels(frame["U"]), expected[2], rtol=1e-12)


def test_all_forms_of_weights_are_the_same():
    t, q, u = stokes()
    matrix = good_weights()
    by_name = dict(zip(COMPONENTS, six(matrix), strict=True))
    frames = [
        g3reduce.map_frame(t, q, u, weights=weights, weighted=True, **POLARIZED)
        for weights in (six(matrix), matrix, by_name, list(six(matrix)))
    ]
    assert all(digest(frame) == digest(frames[0]) for frame in frames)
    alone = [
        g3reduce.map_frame(t, weights=weights, weighted=True, **KNOWN)
        for weights in (by_name["TT"], by_name["TT"][None], {"TT": by_name["TT"]})
    ]
    assert all(digest(frame) == digest(alone[0]) for frame in alone)
    assert "Wunpol" in alone[0]


def test_missing_pixels_are_0_in_all_three_maps():
    t, q, u = stokes()
    t[3], q[4], u[5] = np.nan, healpy.UNSEEN, np.float32(healpy.UNSEEN)
    masked = np.ma.masked_array(t, mask=np.arange(N) == 6)
    frame = g3reduce.map_frame(masked, q, u, hits=np.ones(N), **POLARIZED)
    for name, values in zip("TQU", (t, q, u), strict=True):
        expected = np.where(np.isin(np.arange(N), [3, 4, 5, 6]), 0, values / 1000)
        np.testing.assert_array_equal(pixels(frame[name]), expected)
    assert (pixels(frame["H"]) == 1).all()
    ma = healpy.ma(np.where(np.arange(N) < 100, healpy.UNSEEN, t))
    assert (pixels(g3reduce.map_frame(ma, **KNOWN)["T"])[:100] == 0).all()


def test_missing_pixels_with_weights_are_refused_or_lose_them():
    t, q, u = stokes()
    weights = six(good_weights())
    q[[17, 20]] = healpy.UNSEEN
    with pytest.raises(
        UsageError, match=r'Q is missing .* in 2 pixels .*first in pixel 17.*"drop"'
    ):
        g3reduce.map_frame(t, q, u, weights=weights, weighted=False, **POLARIZED)
    dropped = g3reduce.map_frame(
        t, q, u, weights=weights, weighted=False, missing="drop", **POLARIZED
    )
    assert np.flatnonzero(pixels(dropped["Wpol"].UU) == 0).tolist() == [17, 20]
    weights[:, [17, 20]] = 0
    told = g3reduce.map_frame(t, q, u, weights=weights, weighted=False, **POLARIZED)
    assert digest(told) == digest(dropped)


@pytest.mark.parametrize("nest", [False, True])
def test_pixels_by_their_numbers_in_any_order(nest):
    rng = np.random.default_rng(3)
    numbers = rng.permutation(12 * 16**2)[:200]
    values = rng.normal(size=200).astype(">f4")  # as FITS has them
    frame = g3reduce.map_frame(values, pixels=numbers, nside=16, nest=nest, **KNOWN)
    expected = np.zeros(12 * 16**2)
    expected[numbers] = values.astype(float) / 1000
    assert frame["T"].nested == nest
    assert not frame["T"].dense
    np.testing.assert_array_equal(pixels(frame["T"]), expected)


def test_a_patch_at_ra_0_is_cut_elsewhere_where_that_is_smaller():
    vector = healpy.ang2vec(0.0, -30.0, lonlat=True)
    numbers = healpy.query_disc(64, vector, np.radians(5))
    frame = g3reduce.map_frame(np.ones(len(numbers)), pixels=numbers, nside=64, **KNOWN)
    assert frame["T"].shift_ra
    assert np.flatnonzero(pixels(frame["T"])).tolist() == numbers.tolist()
    assert frame["T"].npix_allocated < 1.2 * len(numbers)


# Flat sky


def flat(projection="ProjZEA", **options):
    geometry = {"alpha_center": 0.2, "delta_center": -0.9} | options
    return maps.FlatSkyMap(
        *(20, 12, core.G3Units.arcmin),
        proj=getattr(maps.MapProjection, projection),
        coord_ref=maps.MapCoordReference.Galactic,
        **geometry,
    )


@pytest.mark.parametrize("geometry", [flat(), flat().wcs], ids=["map", "wcs"])
def test_a_flat_map_by_a_map_or_a_wcs(geometry):
    values = np.random.default_rng(2).normal(size=(12, 20))
    frame = g3reduce.map_frame(values, units="K", geometry=geometry)
    skymap = frame["T"]
    assert skymap.compatible(flat())
    assert skymap.coord_ref == maps.MapCoordReference.Galactic
    np.testing.assert_array_equal(pixels(skymap), values * core.G3Units.K)
    for name in ("alpha_center", "delta_center", "x_center", "y_center", "x_res", "y_res"):
        assert getattr(skymap, name) == pytest.approx(getattr(flat(), name), rel=1e-12)


@pytest.mark.parametrize("x_step", [-0.5, 0.5])
@pytest.mark.parametrize("projection", ["SFL", "CAR", "SIN", "ARC", "STG", "ZEA", "TAN", "CEA"])
def test_pixels_of_a_wcs_are_where_astropy_has_them(projection, x_step):
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.cdelt = [x_step, 0.25]
    wcs.wcs.crval = [350.0, 0.0 if projection in ("SFL", "CAR", "CEA") else -50.0]
    wcs.wcs.crpix = [12.5, 3.0]
    frame = g3reduce.map_frame(np.ones((10, 20)), units="uK", geometry=wcs)
    assert frame["T"].coord_ref == maps.MapCoordReference.Equatorial
    x, y = np.array([0, 7, 19, 12]), np.array([0, 9, 2, 5])
    ra, dec = wcs.wcs_pix2world(np.stack([x, y], axis=1), 0).T
    alpha, delta = frame["T"].xy_to_angle(x, y)
    degree = core.G3Units.deg
    np.testing.assert_allclose(np.asarray(alpha) / degree % 360, ra % 360, atol=1e-9)
    np.testing.assert_allclose(np.asarray(delta) / degree, dec, atol=1e-9)


def test_geometries_that_spt3g_has_not_are_refused():
    from astropy.wcs import WCS

    def refused(match, projection="CAR", **values):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
        wcs.wcs.cdelt = values.pop("cdelt", [-0.5, 0.5])
        wcs.wcs.crpix = [5.0, 5.0]
        for name, value in values.items():
            setattr(wcs.wcs, name, value)
        with pytest.raises(UsageError, match=match):
            g3reduce.map_frame(np.ones((10, 20)), units="uK", geometry=wcs)

    refused("a pole or reference point elsewhere", crval=[0.0, 40.0])  # oblique
    refused("turned", "ZEA", pc=[[0.8, -0.6], [0.6, 0.8]], crval=[0.0, 40.0])
    refused("the projection AIT is none that spt3g has", "AIT")


@among_all
def test_maps_of_pixell_bring_their_geometry():
    enmap = pytest.importorskip("pixell.enmap")
    corners = np.deg2rad([[-5, 5], [5, -5]])
    for projection in ("car", "cea", "zea", "tan"):
        shape, wcs = enmap.geometry(corners, res=np.deg2rad(0.5), proj=projection)
        array = enmap.ndmap(np.random.default_rng(1).normal(size=shape), wcs)
        frame = g3reduce.map_frame(array, units="uK")
        assert frame["T"].coord_ref == maps.MapCoordReference.Equatorial
        dec, ra = enmap.posmap(shape, wcs)
        alpha, delta = maps.get_ra_dec_map(frame["T"])
        np.testing.assert_allclose(np.asarray(delta), dec, atol=1e-12)
        np.testing.assert_allclose(np.sin(np.asarray(alpha) - ra), 0, atol=1e-12)


# Errors


def refused(match, *arrays, **options):
    with pytest.raises(UsageError, match=match):
        g3reduce.map_frame(*(arrays or [np.ones(N)]), **options)


def test_what_must_be_known_is_asked_for():
    ones = np.ones(N)
    refused('units is None; expected "K"', coord="C")
    refused("units is 'ell'", coord="C", units="ell")
    refused("units is 'K.-2'", coord="C", units="K^-2")
    refused('coord is None; it must be said: "C"', units="uK")
    refused('coord is .*; expected "C"', units="uK", coord="E")
    refused("pol_conv is None; with Q and U", ones, ones, ones, **KNOWN)
    refused("There is Q, but no U", ones, ones, **KNOWN)
    refused("weighted is None; with weights", weights=ones, **KNOWN)
    refused("coord is Equatorial, but that of the geometry is Galactic", np.ones((12, 20)),
            geometry=flat(), **KNOWN)  # fmt: skip


def test_arrays_that_do_not_fit_are_refused():
    ones = np.ones(N)
    few = {"nside": 4} | KNOWN
    refused("no HEALPix map of the full sky has so many", np.ones(100), **KNOWN)
    refused("nside is 8, but T has 192 pixels, which is 4", nside=8, **KNOWN)
    refused("nside is None", pixels=np.arange(N), **KNOWN)
    refused("nside is 3", ones[:2], pixels=[1, 2], **few | {"nside": 3})
    refused("pixels has 7 twice", np.ones(3), pixels=[7, 3, 7], **few)
    refused("pixels has the number 192; expected 0 to 191", ones[:2], pixels=[192, 3], **few)
    refused("pixels has the dtype float64", ones[:2], pixels=[1.0, 2.0], **few)
    refused(r"Q has the shape \(191,\); expected \(192,\)", ones, ones[1:], ones, **POLARIZED)
    refused("T has the dtype complex128", ones * 1j, **KNOWN)
    refused("T is infinite in 1 pixels, first in pixel 9", np.where(np.arange(N) == 9, np.inf, 1),
            **KNOWN)  # fmt: skip
    refused(r"T has the shape \(12, 16\).*pass its geometry", np.ones((12, 16)), **KNOWN)
    refused(r"T has the shape \(192,\); the geometry has \(12, 20\)", geometry=flat(), units="K")
    asked = {"weighted": True} | KNOWN
    refused(r"weights has the shape \(2, 192\); expected", weights=np.ones((2, N)), **asked)
    refused("weights TT are negative in 192 pixels", weights=-ones, **asked)
    refused("weights has TT, QQ; expected TT", weights={"TT": ones, "QQ": ones}, **asked)
    asked |= {"pol_conv": "IAU"}
    matrix = good_weights()
    matrix[0, 1, 5] += 1
    refused("weighted is 'yes'", weighted="yes", **KNOWN)
    refused("map_id is 150; expected a string", map_id=150, **KNOWN)
    refused(r"\(3, 192\).*Pass T, Q and U one by one", np.ones((3, N)), **KNOWN)
    refused("must be symmetric", ones, ones, ones, weights=matrix, **asked)
    refused(r"expected \(6,\) or \(3, 3\)", ones, ones, ones, weights=ones, **asked)


def test_arrays_that_cannot_be_had_are_refused():
    frame = map_frame("flat sparse", "no weights", 1)
    with pytest.raises(UsageError, match=r"weighted, and no weights.*weighted=None takes them"):
        map_arrays(frame)
    with pytest.raises(UsageError, match="units is 'uK_RJ', but T is in Tcmb"):
        map_arrays(frame, "uK_RJ", weighted=None)
    assert map_arrays(frame, "none", weighted=None).units == "none"
    with pytest.raises(UsageError, match="A str was given; expected a Map frame"):
        map_arrays("maps.g3")


def test_units_by_their_names():
    expected = {"K": 1e6, "K_CMB": 1e6, "mK": 1e3, "uK": 1, "µK": 1, "nK_CMB": 1e-3}
    for name, factor in (expected | {"uK_RJ": 1}).items():
        skymap = g3reduce.map_frame(np.ones(N), units=name, coord="G")["T"]
        assert skymap[0] == pytest.approx(factor * uK, rel=1e-14), name
        kind = "Trj" if "RJ" in name else "Tcmb"
        assert skymap.units == getattr(core.G3TimestreamUnits, kind)
