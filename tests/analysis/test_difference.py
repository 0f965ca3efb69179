"""Half differences of maps, against spt3g's arithmetic and numpy's."""

import logging

import noisemaps
import numpy as np
import pytest
import skies
from spt3g import core, maps

import g3reduce
from g3reduce import splits
from g3reduce.coadd.coadds import Coadds
from g3reduce.errors import InputError, MismatchError, UsageError
from g3reduce.formats import map_frames_in, write_maps

UK = core.G3Units.uK
SKY = 100 * UK


def halves_of(kind, *, sky=SKY, noise=True, seed=0, ids=("150GHz", "150GHz"), **options):
    """Two maps of one sky: footprints overlap in part, weights differ by pixel and in level."""
    rng = np.random.default_rng(seed)
    stub = noisemaps.blank(kind)
    signal = sky * rng.standard_normal((stub.size, 3))
    frames = []
    for name, (low, high, depth) in zip(ids, ((0, 0.75, 10 * UK), (0.25, 1, 30 * UK)), strict=True):
        pixels = noisemaps.footprint(stub, low, high)
        weights = noisemaps.weights_for(rng, len(pixels), depth)
        values = signal[pixels]
        if noise:
            values = values + noisemaps.noise_for(rng, weights)
        frames.append(noisemaps.frame_of(stub, pixels, values, weights, name, kind=kind, **options))
    return frames


@pytest.mark.parametrize("kind", skies.KINDS)
@pytest.mark.parametrize("weighted", [True, False])
def test_it_is_half_the_difference_of_the_unweighted_maps(kind, weighted):
    a, b = halves_of(kind, weighted=weighted)
    d = g3reduce.difference(a, b, weighted=False).frame
    (m_a, w_a, seen_a), (m_b, w_b, seen_b) = noisemaps.unweighted(a), noisemaps.unweighted(b)
    both = seen_a & seen_b
    assert 0 < both.sum() < min(seen_a.sum(), seen_b.sum())
    m_d, w_d, seen_d = noisemaps.unweighted(d)
    np.testing.assert_array_equal(seen_d, both)
    np.testing.assert_allclose(m_d[both], (m_a - m_b)[both] / 2, rtol=1e-9, atol=1e-9 * SKY)
    covariance = (np.linalg.inv(w_a[both]) + np.linalg.inv(w_b[both])) / 4
    np.testing.assert_allclose(
        w_d[both] @ covariance, np.broadcast_to(np.eye(3), covariance.shape), atol=1e-9
    )
    assert not m_d[~both].any()
    assert not w_d[~both].any()
    for name, one in skies.maps_by_plane(d).items():
        mine = skies.maps_by_plane(a)[name]
        skies.assert_same_attributes(
            one, mine if weighted is False or name.startswith("W") else _unweighted_stub(mine), name
        )


def _unweighted_stub(skymap):
    copy = skymap.copy()
    copy.weighted = False
    return copy


@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring"])
def test_weighted_it_is_what_spt3g_unweights_again(kind):
    a, b = halves_of(kind)
    d = g3reduce.difference(a, b).frame
    assert d["T"].weighted
    for frame in (a, b, d):
        for name in "TQU":
            one = frame.pop(name)
            one = one.clone(True)
            if kind.startswith("flat"):
                one.sparse = False
            else:
                one.dense = True
            frame[name] = one
        maps.RemoveWeights(frame)
    for name in "TQU":
        expected = (np.array(a[name]) - np.array(b[name])) / 2  # NaN where one was not seen
        found = np.array(d[name])
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * SKY)
        assert np.isfinite(found).any()


