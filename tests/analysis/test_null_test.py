"""Null tests: chi-square against numpy and scipy, its distribution, and that of sign flips."""

import json

import noisemaps
import numpy as np
import pytest
import scipy.stats
import skies
from spt3g import core

import g3reduce
from g3reduce import cli, splits
from g3reduce.analysis import describing
from g3reduce.analysis.chisquare import Statistic
from g3reduce.errors import MismatchError, UsageError


@pytest.mark.parametrize("kind", ["flat sparse", "healpix indexed"])
def test_chi_square_is_that_of_numpy(kind):
    obs = noisemaps.Observations(kind=kind)
    a, b = obs.frame(0), obs.frame(1)
    (test,) = g3reduce.null_test(a, b).values()
    (m_a, w_a, seen_a), (m_b, w_b, seen_b) = noisemaps.unweighted(a), noisemaps.unweighted(b)
    both = seen_a & seen_b
    d = (m_a - m_b)[both] / 2
    covariance = (np.linalg.inv(w_a[both]) + np.linalg.inv(w_b[both])) / 4
    for place, name in enumerate("TQU"):
        expected = (d[:, place] ** 2 / covariance[:, place, place]).sum()
        assert test[name].chi2 == pytest.approx(expected, rel=1e-9)
        assert test[name].dof == both.sum() == test.n_pixels
    expected = np.einsum("ni,nij,nj", d, np.linalg.inv(covariance), d)
    assert test["all"].chi2 == pytest.approx(expected, rel=1e-9)
    assert test["all"].dof == 3 * both.sum()
    for one in test.statistics.values():
        assert one.probability == pytest.approx(scipy.stats.chi2.sf(one.chi2, one.dof), rel=1e-9)
        assert one.scale is one.calibrated is one.pte is None
    skies.assert_same_map(test.frame["T"], g3reduce.difference(a, b).frame["T"])


def test_probabilities_of_noise_are_uniform():
    obs = noisemaps.Observations(seed=4, n=6)
    tests = [g3reduce.null_test(obs.frame(0), obs.frame(1))["150GHz"] for _ in range(200)]
    for name in ("T", "Q", "U", "all"):
        found = scipy.stats.kstest([test[name].probability for test in tests], "uniform")
        assert found.pvalue > 0.01, name
    # And would not be if the noise were a fifth larger than the weights say.
    obs = noisemaps.Observations(seed=5, n=6, excess=1.5)
    tests = [g3reduce.null_test(obs.frame(0), obs.frame(1))["150GHz"] for _ in range(40)]
    assert scipy.stats.kstest([test["all"].probability for test in tests], "uniform").pvalue < 1e-6


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """A file with both halves and 30 sign flips of each; noise has twice the variance."""
    folder = tmp_path_factory.mktemp("season")
    files = noisemaps.Observations(seed=1, excess=2.0).files(folder)
    g3reduce.coadd_files(files, str(folder / "halves.g3"), assign=noisemaps.flips(30))
    g3reduce.coadd_files(files, str(folder / "whole.g3"), assign=noisemaps.flips(30, apart=False))
    return folder


def test_sign_flips_of_halves_calibrate_the_weights(season):
    file = str(season / "halves.g3")
    test = g3reduce.null_test(file, halves=("early", "late"), signflips=file)["150GHz"]
    assert (test.n_realisations, test.signflips_of) == (30, "halves")
    for name, one in test.statistics.items():
        assert one.probability < 1e-3, name
        assert one.scale == pytest.approx(2, rel=0.25)
        assert one.scale == one.realisations.mean() / one.dof
        assert one.calibrated == scipy.stats.chi2.sf(one.chi2 / one.scale, one.dof)
        assert one.calibrated > 0.001
        larger = (one.realisations >= one.chi2).sum()
        assert one.pte == (larger + 1) / 31
        assert one.pte > 0.03


def test_each_realisation_is_half_a_difference_itself(season):
    file = str(season / "halves.g3")
    test = g3reduce.null_test(file, halves=("early", "late"), signflips=file)["150GHz"]
    coadds = g3reduce.difference(file, halves=("early", "late"), weighted=False)
    assert len(coadds) == 31
    _, weights, seen = noisemaps.unweighted(coadds["150GHz"])
    expected = []
    for number in range(30):
        values, _, _ = noisemaps.unweighted(coadds[f"150GHz_signflip{number:03d}"])
        expected.append(np.einsum("ni,nij,nj", values[seen], weights[seen], values[seen]))
    np.testing.assert_allclose(test["all"].realisations, expected, rtol=1e-6)


def test_sign_flips_of_the_whole_coadd(season):
    file = str(season / "whole.g3")
    test = g3reduce.null_test(file, halves=("early", "late"), signflips=file)["150GHz"]
    assert (test.n_realisations, test.signflips_of) == (30, "whole")
    assert test["all"].scale == pytest.approx(2, rel=0.25)


