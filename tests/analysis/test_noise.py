"""Noise from sign flips: variances, depths and spectra against the known input."""

import json
import weakref

import healpy
import noisemaps
import numpy as np
import pytest
import skies
from choices import some_of
from spt3g import core, maps

import g3reduce
from g3reduce import cli
from g3reduce.analysis.independence import effective_number
from g3reduce.analysis.masks import taper
from g3reduce.analysis.realisations import noise_maps_in
from g3reduce.errors import InputError, MismatchError, OutputError, UsageError
from g3reduce.simulate import cmb_sky

UK = core.G3Units.uK
ARCMIN = core.G3Units.arcmin


def realisations(stub, pixels, weights, number, seed=0, base="150GHz", kind="sparse"):
    """Frames of noise with these weights."""
    rng = np.random.default_rng(seed)
    return [
        noisemaps.frame_of(
            *(stub, pixels, noisemaps.noise_for(rng, weights), weights),
            f"{base}_signflip{place:03d}",
            kind=kind,
        )
        for place in range(number)
    ]


def even_weights(n, depth=10 * UK):
    """The same for all pixels: for Q and U the half of that for T."""
    return np.tile(np.diag([1, 0.5, 0.5]) / depth**2, (n, 1, 1))


@pytest.mark.parametrize(
    "kind", ["flat sparse", "flat dense", "healpix ring", "healpix nested indexed"]
)
def test_variances_and_depths(kind):
    stub = noisemaps.blank(kind, nside=16)
    pixels = noisemaps.footprint(stub, 0.1, 0.6)
    weights = noisemaps.weights_for(np.random.default_rng(3), len(pixels))
    frames = realisations(stub, pixels, weights, 9, kind=kind)
    found = g3reduce.noise(frames, spectra=False)["150GHz"]
    values = np.array([noisemaps.unweighted(frame)[0][pixels] for frame in frames])
    variance = (values**2).mean(axis=0)
    order = np.argsort(found.pixels)
    np.testing.assert_array_equal(found.pixels[order], pixels)
    area = stub.res**2 / ARCMIN**2
    for place, name in enumerate("TQU"):
        mine = found.variances[name][order] * UK**2
        np.testing.assert_allclose(mine, variance[:, place], rtol=1e-9)
        written = skies.pixels(found.frame[f"Var{name}"]).ravel()
        np.testing.assert_allclose(written[pixels], variance[:, place], rtol=1e-9)
        assert np.count_nonzero(written) == len(pixels)
        assert skies.storage(found.frame[f"Var{name}"]) == skies.storage(frames[0]["T"])
        depth = found.depths[name]
        expected = np.linalg.inv(weights)[:, place, place] * area / UK**2
        assert depth.median_by_weights == pytest.approx(np.sqrt(np.median(expected)), rel=2e-3)
        by_weights = np.sqrt(len(pixels) / (1 / expected).sum())
        assert depth.weighted_by_weights == pytest.approx(by_weights, rel=2e-3)
        error = 1 / np.sqrt(2 * 9 * len(pixels))
        assert depth.ratio == pytest.approx(1, abs=5 * error)
        assert depth.median == pytest.approx(depth.median_by_weights, rel=0.05)
    assert found.n_realisations == 9
    assert found.area == pytest.approx(len(pixels) * area / 3600, rel=5e-3)


