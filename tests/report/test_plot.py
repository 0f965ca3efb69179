"""Pictures by their features: what is where, limits, labels, and what is refused."""

import sys

import numpy as np
import pytest
from choices import among_all
from discs import EQUATORIAL, SOURCE, UK, WEIGHT, healpix_frame
from spt3g import core, maps

from g3reduce import InputError, UsageError
from g3reduce.report import plot_histograms, plot_maps, plot_spectra
from g3reduce.report.panels import panels_of
from g3reduce.report.patch import observed_patch
from g3reduce.report.views import Mollweide

healpy = pytest.importorskip("healpy")
pytest.importorskip("matplotlib")


def flat_frame(projection, centre=(0.0, -55.0), source=(20, 40), shape=(60, 90)):
    """An unweighted map, with a source in a pixel (row, column)."""
    frame = core.G3Frame(core.G3FrameType.Map)
    deg = core.G3Units.deg
    skymap = maps.FlatSkyMap(
        shape[1],
        shape[0],
        0.25 * deg,
        proj=getattr(maps.MapProjection, f"Proj{projection}"),
        alpha_center=centre[0] * deg,
        delta_center=centre[1] * deg,
        coord_ref=EQUATORIAL,
        units=core.G3TimestreamUnits.Tcmb,
        weighted=False,
    )
    np.asarray(skymap)[:] = np.random.default_rng(1).normal(0, 2 * UK, shape)
    np.asarray(skymap)[source] = SOURCE * UK
    frame["T"] = skymap
    return frame


def brightest(patch):
    """Where the largest T is, in degrees."""
    row, column = np.unravel_index(np.nanargmax(patch.planes["T"]), patch.view.shape)
    lon, lat = patch.view.to_angles(np.array([float(column)]), np.array([float(row)]))
    return np.degrees(lon[0]) % 360, np.degrees(lat[0])


def separation(a, b):
    return np.degrees(healpy.rotator.angdist(a, b, lonlat=True)[0])


@pytest.mark.parametrize(
    ("centre", "radius", "name"),
    [
        ((0.5, -30.0), 6, "gnomonic"),
        ((359.0, 10.0), 40, "zenithal equal-area"),
        ((77.0, 89.0), 20, "zenithal equal-area"),
        ((120.0, -89.0), 88, "zenithal equal-area"),
        ((200.0, 35.0), 180, "Mollweide"),
    ],
)
def test_a_source_is_at_its_place_in_the_projection_that_suits(centre, radius, name):
    patch = observed_patch(healpix_frame(centre, radius))
    assert patch.view.name == name
    assert separation(brightest(patch), centre) < 2 * np.degrees(healpy.nside2resol(32))
    assert np.nanmax(patch.planes["T"]) / UK == pytest.approx(SOURCE)
    # All of the disc is shown, and nothing of it twice.
    area = patch.seen.sum() * patch.view.res**2
    assert area == pytest.approx(2 * np.pi * (1 - np.cos(np.radians(radius))), rel=0.06)


def test_mollweide_leads_there_and_back_and_is_of_equal_area():
    view = Mollweide(400, EQUATORIAL, np.radians(150.0))
    lon, lat = np.radians([-29.0, 150, 329, 200]), np.radians([0.0, 90, -40, 33])
    x, y = view.to_xy(lon, lat)
    assert x[0] > x[3]
    assert x[1] == pytest.approx(199.5)
    assert y[1] == pytest.approx(199.5)
    again = view.to_angles(x[[0, 2, 3]], y[[0, 2, 3]])
    np.testing.assert_allclose(np.exp(1j * again[0]), np.exp(1j * lon[[0, 2, 3]]), atol=1e-6)
    np.testing.assert_allclose(again[1], lat[[0, 2, 3]], atol=1e-6)
    rows, columns = np.indices(view.shape, dtype=float)
    _, found = view.to_angles(columns, rows)
    assert np.mean(found[np.isfinite(found)] > np.radians(30)) == pytest.approx(0.25, abs=0.005)
    assert np.isnan(view.to_angles(np.zeros(1), np.zeros(1))[0]).all()


def test_limits_are_robust_symmetric_and_shared_by_q_and_u():
    figure = plot_maps(healpix_frame((30.0, -50.0), 15))
    assert [ax.get_label() for ax in figure.axes] == ["T", "Q", "U", "TT"]
    limits = {ax.get_label(): ax.images[0].get_clim() for ax in figure.axes}
    assert limits["Q"] == limits["U"]
    for name in "TQU":  # noise of 2 uK: 99.5 % are below 5.6 uK, and 4 sigma are 8 uK
        assert limits[name][0] == -limits[name][1]
        assert 4 < limits[name][1] < 9
    assert limits["TT"] == (0, pytest.approx(WEIGHT))
    colours = {ax.get_label(): ax.images[0].get_cmap().name for ax in figure.axes}
    assert colours == {"T": "RdBu_r", "Q": "RdBu_r", "U": "RdBu_r", "TT": "viridis"}
    assert "μK" in figure.axes[0].child_axes[0].get_ylabel()