def test_no_sky_is_left_but_that_of_the_noise_where_the_sign_null_leaves_it():
    a, b = halves_of("flat sparse")
    d = g3reduce.difference(a, b, weighted=False).frame
    m_d, w_d, seen = noisemaps.unweighted(d)
    chi2 = np.einsum("ni,nij,nj", m_d[seen], w_d[seen], m_d[seen]) / (3 * seen.sum())
    assert abs(chi2 - 1) < 5 * np.sqrt(2 / (3 * seen.sum()))

    # What is left of the sky alone: nothing, though weights differ by a factor of nine.
    a, b = halves_of("flat sparse", noise=False)
    d = g3reduce.difference(a, b, weighted=False).frame
    assert np.abs(noisemaps.unweighted(d)[0]).max() < 1e-9 * SKY
    # Weighted maps with signs leave most of it.
    (_, w_a, _), (_, w_b, _) = noisemaps.unweighted(a), noisemaps.unweighted(b)
    null = {key: np.array(skies.pixels(a[key])) - skies.pixels(b[key]) for key in "TQU"}
    signed = np.stack([null[key].ravel() for key in "TQU"], axis=1)[seen]
    left = np.linalg.solve((w_a + w_b)[seen], signed[..., None])[..., 0]
    assert np.std(left) > 0.5 * SKY


def test_for_equal_weights_it_has_the_weights_of_the_coadd():
    stub = noisemaps.blank()
    pixels = noisemaps.footprint(stub)
    rng = np.random.default_rng(1)
    weights = noisemaps.weights_for(rng, len(pixels))
    a, b = (
        noisemaps.frame_of(stub, pixels, rng.standard_normal((len(pixels), 3)), weights)
        for _ in "ab"
    )
    d = g3reduce.difference(a, b).frame
    np.testing.assert_allclose(noisemaps.unweighted(d)[1][pixels], 2 * weights, rtol=1e-12)


def test_temperature_alone():
    stub = noisemaps.blank()
    left, right = noisemaps.footprint(stub, 0, 0.75), noisemaps.footprint(stub, 0.25, 1)
    ones = np.ones((len(left), 1))
    a = noisemaps.frame_of(stub, left, 3 * ones, 2 * ones[..., None])
    b = noisemaps.frame_of(stub, right, -ones, 6 * ones[..., None])
    d = g3reduce.difference(a, b, weighted=False).frame
    both = np.intersect1d(left, right)
    assert "Q" not in d
    np.testing.assert_array_equal(skies.pixels(d["T"]).ravel()[both], 2)
    np.testing.assert_allclose(skies.pixels(d["Wunpol"].TT).ravel()[both], 4 / (1 / 2 + 1 / 6))
    assert d["T"].npix_nonzero == len(both)


def test_pixels_whose_weights_cannot_be_inverted_are_not_in_it():
    a, b = halves_of("flat sparse")
    values, weights, seen = noisemaps.unweighted(a)
    both = np.flatnonzero(seen & noisemaps.unweighted(b)[2])
    one_angle, thin, negative, nan = both[:4]
    weights[one_angle] = np.outer([1, 1, 0], [1, 1, 0]) / UK**2  # one detector, once
    weights[thin] = np.diag([1, 1, 1e-7])
    weights[negative] *= -1
    values[nan] = np.nan
    a = noisemaps.frame_of(a["T"], np.flatnonzero(seen), values[seen], weights[seen])
    d = g3reduce.difference(a, b).frame
    _, _, seen_d = noisemaps.unweighted(d)
    np.testing.assert_array_equal(np.flatnonzero(seen_d), both[4:])
    for one in skies.maps_by_plane(d).values():
        assert np.isfinite(skies.pixels(one)).all()
    more = g3reduce.difference(a, b, max_condition=1e8).frame
    assert noisemaps.unweighted(more)[2][thin]


