"""HEALPix FITS files as reproject, astropy-healpix and TOAST read and write them."""

import healpy
import numpy as np
import pytest
from choices import among_all
from skies import map_frame, planes
from spt3g import core, maps

from g3reduce.formats import WriteOptions, map_frames_in, write_maps

pytestmark = among_all  # importing these readers takes seconds


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("coord", ["Equatorial", "Galactic"])
def test_reproject_and_astropy_healpix_read_full_skies(tmp_path, nested, coord):
    reproject = pytest.importorskip("reproject")
    astropy_healpix = pytest.importorskip("astropy_healpix")
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

    nside = 16
    values = 1000.0 * np.arange(1.0, 12 * nside**2 + 1)  # in mK
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "150GHz"
    frame["T"] = maps.HealpixSkyMap(
        values,
        weighted=False,
        nested=nested,
        units=core.G3TimestreamUnits.Tcmb,
        coord_ref=maps.MapCoordReference.names[coord],
    )
    file = str(tmp_path / "map.fits")
    write_maps(file, frame)
    system = "icrs" if coord == "Equatorial" else "galactic"
    wcs = WCS(naxis=2)
    names = ("RA---CAR", "DEC--CAR") if coord == "Equatorial" else ("GLON-CAR", "GLAT-CAR")
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = names, (40, 0), (4, 3)
    wcs.wcs.cdelt = (-5, 5)
    image, _ = reproject.reproject_from_healpix(
        file, wcs, shape_out=(6, 8), order="nearest-neighbor"
    )
    order = "nested" if nested else "ring"
    sky = astropy_healpix.HEALPix(nside, order=order, frame=system)
    y, x = np.indices(image.shape)
    at = wcs.pixel_to_world(x, y)
    expected = sky.skycoord_to_healpix(SkyCoord(at).transform_to(system))
    np.testing.assert_array_equal(image, expected + 1)


@pytest.mark.parametrize("full_sky", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_toast_reads_companions(tmp_path, full_sky, nested):
    toast = pytest.importorskip("toast.pixels")
    from astropy import units

    kind = "healpix nested indexed" if nested else "healpix ring"
    frame = map_frame(kind, "unweighted", 1)
    options = WriteOptions(companions=True, full_sky=full_sky)
    files = write_maps(tmp_path / "out.fits", frame, options)
    assert [file.rpartition("_")[2] for file in files] == ["map.fits", "invcov.fits"]
    n_pixels = frame["T"].size
    dist = toast.PixelDistribution(n_pixels, n_submap=12, local_submaps=np.arange(12))
    dist.nest = nested
    expected = planes(frame)
    for file, unit, names, scale in (
        (files[0], units.K, ("T", "Q", "U"), 1e-3),
        (files[1], units.K**-2, [f"Wpol.{c}" for c in ("TT", "TQ", "TU", "QQ", "QU", "UU")], 1e6),
    ):
        data = toast.PixelData(dist, np.float64, n_value=len(names), units=unit)
        data.read(file)
        found = data.data.reshape(-1, len(names)).T
        for row, name in zip(found, names, strict=True):
            row = np.where(row == healpy.UNSEEN, 0, row)
            np.testing.assert_allclose(row, expected[name] * scale, rtol=1e-15)


@pytest.mark.parametrize("ending", ["fits", "h5"])
def test_maps_of_toast_are_read(tmp_path, ending):
    toast = pytest.importorskip("toast.pixels_io_healpix")
    values = np.zeros((3, 768))
    values[:, 300:400] = np.random.default_rng(1).normal(size=(3, 100))
    file = str(tmp_path / f"mapmaker_map.{ending}")
    toast.write_healpix(file, values, nest=True, coord="G", column_units="K")
    (frame,) = map_frames_in(file, pol_conv="COSMO")
    assert frame["T"].nested
    assert frame["T"].coord_ref == maps.MapCoordReference.Galactic
    for name, expected in zip("TQU", values, strict=True):
        np.testing.assert_array_equal(np.asarray(frame[name].clone(True)), expected * 1000)
    # And by its own reader, what is written here.
    write_maps(tmp_path / "ours.fits", frame, WriteOptions(units="mK"))
    found = toast.read_healpix(str(tmp_path / "ours.fits"), (0, 1, 2), nest=True)
    np.testing.assert_array_equal(np.where(found == healpy.UNSEEN, 0, found), values * 1000)