def test_vmax_planes_and_weighted_are_as_said():
    frame = healpix_frame((30.0, -50.0), 5)
    figure = plot_maps(frame, planes=["U", "T", "QQ"], vmax={"T": 300, "QQ": 2})
    assert [ax.get_label() for ax in figure.axes] == ["U", "T", "QQ"]
    assert figure.axes[1].images[0].get_clim() == (-300, 300)
    assert figure.axes[2].images[0].get_clim() == (0, 2)
    (panel,) = panels_of(observed_patch(frame, weighted=True), ["T"])
    assert np.nanmax(panel.values) == pytest.approx(SOURCE * WEIGHT / UK)


def test_labels_say_the_coordinates_across_ra_0():
    figure = plot_maps(healpix_frame((0.0, -45.0), 12), planes=["T"])
    (ax,) = figure.axes
    shown = [
        (tick, label.get_text())
        for tick, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=False)
    ]
    shown.sort()
    degrees = [(float(label[:-1]) + 180) % 360 - 180 for _, label in shown]
    assert degrees == sorted(degrees, reverse=True)  # East is left
    assert 0 in degrees
    assert min(degrees) < 0 < max(degrees)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("RA", "Dec")
    middle = {d: x for d, (x, _) in zip(degrees, shown, strict=False)}[0]
    assert middle == pytest.approx(np.mean(ax.get_xlim()), abs=2)


@pytest.mark.parametrize("projection", ["CAR", "SFL", "SIN", "ZEA", "STG", "TAN", "CEA", "BICEP"])
def test_flat_maps_keep_their_pixels_and_are_labelled(projection):
    frame = flat_frame(projection)
    patch = observed_patch(frame)
    assert patch.view.shape == (60, 90)
    assert np.nanargmax(patch.planes["T"]) == 20 * 90 + 40
    expected = [np.degrees(a) for a in frame["T"].pixel_to_angle(20 * 90 + 40)]
    assert separation(brightest(patch), expected) < 1e-6
    (ax,) = plot_maps(frame).axes
    assert len(ax.get_xticks()) > 1
    assert len(ax.get_yticks()) > 1


def test_a_map_without_a_projection_has_columns_and_rows():
    (ax,) = plot_maps(flat_frame("None")).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")


def test_a_thin_stripe_is_drawn():
    (ax,) = plot_maps(flat_frame("CAR", shape=(2, 3300), source=(1, 50))).axes
    assert ax.images[0].get_array().shape[0] == 1
    (ax,) = plot_maps(flat_frame("ZEA", shape=(3, 400), source=(1, 50))).axes
    assert [label.get_text() for label in ax.get_xticklabels()]


def test_the_difference_of_equal_maps_is_nothing_and_of_others_half():
    for weights in (True, False):
        a, b = (healpix_frame((30.0, -50.0), 8, weights=weights) for _ in "ab")
        if weights:
            figure = plot_maps(a, difference=b, planes=["T"])
            assert np.abs(figure.axes[0].images[0].get_array()).max() == 0
        else:
            with pytest.raises(UsageError, match="are equal in each pixel"):
                plot_maps(a, difference=b, planes=["T"])
        skymap = b.pop("T")
        b["T"] = skymap * 0.5
        figure = plot_maps(a, difference=b, planes=["T"])
        assert figure.axes[0].images[0].get_array().max() == pytest.approx(SOURCE / 4)


def test_smoothing_keeps_the_mean_and_lowers_the_source():
    frame = healpix_frame((30.0, -50.0), 8)
    sharp, smooth = (observed_patch(frame, smooth=width) for width in (None, 300))
    assert np.nanmax(smooth.planes["T"]) < 0.2 * np.nanmax(sharp.planes["T"])
    assert separation(brightest(smooth), (30, -50)) < 2
    np.testing.assert_array_equal(sharp.seen, smooth.seen)


def test_several_maps_are_rows_of_which_band_takes_some(tmp_path):
    ids = ("Coadd90GHz", "150GHz_early", "150GHz_signflip000")
    frames = [healpix_frame((30.0, -50.0), 5, map_id=one) for one in ids]
    figure = plot_maps(frames, tmp_path / "a.svg", planes=["T", "Q"])
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [f"{plane}   {one}" for one in ids[:2] for plane in "TQ"]
    assert "150GHz_early" in plot_maps(frames, band="150").get_suptitle()
    assert "signflip000" in plot_maps(frames, band=ids[2]).get_suptitle()
    with pytest.raises(
        UsageError, match=r"'220GHz'.*Coadd90GHz', '150GHz_early', and 1 of sign flips\. Name"
    ):
        plot_maps(frames, band="220GHz")
    with pytest.raises(UsageError, match=r"no map .* is no sign flip; its Ids are '150GHz_signfl"):
        plot_maps(frames[2])
    with pytest.raises(UsageError, match=r"9 maps.*room for 8.*band"):
        plot_maps([frames[0]] * 9)