def test_the_ledger_has_both_with_their_signs(tmp_path):
    rng = np.random.default_rng(0)
    stub = noisemaps.blank()
    pixels = noisemaps.footprint(stub)
    frames = []
    for _ in range(4):
        weights = noisemaps.weights_for(rng, len(pixels))
        frames.append(noisemaps.frame_of(stub, pixels, noisemaps.noise_for(rng, weights), weights))
    files = skies.write_frames(tmp_path, frames)
    a, b, d = (str(tmp_path / f"{name}.g3") for name in "abd")
    g3reduce.coadd_files(files[:2], a)
    g3reduce.coadd_files(files[2:], b)
    coadds = g3reduce.difference(a, b, d)
    (frame,) = core.G3File(d)
    assert list(frame["Ledger"]["file"]) == files
    assert list(frame["LedgerNumbers"]["sign"]) == [1, 1, -1, -1]
    assert list(frame["InputFiles"]) == files
    assert "half the difference" in frame["Difference"]["what"]
    assert frame["Difference"]["a"].startswith(a)
    assert [entry.sign for entry in coadds.ledger.entries] == [1, 1, -1, -1]
    skies.assert_same_coadd(frame, coadds.frame)
    # It is no sum of them, though, that could be made again, or grow.
    with pytest.raises(InputError, match="no sum of what its ledger lists"):
        splits.repeat(d)
    with pytest.raises(InputError, match="to which no map can be added"):
        g3reduce.coadd_files(files[:1], add_to=d)


@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring"])
def test_fits_files_are_input_and_output(tmp_path, kind):
    frames = halves_of(kind, weighted=False)
    files = [str(tmp_path / f"{name}.fits") for name in "ab"]
    for frame, file in zip(frames, files, strict=True):
        write_maps(file, frame)
    before = [g3reduce.digest(frame) for frame in frames]
    expected = g3reduce.difference(*frames, str(tmp_path / "d.fits"), weighted=False).frame
    assert [g3reduce.digest(frame) for frame in frames] == before  # they stay as they are
    (written,) = map_frames_in(str(tmp_path / "d.fits"))
    for found in (g3reduce.difference(*files, weighted=False).frame, written):
        for name, one in skies.maps_by_plane(expected).items():
            mine = skies.pixels(skies.maps_by_plane(found)[name])
            scale = np.abs(skies.pixels(one)).max()
            np.testing.assert_allclose(mine, skies.pixels(one), rtol=1e-9, atol=1e-9 * scale)


def test_what_both_have_in_common_is_told(tmp_path, caplog):
    a, b = halves_of("flat sparse")
    file, other = skies.write_frames(tmp_path, [a, b])
    with caplog.at_level(logging.WARNING):
        g3reduce.difference(file, other)
        assert not caplog.records
        g3reduce.difference(file, file)
    assert "1 of the same maps" in caplog.text
    caplog.clear()
    flips = [skies.map_frame("flat sparse", "polarized", 1, f"a_signflip{n}") for n in range(3)]
    file = skies.write_file(tmp_path / "flips.g3", flips)
    g3reduce.difference(file, file)
    assert len(caplog.records) == 1


def test_files_of_several_ids_are_paired(tmp_path):
    frames = [
        halves_of("flat sparse", seed=seed, ids=(name, name))
        for seed, name in enumerate(("90GHz", "150GHz"))
    ]
    files = []
    for half, order in (("a", (0, 1)), ("b", (1, 0))):
        files.append(str(tmp_path / f"{half}.g3"))
        with core.G3Writer(files[-1]) as writer:
            for number in order:
                writer(frames[number]["ab".index(half)])
    coadds = g3reduce.difference(*files)
    assert list(coadds) == ["90GHz", "150GHz"]
    for name, (a, b) in zip(coadds, frames, strict=True):
        skies.assert_same_map(coadds[name]["T"], g3reduce.difference(a, b).frame["T"])
    with pytest.raises(MismatchError, match=r"a\.g3, frame 1 \(Id '150GHz'\); .*'x': no partner"):
        g3reduce.difference(files[0], [frames[0][1], halves_of("flat sparse", ids="xy")[0]])
    with pytest.raises(MismatchError, match="have the same Id"):
        g3reduce.difference(files[0], frames[0])