def test_depth_of_even_noise_is_the_known_one():
    stub = noisemaps.blank(n=40, res=2 * ARCMIN)
    pixels = noisemaps.footprint(stub)
    frames = realisations(stub, pixels, even_weights(len(pixels), 5 * UK), 10)
    depths = g3reduce.noise(frames, spectra=False)["150GHz"].depths
    for name, known in (("T", 10), ("Q", 10 * np.sqrt(2)), ("U", 10 * np.sqrt(2))):
        assert depths[name].weighted == pytest.approx(known, rel=0.02)
        assert depths[name].median == pytest.approx(known, rel=0.03)  # for few realisations, too
        assert depths[name].weighted_by_weights == pytest.approx(known, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "even"),
    some_of(
        *(("flat sparse", "healpix ring", "healpix nested indexed"), (True, False)),
        fewer=[("flat sparse", False), ("flat sparse", True), ("healpix nested indexed", False)],
    ),
)
def test_spectra_of_white_noise_are_flat_at_the_known_level(kind, even):
    stub = noisemaps.blank(kind, n=48, res=10 * ARCMIN, nside=32)
    pixels = noisemaps.footprint(stub, 0.1, 0.9)
    rng = np.random.default_rng(1)
    weights = (even_weights if even else lambda n: noisemaps.weights_for(rng, n))(len(pixels))
    frames = realisations(stub, pixels, weights, 24, kind=kind)
    spectra = g3reduce.noise(frames, apodize=90)["150GHz"].spectra
    variances = np.diagonal(np.linalg.inv(weights), axis1=1, axis2=2)
    edge = taper(stub, pixels, 90 * ARCMIN)
    area = stub.res**2 if kind.startswith("flat") else 4 * np.pi / stub.size
    mask_t = edge / variances[:, 0]
    mask_p = edge / variances[:, 1:].mean(axis=1)
    known = {
        "TT": (mask_t**2 * variances[:, 0]).sum() / (mask_t**2).sum() * area,
        "EE": (mask_p**2 * variances[:, 1:].mean(axis=1)).sum() / (mask_p**2).sum() * area,
    }
    known["BB"] = known["EE"]
    assert len(spectra.ell) > 8
    for name, level in known.items():
        mean, error = spectra.mean[name], spectra.scatter[name] / np.sqrt(24)
        assert np.abs((mean - level / UK**2) / error).max() < 5, name
        assert mean.mean() == pytest.approx(level / UK**2, rel=0.05)
    assert np.abs(spectra.mean["TE"]).max() < 0.2 * np.sqrt(known["TT"] * known["EE"]) / UK**2
    assert (spectra.edges[:, 0] < spectra.ell).all()
    assert (spectra.ell < spectra.edges[:, 1]).all()


@pytest.mark.parametrize(
    ("kind", "convention"),
    some_of(
        *(("flat", "healpix"), ("IAU", "COSMO")), fewer=[("flat", "COSMO"), ("healpix", "IAU")]
    ),
)
def test_a_sky_without_b_modes_has_none(kind, convention):
    sky = cmb_sky(128, seed=2, beam=60 * ARCMIN)
    if kind == "healpix":
        stub = sky.T.clone(False)
        pixels = np.arange(stub.size)
        values = np.stack([np.array(one) for one in (sky.T, sky.Q, sky.U)], axis=1)
    else:  # far from the centre of the projection, so that North is not up
        stub = noisemaps.blank("flat", n=90, res=20 * ARCMIN)
        pixels = np.arange(stub.size)
        lon, lat = (np.asarray(part) for part in stub.pixels_to_angles(pixels))
        made = [
            healpy.get_interp_val(np.array(one), np.pi / 2 - lat, lon)
            for one in (sky.T, sky.Q, sky.U)
        ]
        values = np.stack(made, axis=1)
    frame = noisemaps.frame_of(stub, pixels, values, even_weights(len(pixels)), "a_signflip000")
    if convention == "COSMO":
        maps.SetPolConv(frame, pol_conv=maps.MapPolConv.COSMO)
    spectra = g3reduce.noise(frame, apodize=600, lmax=150)["a"].spectra
    held = spectra.ell > 65  # the mask mixes the largest modes
    assert (spectra.mean["BB"] < 0.06 * spectra.mean["EE"])[held].all()
    t, q, u = (np.array(one) / UK for one in (sky.T, sky.Q, sky.U))
    power = healpy.anafast([t, q, -u], lmax=150)
    ell = np.arange(151)
    for (low, high), found in zip(spectra.edges[held], spectra.mean["TE"][held], strict=True):
        inside = (ell >= low) & (ell < high)
        expected = np.average(power[3][inside], weights=2 * ell[inside] + 1)
        size = np.sqrt(power[0][inside] * power[1][inside]).mean()
        assert abs(found - expected) < (1e-3 if kind == "healpix" else 1) * size
    if kind == "flat":
        expected = power[3][65:].mean()  # negative: T and E are of the right relative sign
        assert 1.5 * expected < spectra.mean["TE"][held].mean() < 0.5 * expected < 0