def test_pictures_are_written_as_named_and_the_same_twice(tmp_path):
    frame = healpix_frame((30.0, -50.0), 5)
    for kind, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        names = [tmp_path / f"{n}.{kind}" for n in "ab"]
        for name in names:
            plot_maps(frame, name, planes=["T"], dpi=50)
        assert names[0].read_bytes().startswith(magic)
        assert names[0].read_bytes() == names[1].read_bytes()
    with pytest.raises(UsageError, match=r"must end in .png, .pdf or .svg"):
        plot_maps(frame, tmp_path / "a.jpg")


def test_rows_of_the_same_id_are_told_apart_by_their_files(tmp_path):
    frame = healpix_frame((30.0, -50.0), 5)
    names = [tmp_path / f"{name}.g3" for name in ("early", "a_very_long_name_of_some_season")]
    for name in names:
        with core.G3Writer(str(name)) as writer:
            writer(frame)
    figure = plot_maps(names, planes=["T", "Q"])
    titles = [ax.get_title(loc="left").replace("\n", "") for ax in figure.axes[::2]]
    assert titles == [f"T   150GHz ({name.name})" for name in names]
    assert max(map(len, figure.axes[2].get_title(loc="left").split("\n"))) <= 32


def test_colours_are_those_that_are_named():
    frame = healpix_frame((30.0, -50.0), 5)
    axes = plot_maps(frame, planes=["T", "weights"], cmap="gray").axes
    assert [ax.images[0].get_cmap().name for ax in axes] == ["gray", "viridis"]
    with pytest.raises(UsageError, match=r"cmap is 'virides'; .* Did you mean viridis"):
        plot_maps(frame, cmap="virides")


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    for name in [one for one in sys.modules if one.startswith("g3reduce.report.figures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("g3reduce.report.figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="pip install matplotlib"):
        plot_maps(healpix_frame((30.0, -50.0), 5))


@pytest.mark.parametrize("radius", [5, pytest.param(40, marks=among_all), 180])
def test_nested_and_sparse_maps_are_drawn_like_dense_ones(radius):
    frame = healpix_frame((30.0, -50.0), radius, weights=False)
    expected = observed_patch(frame)
    ring = frame["T"]
    nested = maps.HealpixSkyMap(
        healpy.reorder(np.array(ring), r2n=True),
        nested=True,
        weighted=False,
        coord_ref=EQUATORIAL,
        units=ring.units,
    )
    for sparse in ("dense", "ringsparse", "indexedsparse"):
        for one in (nested,) if sparse == "dense" else (ring, nested):
            if sparse == "ringsparse" and one is nested:
                continue  # which spt3g does not have
            other = core.G3Frame(core.G3FrameType.Map)
            copy = one.clone(True)
            setattr(copy, sparse, True)
            other["T"] = copy
            found = observed_patch(other)
            assert found.view.name == expected.view.name
            np.testing.assert_array_equal(found.planes["T"], expected.planes["T"])


def test_what_cannot_be_drawn_is_refused():
    frame = healpix_frame((30.0, -50.0), 5)
    for arguments, message in (
        ({"planes": ["V"]}, "planes has 'V'; expected some of T, Q, U"),
        ({"planes": ["hits"]}, "There is no hits in this map"),
        ({"vmax": -1}, "vmax is -1"),
        ({"smooth": 0}, "smooth is 0"),
        ({"projection": "polar"}, "projection is 'polar'"),
        ({"weighted": True, "difference": frame}, "exclude each other"),
    ):
        with pytest.raises(UsageError, match=message):
            plot_maps(frame, **arguments)
    empty = core.G3Frame(core.G3FrameType.Map)
    empty["T"] = frame["T"].clone(False)
    with pytest.raises(UsageError, match="No pixel of the map was observed"):
        plot_maps(empty)
    with pytest.raises(InputError, match="weighted maps, but no weights"):
        plot_spectra(empty)
    del empty["T"]
    empty["T"] = maps.HealpixSkyMap(32, weighted=False, coord_ref=EQUATORIAL)
    with pytest.raises(UsageError, match="no pixel was observed"):
        plot_spectra(empty)


def test_ids_are_no_mathematics_and_histograms_need_values(tmp_path, recwarn):
    frames = [flat_frame("ZEA", shape=(20, 20), source=(3, 4)) for _ in range(2)]
    for number, frame in enumerate(frames):
        frame["Id"] = f"a$x_{{$ {number}"
    plot_maps(frames, tmp_path / "two.png", dpi=40)
    plot_maps(frames[0], tmp_path / "one.png", dpi=40)
    figure = plot_histograms(frames, tmp_path / "histogram.png", dpi=40)
    names = [text.get_text() for text in figure.legends[0].texts]
    assert len(names) == 3
    assert names[-1].startswith("Gaussian")  # the dashed lines
    empty = healpix_frame_without_values()
    with pytest.raises(UsageError, match="no T, Q or U with values"):
        plot_histograms(empty)
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]


def healpix_frame_without_values():
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["T"] = maps.HealpixSkyMap(16, weighted=True, units=core.G3TimestreamUnits.Tcmb)
    frame["Wunpol"] = maps.G3SkyMapWeights(frame["T"])
    return frame
