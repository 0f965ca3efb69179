"""Flat-sky FITS files as pixell, reproject and TOAST read and write them."""

import warnings

import numpy as np
import pytest
import skies
from astropy.io import fits
from astropy.wcs import WCS
from choices import among_all
from spt3g import core, maps

from g3reduce.formats import WriteOptions, map_frames_in, write_maps

pytestmark = among_all  # importing these readers takes seconds

ENMAP = WriteOptions(style="enmap", units="uK")


@pytest.fixture(scope="module")
def enmap():
    return pytest.importorskip("pixell.enmap")


def frame_in(proj, delta, coord="Equatorial", convention="IAU", alpha=351.0):
    """Unweighted maps with weights, of a geometry that is odd in all ways."""
    rng = np.random.default_rng(1)
    geometry = {
        "proj": maps.MapProjection.names[proj],
        "alpha_center": alpha * core.G3Units.deg,
        "delta_center": delta * core.G3Units.deg,
        "x_center": 4.25,
        "y_center": 11.5,
        "x_res": 0.4 * core.G3Units.deg,
        "coord_ref": maps.MapCoordReference.names[coord],
    }

    def one(kind, low=1):
        values = rng.integers(low, 9, (15, 20)).astype(float)
        return maps.FlatSkyMap(
            values,
            0.5 * core.G3Units.deg,
            weighted=False,
            pol_type=maps.MapPolType.names[kind],
            pol_conv=maps.MapPolConv.names[convention],
            **geometry,
        )

    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "150GHz"
    for name in "TQU":
        frame[name] = one(name, -9)
    weights = maps.G3SkyMapWeights()
    for component in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
        setattr(weights, component, one(component))
    frame["Wpol"] = weights
    return frame


def directions(angles):
    """Unit vectors of right ascensions and declinations: at a pole, the former say nothing."""
    alpha, delta = angles
    return np.array([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)])


PLACES = [
    *((proj, 351.0, 20) for proj in ("CAR", "CEA", "ZEA", "TAN", "ARC", "SFL", "BICEP")),
    # Across the right ascension 0, and at the poles.
    *((proj, 0.3, -57) for proj in ("CAR", "CEA", "ZEA", "TAN", "ARC", "SFL", "BICEP")),
    *((proj, 359.9, pole) for proj in ("ZEA", "TAN", "ARC") for pole in (-90, 90, 89.5)),
    *((proj, 180.0, 89.5) for proj in ("CAR", "CEA")),
]


@pytest.mark.parametrize("coord", ["Equatorial", "Galactic"])
@pytest.mark.parametrize(("proj", "alpha", "delta"), PLACES)
def test_pixell_finds_pixels_where_spt3g_has_them(tmp_path, enmap, proj, alpha, delta, coord):
    frame = frame_in(f"Proj{proj}", delta, coord, alpha=alpha)
    file = str(tmp_path / "map.fits")
    write_maps(file, frame, ENMAP)
    skymap, shape = frame["T"], frame["T"].shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = enmap.read_map(file)
        assert enmap.read_map_geometry(file)[0] == (3, *shape)
    by_pixell = enmap.pix2sky(found.shape, found.wcs, np.indices(shape), safe=False)[::-1]
    sky = WCS(fits.getheader(file)).celestial
    by_astropy = np.radians(sky.wcs_pix2world(*np.indices(shape)[::-1].reshape(2, -1), 0))
    angles = np.array(skymap.pixels_to_angles(np.arange(skymap.size)))
    on_the_sky = np.abs(angles[1]) <= np.pi / 2  # spt3g goes on beyond a pole
    assert on_the_sky.any()
    np.testing.assert_array_equal(np.isfinite(by_astropy).all(axis=0), on_the_sky)
    expected = directions(angles)
    for angles in (by_pixell.reshape(2, -1), by_astropy):
        apart = directions(angles)[:, on_the_sky] - expected[:, on_the_sky]
        np.testing.assert_allclose(apart, 0, atol=1e-10)
    first, wcs = enmap.read_map_geometry(file)
    assert first == found.shape
    np.testing.assert_allclose(wcs.wcs.crpix, found.wcs.wcs.crpix)


@pytest.mark.parametrize("convention", ["IAU", "COSMO"])
def test_pixell_turns_u_and_weights(tmp_path, enmap, convention):
    frame = frame_in("ProjCAR", 20, convention=convention)
    file = str(tmp_path / "map.fits")
    write_maps(file, frame, ENMAP)
    sign = -1 if convention == "IAU" else 1  # to COSMO, which pixell has
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found, div = enmap.read_map(file), enmap.read_map(file, hdu="DIV")
    signs = {"T": 1, "Q": 1, "U": sign}
    for row, name in enumerate("TQU"):
        expected = skies.pixels(frame[name]) / core.G3Units.uK
        np.testing.assert_allclose(found[row], signs[name] * expected, rtol=1e-15)
        for column, other in enumerate("TQU"):
            component = "".join(sorted(name + other, key="TQU".index))
            expected = skies.pixels(frame["Wpol"][component]) * core.G3Units.uK**2
            turned = signs[name] * signs[other] * expected
            np.testing.assert_allclose(div[row, column], turned, rtol=1e-15)