@pytest.mark.parametrize("kind", ["flat", "healpix"])
def test_the_taper(kind):
    stub = noisemaps.blank(kind, nside=32)
    pixels = noisemaps.footprint(stub, 0.2, 0.8)
    width = 3.2 * stub.res
    mask = taper(stub, pixels, width)
    assert (mask > 0).all()
    assert mask.max() == 1
    if kind == "flat":
        row = mask[:14][:]  # the columns 4 to 18 of the first row
        distance = np.minimum(1, np.arange(1, 15))  # the row lies at the edge
        np.testing.assert_allclose(row, (1 - np.cos(np.pi * distance / 3.2)) / 2)
    else:
        center = np.argmax(mask)
        vectors = np.array(healpy.pix2vec(32, pixels)).T
        angle = np.arccos(np.clip(vectors @ vectors[center], -1, 1))
        assert mask[np.argsort(angle)[-10:]].max() < 0.5
    assert (taper(stub, pixels, 0) == 1).all()
    whole = np.arange(stub.size)
    assert kind == "flat" or (taper(stub, whole, width) == 1).all()


def test_sign_flips_of_coadds(tmp_path):
    files = noisemaps.Observations(seed=2, excess=4.0).files(tmp_path)
    g3reduce.coadd_files(files, str(tmp_path / "flips.g3"), assign=noisemaps.flips(40))
    found = g3reduce.noise(str(tmp_path / "flips.g3"), str(tmp_path / "var.g3"))
    assert list(found) == ["150GHz_early", "150GHz_late"]
    for one in found.values():
        assert one.n_realisations == 40
        assert 3 < one.n_effective < 5  # six observations, balanced, have five
        for depth in one.depths.values():
            assert depth.ratio == pytest.approx(2, rel=0.15)
    written = [frame for frame in core.G3File(str(tmp_path / "var.g3")) if "Id" in frame]
    assert [frame["Id"] for frame in written] == list(found)
    skies.assert_same_map(written[0]["VarQ"], found["150GHz_early"].frame["VarQ"])
    assert written[0]["Noise"]["realisations"] == "40"


def test_sign_flips_of_few_maps_are_not_independent():
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], (60, 2000))
    assert effective_number(list(signs), np.ones(2000)) == pytest.approx(60, rel=0.06)
    balanced = np.array([rng.permutation([1.0] * 4 + [-1.0] * 4) for _ in range(1500)])
    assert effective_number(list(balanced), np.ones(8)) == pytest.approx(7, rel=0.04)
    # Against the spread of the variances of many equal pixels, with uneven weights.
    weights = np.array([1.0, 1, 1, 2, 5, 1, 1, 2])
    maps_of = rng.standard_normal((8, 20000)) / np.sqrt(weights[:, None])
    flips = (balanced[:30] * weights) @ maps_of
    variances = (flips**2).mean(axis=0)
    known = 2 * variances.mean() ** 2 / variances.var()
    assert effective_number(list(balanced[:30]), weights) == pytest.approx(known, rel=0.05)


def test_temperature_alone():
    stub = noisemaps.blank()
    pixels = noisemaps.footprint(stub)
    rng = np.random.default_rng(0)
    frames = [
        noisemaps.frame_of(
            *(stub, pixels, 3 * UK * rng.standard_normal((len(pixels), 1))),
            np.full((len(pixels), 1, 1), 1 / (9 * UK**2)),
            f"signflip{number}",
        )
        for number in range(8)
    ]
    found = g3reduce.noise(frames)[""]
    assert list(found.depths) == list(found.variances) == ["T"]
    assert list(found.spectra.power) == ["TT"]
    assert found.depths["T"].weighted == pytest.approx(60, rel=0.06)
    assert found.spectra.mean["TT"].mean() == pytest.approx((60 * ARCMIN) ** 2, rel=0.1)


def test_maps_without_names_are_not_all_held_at_once(tmp_path):
    stub = noisemaps.blank("flat sparse")
    pixels = noisemaps.footprint(stub, 0.4, 0.5)
    file = str(tmp_path / "noise.g3")
    writer = core.G3Writer(file)
    for number, frame in enumerate(realisations(stub, pixels, even_weights(len(pixels)), 5)):
        frame.pop("Id")
        frame["Id"] = f"noise {number}"
        writer(frame)
    writer(core.G3Frame(core.G3FrameType.EndProcessing))
    del frame, writer
    frames = list(core.G3File(file))
    for source in (file, [file], (frame for frame in frames), frames, iter([file])):
        alive = weakref.WeakSet()
        numbers = []
        for noise in noise_maps_in(source):
            numbers.append(noise.number)
            alive.add(noise.given.frame)
            if source in (file, [file]):
                assert len(alive) <= 2
        assert numbers == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("number", [2, 20])