def test_sign_flips_in_files_of_their_own(season, tmp_path):
    frames = list(core.G3File(str(season / "halves.g3")))
    for half in ("early", "late"):
        with core.G3Writer(str(tmp_path / f"{half}.g3")) as writer:
            for frame in frames:
                if frame.type == core.G3FrameType.Map and half in frame["Id"]:
                    frame["Id"] = frame.pop("Id").replace(f"_{half}", "")
                    writer(frame)
    early, late = str(tmp_path / "early.g3"), str(tmp_path / "late.g3")
    mine = g3reduce.null_test(early, late, (early, late))["150GHz"]
    file = str(season / "halves.g3")
    other = g3reduce.null_test(file, halves=("early", "late"), signflips=file)["150GHz"]
    assert mine.as_data() == other.as_data()


def doubled(frames):
    """The first of some frames, with twice the weights."""
    values, weights, seen = noisemaps.unweighted(frames[0])
    return [
        noisemaps.frame_of(
            frames[0]["T"],
            np.flatnonzero(seen),
            values[seen],
            2 * weights[seen],
            "150GHz_late_signflip000",
        )
    ]


def test_sign_flips_that_do_not_belong_are_refused(season):
    file = str(season / "halves.g3")
    both = {"halves": ("early", "late")}
    frames = {frame["Id"]: frame for frame in core.G3File(file) if "Id" in frame}
    with pytest.raises(MismatchError, match="no sign flips of '150GHz_early' or"):
        g3reduce.null_test(file, **both, signflips=[])
    early = [frame for name, frame in frames.items() if "early_signflip" in name]
    with pytest.raises(MismatchError, match=r"sign flips that .* has not"):
        g3reduce.null_test(file, **both, signflips=early)
    with pytest.raises(MismatchError, match="there are those of '150GHz_early'"):
        g3reduce.null_test(frames["150GHz_late"], frames["150GHz_late"], early)
    late = [frame for name, frame in frames.items() if "late_signflip" in name]
    late_flips = [skies.frame_of(f["Id"], skies.maps_by_plane(f)) for f in late]
    for frame in late:
        frame["Id"] = frame.pop("Id").replace("late", "early")
    with pytest.raises(MismatchError, match="lacks pixels"):
        g3reduce.null_test(frames["150GHz_early"], frames["150GHz_early"], (late, late))
    with pytest.raises(MismatchError, match="other weights"):
        g3reduce.null_test(frames["150GHz_late"], frames["150GHz_late"], (doubled(late_flips),) * 2)
    with pytest.raises(UsageError, match="A float was given"):
        g3reduce.null_test(file, **both, signflips=0.5)


def test_the_probability_to_exceed_is_never_0():
    noise = np.array([1.0, 2, 3, 4])
    assert Statistic(5.0, 3, noise).pte == 1 / 5
    assert Statistic(3.0, 3, noise).pte == 3 / 5
    assert Statistic(0.0, 3, noise).pte == 1


def test_on_the_command_line(season, capsys):
    file = str(season / "halves.g3")
    assert cli.main(["null", file, "--halves", "early", "late", "--signflips", file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("150GHz: 60 pixels, 30 sign flips of both maps")
    assert lines[1].split() == [
        "chi2",
        "dof",
        "chi2/dof",
        "probability",
        "scale",
        "calibrated",
        "PTE",
    ]
    assert [line.split()[0] for line in lines[2:]] == ["T", "Q", "U", "all"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert cli.main(["null", file, "--halves", "early", "late", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["150GHz"]
    assert data["statistics"]["all"]["dof"] == 180
    assert cli.main(["null", file]) == 2
    assert "say --halves NAME NAME" in capsys.readouterr().err


def test_sign_flips_that_hold_sky_are_doubted(tmp_path, capsys):
    """Both halves in one coadd: their footprints differ, so that flips leave the sky there."""
    files = noisemaps.Observations(seed=1).files(tmp_path)
    whole, halves = str(tmp_path / "whole.g3"), str(tmp_path / "halves.g3")
    g3reduce.coadd_files(files, whole, assign=splits.by("id") * splits.signflips(5, seed=1))
    g3reduce.coadd_files(files, halves, assign=noisemaps.flips(5))
    both = {"halves": ("early", "late")}
    good = g3reduce.null_test(halves, **both, signflips=halves)["150GHz"].lines()
    doubted = g3reduce.null_test(halves, **both, signflips=whole)["150GHz"].lines()
    assert not any("seem to hold sky" in line for line in good)
    assert any("seem to hold sky" in line for line in doubted)
    assert any("sky is left" in line for line in g3reduce.noise(whole)["150GHz"].lines())
    assert not any("sky is left" in line for line in g3reduce.noise(halves)["150GHz_late"].lines())
    words = ["difference", halves, "--halves", "early", "late", "-o", str(tmp_path / "d.g3")]
    assert cli.main(words) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[2] == "150GHz_signflip000 to 150GHz_signflip004: 5 sign flips of 150GHz"
    assert len(told) == 4
    assert sum("signflip" in line for line in describing.info(words[-1]).lines()) == 1
    coadds = [frame for frame in core.G3File(halves) if "signflip" not in frame["Id"]]
    with pytest.raises(MismatchError, match="is no sign flip: by its ledger nothing was subtr"):
        g3reduce.null_test(halves, **both, signflips=coadds)
    assert max(map(len, doubted)) <= 80
