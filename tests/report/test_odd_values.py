"""Pictures and pages of maps that say nothing, or whose values are hardly numbers."""

import warnings

import numpy as np
import pytest
from choices import among_all
from spt3g import core, maps

from g3reduce import UsageError
from g3reduce.report import plot_histograms, plot_maps, plot_spectra, write_report

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

NSIDE = 8
N_PIXELS = 12 * NSIDE**2
NOISE = np.random.default_rng(1).normal(0, 1, N_PIXELS)
ONE_PIXEL = (np.arange(N_PIXELS) == 5) * 1.0

# Name: values, weights, and which pictures there are: of the map, its histogram, its spectrum.
CASES = {
    "zeros": (np.zeros(N_PIXELS), None, ""),
    "no weights": (np.zeros(N_PIXELS), np.zeros(N_PIXELS), ""),
    "zeros with weights": (np.zeros(N_PIXELS), np.ones(N_PIXELS), "map histogram spectrum"),
    "NaN": (np.full(N_PIXELS, np.nan), None, ""),
    "NaN with weights": (np.full(N_PIXELS, np.nan), np.ones(N_PIXELS), "map"),
    "infinite": (np.full(N_PIXELS, np.inf), np.ones(N_PIXELS), "map"),
    "one pixel": (ONE_PIXEL, ONE_PIXEL, "map histogram"),
    "1e300": (NOISE * 1e300, None, "map histogram"),
    "beyond 1e308 uK": (np.where(NOISE > 0, 1.7e308, -1.7e308), None, "map"),
    "1e-310": (NOISE * 1e-310, None, "map histogram"),
    "weights of 1e300": (NOISE * 1e300, np.full(N_PIXELS, 1e300), "map histogram"),
    "weights of 1e-310": (NOISE * 1e-310, np.full(N_PIXELS, 1e-310), "map histogram"),
    "negative weights": (NOISE, -np.ones(N_PIXELS), "map"),
}
DRAWN = {"map": plot_maps, "histogram": plot_histograms, "spectrum": plot_spectra}


def frame_of(values, weights):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "150GHz"
    about = {"units": core.G3TimestreamUnits.Tcmb}
    frame["T"] = maps.HealpixSkyMap(values, weighted=weights is not None, **about)
    if weights is not None:
        both = maps.G3SkyMapWeights()
        both.TT = maps.HealpixSkyMap(weights, weighted=False)
        frame["Wunpol"] = both
    return frame


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("no_warning")
def test_a_picture_is_drawn_or_refused_without_a_warning(name, kind):
    values, weights, expected = CASES[name]
    frame = frame_of(values, weights)
    if kind in expected:
        assert DRAWN[kind](frame).axes[0].get_title(loc="left")[0] == "T"
        return
    with pytest.raises(UsageError, match=r"observed|with values|no power spectrum") as caught:
        DRAWN[kind](frame)
    assert "150GHz" in str(caught.value)


@pytest.mark.parametrize("name", [pytest.param(name, marks=among_all) for name in CASES])
@pytest.mark.usefixtures("no_warning")
def test_a_page_is_written_without_a_warning(tmp_path, name):
    values, weights, _ = CASES[name]
    writer = core.G3Writer(str(tmp_path / "coadd.g3"))
    writer(frame_of(values, weights))
    writer(core.G3Frame(core.G3FrameType.EndProcessing))
    write_report(tmp_path / "coadd.g3")
    page = (tmp_path / "coadd.html").read_text()
    assert "NaN" not in page.partition('id="content"')[2].partition("</script>")[0]


def test_maps_of_the_same_id_cannot_be_chosen_by_it():
    frames = [frame_of(NOISE, np.ones(N_PIXELS)) for _ in range(2)]
    with pytest.raises(UsageError, match=r"2 maps of the same Id .* give a file that has no other"):
        plot_spectra(frames)
