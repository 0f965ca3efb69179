"""Histograms, quick-look spectra and smoothing, against numbers that are known."""

import numpy as np
import pytest
from choices import among_all
from discs import EQUATORIAL, UK, healpix_frame
from spt3g import core, maps

from g3reduce import InputError
from g3reduce.report import plot_histograms, plot_spectra
from g3reduce.report.patch import observed_patch

healpy = pytest.importorskip("healpy")
pytest.importorskip("matplotlib")


def test_histograms_and_spectra_tell_the_noise():
    frame = healpix_frame((30.0, -50.0), 30)
    figure = plot_histograms(frame)
    assert [ax.get_label() for ax in figure.axes] == ["T", "Q", "U"]
    spread = float(figure.axes[1].get_legend().get_texts()[0].get_text().rpartition(" ")[2])
    assert spread == pytest.approx(2, rel=0.1)
    figure = plot_spectra(frame)
    assert [ax.get_label() for ax in figure.axes] == ["TT", "EE", "BB"]
    power, level = (line.get_ydata() for line in figure.axes[2].lines[:2])
    # Weights of 4 say a standard deviation of 0.5 uK, a quarter of what there is.
    assert np.median(power / level) == pytest.approx(16, rel=0.3)


def test_a_map_without_weights_has_spectra_of_pixels_that_count_alike():
    frame = healpix_frame((30.0, -50.0), 180, weights=False)
    frame.pop("T")  # with its source
    rng = np.random.default_rng(5)
    frame["T"] = maps.HealpixSkyMap(
        rng.normal(0, 3 * UK, 12 * 32**2), weighted=False, coord_ref=EQUATORIAL,
        pol_conv=maps.MapPolConv.IAU, units=core.G3TimestreamUnits.Tcmb,
    )  # fmt: skip
    figure = plot_spectra(frame)
    for ax, sigma in zip(figure.axes, (3, 2, 2), strict=True):
        (line,) = ax.lines  # no level of noise, of which nothing is known
        ell, power = line.get_data()
        expected = sigma**2 * healpy.nside2pixarea(32) * ell * (ell + 1) / (2 * np.pi)
        assert np.median(power / expected) == pytest.approx(1, abs=0.1)
    one = core.G3Frame(core.G3FrameType.Map)
    one["T"] = frame["T"]
    np.testing.assert_allclose(
        plot_spectra(one).axes[0].lines[0].get_ydata(), figure.axes[0].lines[0].get_ydata()
    )
    bare = core.G3Frame(core.G3FrameType.Map)
    bare["T"] = healpix_frame((30.0, -50.0), 10)["T"]
    with pytest.raises(InputError, match="weighted maps, but no weights"):
        plot_spectra(bare)


@pytest.mark.parametrize("nested", [False, pytest.param(True, marks=among_all)])
def test_smoothing_of_the_whole_sky_is_right_far_from_the_centre(nested):
    nside, fwhm, place = 64, 600.0, (170.0, 60.0)  # near the edge of the picture
    values = np.full(12 * nside**2, 1e-6)
    pixel = healpy.ang2pix(nside, *place, lonlat=True)
    values[pixel] = 1.0
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["T"] = maps.HealpixSkyMap(
        healpy.reorder(values, r2n=True) if nested else values,
        nested=nested, weighted=False, coord_ref=EQUATORIAL,
    )  # fmt: skip
    patch = observed_patch(frame, smooth=fwhm)
    assert patch.view.name == "Mollweide"
    y, x = np.indices(patch.view.shape, dtype=float)
    lon, lat = (np.degrees(one) for one in patch.view.to_angles(x, y))
    on_sky = np.isfinite(lon)
    centre = healpy.pix2ang(nside, pixel, lonlat=True)
    # Of the pixels of the map, which are drawn as they are.
    drawn = healpy.ang2pix(nside, lon[on_sky], lat[on_sky], lonlat=True)
    apart = healpy.rotator.angdist(centre, healpy.pix2ang(nside, drawn, lonlat=True), lonlat=True)
    sigma = np.radians(fwhm / 60) / np.sqrt(8 * np.log(2))
    peak = healpy.nside2pixarea(nside) / (2 * np.pi * sigma**2)
    expected = peak * np.exp(-((apart / sigma) ** 2) / 2)
    np.testing.assert_allclose(patch.planes["T"][on_sky], expected, atol=0.02 * peak)