def test_halves_of_one_file_are_paired_by_their_names():
    a90, b90 = halves_of("flat sparse", ids=("90GHz_early", "90GHz_late"))
    a150, b150 = halves_of("flat sparse", ids=("150GHz_early", "150GHz_late"), seed=1)
    whole = [a90, b150, a150, b90, halves_of("flat sparse")[0]]
    coadds = g3reduce.difference(whole, halves=("early", "late"))
    assert list(coadds) == ["90GHz", "150GHz"]
    skies.assert_same_map(coadds["150GHz"]["T"], g3reduce.difference(a150, b150).frame["T"])
    assert list(g3reduce.difference(a90, b90)) == ["90GHz_early-90GHz_late"]
    with pytest.raises(MismatchError, match="no maps whose Ids have the part first or last"):
        g3reduce.difference(whole, halves=("first", "last"))
    with pytest.raises(MismatchError, match="no maps whose Ids have the part last, so"):
        g3reduce.difference(whole, halves=("early", "last"))
    with pytest.raises(UsageError, match="halves is 'early'"):
        g3reduce.difference(whole, halves="early")
    with pytest.raises(UsageError, match="only one source"):
        g3reduce.difference(whole)


def test_empty_coadds_are_those_of_ranks_without_the_result():
    frame, empty = halves_of("flat sparse")[0], Coadds({}, here=False)
    for given in ((empty,), (empty, frame), (frame, empty)):
        with pytest.raises(UsageError, match="are empty, as they are on ranks that do not hold"):
            g3reduce.difference(*given, halves=("early", "late"))


def test_the_convention_of_polarization_is_converted_if_asked_for():
    a, b = halves_of("flat sparse")
    expected = g3reduce.difference(a, b).frame
    maps.SetPolConv(b, pol_conv=maps.MapPolConv.COSMO)
    with pytest.raises(MismatchError, match=r"pol_conv.*They cannot be compared"):
        g3reduce.difference(a, b)
    found = g3reduce.difference(a, b, pol_conv="IAU").frame
    for name, one in skies.maps_by_plane(found).items():
        skies.assert_same_map(one, skies.maps_by_plane(expected)[name], name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: [frame.pop(key) for key in ("Wpol",)], "their weights"),
        (lambda frame: _set(frame, "units", core.G3TimestreamUnits.Trj), "units, Tcmb and Trj"),
        (lambda frame: _set(frame, "x_center", 3), "x_center"),
        (lambda frame: _set(frame, "coord_ref", maps.MapCoordReference.Galactic), "coord_ref"),
        (lambda frame: maps.MakeMapsUnpolarized(frame), "T only"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(change, message):
    a, b = halves_of("flat sparse")
    change(b)
    with pytest.raises(InputError, match=message):
        g3reduce.difference(a, b)


def _set(frame, attribute, value):
    for key in ("T", "Q", "U"):
        one = frame.pop(key)
        setattr(one, attribute, value)
        frame[key] = one
    if attribute != "units":
        weights = frame.pop("Wpol")
        for component in noisemaps.COMPONENTS:
            setattr(getattr(weights, component), attribute, value)
        frame["Wpol"] = weights


def test_maps_that_do_not_overlap_are_refused():
    stub = noisemaps.blank()
    a, b = (
        noisemaps.frame_of(
            stub, pixels, np.ones((len(pixels), 3)), np.tile(np.eye(3), (len(pixels), 1, 1))
        )
        for pixels in (noisemaps.footprint(stub, 0, 0.4), noisemaps.footprint(stub, 0.5, 1))
    )
    with pytest.raises(InputError, match="no pixel in common"):
        g3reduce.difference(a, b)


def test_hits_are_added_where_both_have_them():
    a, b = halves_of("flat sparse")
    for frame in (a, b):
        frame["H"] = skies.maps_by_plane(frame)["Wpol.TT"] * 0 + 2
    d = g3reduce.difference(a, b).frame
    seen = noisemaps.unweighted(d)[2]
    np.testing.assert_array_equal(skies.pixels(d["H"]).ravel(), 4.0 * seen)