def test_median_depth_is_not_that_of_the_scatter(number):
    """Variances from few realisations scatter widely, and most those of shallow pixels."""
    stub = noisemaps.blank(n=80, res=2 * ARCMIN)
    pixels = noisemaps.footprint(stub)
    depth = 5 * UK / np.sqrt(np.random.default_rng(3).uniform(0.05, 1, len(pixels)))
    weights = np.diag([1, 0.5, 0.5]) / depth[:, np.newaxis, np.newaxis] ** 2
    frames = realisations(stub, pixels, weights, number)
    found = g3reduce.noise(frames, spectra=False)["150GHz"].depths["T"]
    known = 2 * np.median(depth / UK)
    assert found.median_by_weights == pytest.approx(known, rel=1e-6)
    assert found.median == pytest.approx(known, rel=4 / np.sqrt(number * len(pixels)))


def test_what_cannot_be_used_is_refused(tmp_path, caplog):
    stub = noisemaps.blank()
    pixels = noisemaps.footprint(stub)
    weights = even_weights(len(pixels))
    one, two = realisations(stub, pixels, weights, 2)
    (other,) = realisations(stub, pixels, 2 * weights, 1)
    (fewer,) = realisations(stub, pixels[10:], weights[10:], 1)
    for third in (other, fewer):
        with pytest.raises(MismatchError, match="has other weights than"):
            g3reduce.noise([one, two, third], spectra=False)
    for name, value in (("apodize", -1), ("lmax", 1), ("delta_ell", 0), ("max_condition", 0.5)):
        with pytest.raises(UsageError, match=f"{name} is {value}; expected"):
            g3reduce.noise([one, two], **{name: value})
    with pytest.raises(InputError, match="no map in what was given, so there are no sign flips"):
        g3reduce.noise([])
    with pytest.raises(UsageError, match=r"noise\.txt: the name does not say"):
        g3reduce.noise([one, two], "noise.txt")
    (file,) = skies.write_frames(tmp_path, [one])
    with pytest.raises(OutputError, match="also an input"):
        g3reduce.noise(file, file)
    made = []
    for frame in (one, two):
        planes = skies.maps_by_plane(frame)
        for skymap in planes.values():
            skymap.pol_conv = maps.MapPolConv.none
        made.append(skies.frame_of(frame["Id"].replace("signflip", "x"), planes))
    first, second = made
    with pytest.raises(InputError, match="spectra=False"):
        g3reduce.noise([first, second])
    assert g3reduce.noise([first, second], spectra=False)[""].n_realisations == 2
    assert "all maps (2; the first is the map with Id '150GHz_x000')" in caplog.text


def test_on_the_command_line(tmp_path, capsys):
    stub = noisemaps.blank()
    pixels = noisemaps.footprint(stub)
    frames = realisations(stub, pixels, even_weights(len(pixels)), 4)
    file = str(tmp_path / "flips.g3")
    with core.G3Writer(file) as writer:
        for frame in frames:
            writer(frame)
    outputs = [str(tmp_path / f"out.{ending}") for ending in ("g3", "npz", "json")]
    flags = [word for name in outputs for word in ("-o", name)]
    assert cli.main(["noise", file, *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "150GHz: 4 sign flips (worth 4.0 independent ones), 576 pixels, 64 deg2"
    )
    assert lines[1] == "depth in uK arcmin (* by the weights)"
    assert [line.split()[0] for line in lines[3:6]] == ["T", "Q", "U"]
    assert lines[7].split() == [
        "ell",
        *(word for name in ("TT", "EE", "BB", "TE") for word in (name, "scatter")),
    ]
    expected = g3reduce.noise(frames)["150GHz"]
    arrays = np.load(outputs[1])
    np.testing.assert_array_equal(arrays["C_TT"], expected.spectra.power["TT"])
    np.testing.assert_array_equal(arrays["var_Q"], expected.variances["Q"])
    with open(outputs[2]) as written:
        data = json.load(written)["150GHz"]
    assert data == json.loads(json.dumps(expected.as_data()))
    assert cli.main(["noise", file, "--no-spectra", "--json"]) == 0
    assert "C_ell" not in json.loads(capsys.readouterr().out)["150GHz"]
