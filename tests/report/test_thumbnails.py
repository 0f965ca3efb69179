"""Small pictures of coadds: what they show, whatever is stored how."""

import sys

import numpy as np
import pytest
import skies
from spt3g import core, maps

from g3reduce import UsageError, coadd_files
from g3reduce.report import thumbnails

NSIDE = 64
N_PIXELS = 12 * NSIDE**2


def frame_of(values, weights=None, *, dense=True, weighted=True):
    """A frame of HEALPix maps, of values that are weighted or not."""

    def plane(array, **about):
        if dense:
            return maps.HealpixSkyMap(array, **about)
        (pixels,) = np.nonzero(array)
        found = maps.HealpixSkyMap(pixels, array[pixels], NSIDE, **about)
        found.ringsparse = True
        return found

    frame = core.G3Frame(core.G3FrameType.Map)
    shown = values * weights if weights is not None and weighted else values
    frame["T"] = plane(shown, weighted=weights is not None and weighted)
    if weights is not None:
        both = maps.G3SkyMapWeights()
        both.TT = plane(weights, weighted=False)
        frame["Wunpol"] = both
    return frame


def sky():
    """+2 in the north of the equator, -2 in the south, and weights."""
    pixels = list(range(N_PIXELS))
    _, delta = maps.HealpixSkyMap(NSIDE).pixels_to_angles(pixels)
    values = np.where(np.asarray(delta) > 0, 2.0, -2.0)
    return values, np.random.default_rng(1).uniform(1, 3, N_PIXELS)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("n_samples", [400_000, 20_000])
def test_a_thumbnail_has_the_values_of_the_map_where_they_are(
    monkeypatch, dense, weighted, n_samples
):
    monkeypatch.setattr(thumbnails, "_SAMPLES", n_samples)
    monkeypatch.setattr(thumbnails, "_CELLS", 3000 if n_samples < N_PIXELS else 30_000)
    frame = frame_of(*sky(), dense=dense, weighted=weighted)
    panel, aspect = thumbnails.thumbnail_of(frame)
    height, width = panel.values.shape
    middle = panel.values[:, width // 2] * core.G3Units.uK
    assert aspect == 1
    south, north = middle[2 : height // 2 - 6], middle[height // 2 + 6 : -2]  # from the bottom
    np.testing.assert_allclose(south, -2, rtol=1e-12)
    np.testing.assert_allclose(north, 2, rtol=1e-12)
    assert frame["T"].dense == dense


def test_pixels_of_a_sparse_map_that_are_0_stay_with_their_weights():
    values, weights = sky()
    values[::2] = 0
    panel, _ = thumbnails.thumbnail_of(frame_of(values, weights, dense=False))
    whole, _ = thumbnails.thumbnail_of(frame_of(values, weights))
    np.testing.assert_array_equal(panel.values, whole.values)
    panel, _ = thumbnails.thumbnail_of(frame_of(np.zeros(N_PIXELS), weights, dense=False))
    assert not np.nanmax(np.abs(panel.values))


@pytest.mark.parametrize("sparse", [True, False])
def test_a_flat_map_is_cut_to_what_was_observed(sparse):
    values = np.zeros((900, 1300))
    values[100:700, 500:800] = np.arange(1, 601)[:, None]
    frame = core.G3Frame(core.G3FrameType.Map)
    sky = maps.FlatSkyMap(values, core.G3Units.arcmin, weighted=False)
    sky.sparse = sparse
    frame["T"] = sky
    panel, _ = thumbnails.thumbnail_of(frame)
    height, width = panel.values.shape
    assert (height, width) == (150, 75)
    expected = values[100:700, 500].reshape(150, 4).mean(axis=1)
    np.testing.assert_allclose(panel.values[:, 40] * core.G3Units.uK, expected)


def test_an_empty_map_and_a_missing_library_leave_the_table(tmp_path, monkeypatch):
    coadds = coadd_files(skies.write_files(tmp_path, 2, "healpix ring", "hits"))
    assert thumbnails.html_of(coadds).count("<img") == 1
    with pytest.raises(UsageError, match="No pixel of the map was observed"):
        thumbnails.thumbnail_of(frame_of(np.zeros(N_PIXELS)))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert thumbnails.html_of(coadds).count("<img") == 0
    assert coadds._repr_html_() in thumbnails.html_of(coadds)