def test_maps_of_pixell_come_in(tmp_path, enmap):
    frame = frame_in("ProjCAR", 20)
    file, other = str(tmp_path / "map.fits"), str(tmp_path / "pixell.fits")
    write_maps(file, frame, ENMAP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = enmap.read_map(file)
    enmap.write_map(other, found)  # COSMO, and no word about that, or about units
    (read,) = map_frames_in(other, units="uK", pol_conv="COSMO")
    for name, sign in (("T", 1), ("Q", 1), ("U", -1)):
        expected = sign * skies.pixels(frame[name])
        np.testing.assert_allclose(skies.pixels(read[name]), expected, rtol=1e-15)
    mine = [read["T"].pixel_to_angle(pixel) for pixel in range(read["T"].size)]
    theirs = [frame["T"].pixel_to_angle(pixel) for pixel in range(read["T"].size)]
    np.testing.assert_allclose(mine, theirs, atol=1e-11)


def test_the_full_sky_of_pixell(tmp_path, enmap):
    utils = pytest.importorskip("pixell.utils")
    for variant in ("fejer1", "cc"):  # the second one has pixels on the poles
        shape, wcs = enmap.fullsky_geometry(res=10 * utils.degree, variant=variant)
        sky = enmap.enmap(np.arange(1.0, np.prod(shape) + 1).reshape(shape), wcs)
        file = str(tmp_path / f"{variant}.fits")
        enmap.write_map(file, sky)
        (read,) = map_frames_in(file, units="K")
        delta, alpha = enmap.posmap(shape, wcs)
        pixels = [1, 17, 300, read["T"].size - 2]
        found = np.array([read["T"].pixel_to_angle(pixel) for pixel in pixels])
        np.testing.assert_allclose(found[:, 1], delta.ravel()[pixels], atol=1e-9)
        around = np.angle(np.exp(1j * (found[:, 0] - alpha.ravel()[pixels])))
        np.testing.assert_allclose(around * np.cos(found[:, 1]), 0, atol=1e-9)


@pytest.mark.parametrize("style", ["spt3g", "enmap"])
def test_reproject_takes_them(tmp_path, style):
    reproject = pytest.importorskip("reproject")
    frame = frame_in("ProjZEA", -50)
    file = str(tmp_path / "map.fits")
    write_maps(file, frame, WriteOptions(style=style))
    with fits.open(file) as hdus:
        image = hdus[0].data[0] if style == "enmap" else hdus[0].data
        wcs = WCS(hdus[0].header).celestial
        target = wcs.deepcopy()
        target.wcs.crpix += (2, -3)  # by whole pixels, so that nothing is interpolated
        shifted, _ = reproject.reproject_interp((image, wcs), target, shape_out=image.shape)
    np.testing.assert_allclose(shifted[:-3, 2:], image[3:, :-2], rtol=1e-9, atol=1e-11)


def test_maps_of_toast(tmp_path):
    toast = pytest.importorskip("toast.pixels_io_wcs")
    frame = frame_in("ProjCAR", 20)
    wcs = frame["T"].wcs
    stokes = np.stack([skies.pixels(frame[name]) for name in "TQU"])
    upper = np.stack([skies.pixels(frame["Wpol"][one]) for one in frame["Wpol"].keys()])  # noqa: SIM118
    hits = np.ones((1, *frame["T"].shape))
    for name, values, unit in (
        *(("mapmaker_map", stokes, "mK"), ("mapmaker_noiseweighted_map", stokes, "1 / mK")),
        *(("mapmaker_invcov", upper, "1 / mK2"), ("mapmaker_hits", hits, "")),
    ):
        toast.write_wcs(str(tmp_path / f"{name}.fits"), values, wcs, units=unit)
    for name, weighted in (("mapmaker_map", False), ("mapmaker_noiseweighted_map", True)):
        (read,) = map_frames_in(str(tmp_path / f"{name}.fits"), pol_conv="IAU")
        assert read["T"].weighted == weighted
        found = skies.maps_by_plane(read)
        for plane, skymap in skies.maps_by_plane(frame).items():
            np.testing.assert_array_equal(skies.pixels(found[plane]), skies.pixels(skymap))
            assert found[plane].pol_conv == skymap.pol_conv
        np.testing.assert_array_equal(skies.pixels(found["H"]), hits[0])
