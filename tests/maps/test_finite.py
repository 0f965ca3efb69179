"""Pixels that are not finite: kept as in spt3g, refused, or left out of all maps of their frame."""

from __future__ import annotations

import re

import numpy as np
import pytest
from skies import KINDS, assert_same_coadd, map_frame, write_frames
from spoiled import assert_same_sums, by_spt3g, hit_pixels, series, with_values
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, MPIMapCoadder
from g3reduce.cli import main
from g3reduce.kernels import choice as kernels


@pytest.fixture(autouse=True)
def simple_kernels(monkeypatch):
    """Which start faster."""
    monkeypatch.setenv(kernels.KERNELS, "numpy")


@pytest.mark.parametrize("weighting", ["polarized", "unweighted", "hits"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_is_left_out_of_all_maps_and_counted(tmp_path, kind, weighting):
    frames, clean, count = series(kind, weighting)
    files, theirs = write_frames(tmp_path, frames), by_spt3g(clean)
    coadder = MPIMapCoadder(nonfinite="skip")
    for frame in frames:
        coadder.add(frame)
    coadder.finish()
    read = g3reduce.coadd_files(files, nonfinite="skip").frame
    exact = g3reduce.coadd_files(files, nonfinite="skip", reproducible=True).frame
    for coadd in (coadder.coadd_frame, read, exact):
        assert_same_sums(coadd, theirs)
        assert coadd["SkippedPixels"] == count == 9
    assert coadder.skipped_pixels == {"Coadd": 9}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused_is_named(tmp_path, kind):
    frames, _, _ = series(kind, "polarized", 2)
    (pixel, *_) = hit_pixels(map_frame(kind, "polarized", 1), 3)
    frames[0] = map_frame(kind, "polarized", 0)
    frames[1] = with_values(map_frame(kind, "polarized", 1), {("U", pixel): -np.inf})
    files = write_frames(tmp_path, frames)
    text = f"{files[1]}, frame 0 (Id '150GHz'): U is not finite: -inf at pixel {pixel}."
    with pytest.raises(InputError, match=re.escape(text)):
        g3reduce.coadd_files(files, nonfinite="error")
    coadder = MPIMapCoadder(nonfinite="error")
    with pytest.raises(InputError, match=r"U is not finite"):
        coadder.add(frames[1])
    coadder.add(frames[0])  # nothing of the other was added
    coadder.finish()
    assert_same_coadd(coadder.coadd_frame, by_spt3g([frames[0]]))


def test_weights_are_named_before_the_maps_that_they_were_applied_to():
    frame = map_frame("flat dense", "unweighted", 0)
    spoil = {("Wpol.QU", pixel): np.nan for pixel in hit_pixels(frame, 9)}
    with pytest.raises(
        InputError, match=r"Wpol\.QU is not finite: (nan at pixel \d+, ){5}and 4 mo"
    ):
        MPIMapCoadder(nonfinite="error").add(with_values(frame, spoil))


@pytest.mark.parametrize("nonfinite", ["keep", "error", "skip"])
def test_frames_that_are_finite_are_coadded_as_ever(survey, nonfinite):
    files = survey(3, "flat sparse", "polarized", map_ids=("90GHz",))
    coadd = g3reduce.coadd_files(files, nonfinite=nonfinite).frame
    assert_same_coadd(coadd, maps.coadd_map_files(files))


@pytest.mark.parametrize("nonfinite", ["error", "skip"])
def test_where_no_weight_is_a_map_may_be_nan(tmp_path, nonfinite):
    """As maps are whose weights were removed: nothing is left out."""
    frames = [map_frame("flat dense", "hits", seed) for seed in range(2)]
    for frame in frames:
        skymap = frame.pop("T")
        np.asarray(skymap)[np.asarray(frame["Wunpol"].TT) == 0] = 0
        frame["T"] = skymap
    expected = by_spt3g(frames)
    for frame in frames:
        maps.RemoveWeights(frame)
        assert not np.isfinite(np.asarray(frame["T"])).all()
    coadd = g3reduce.coadd_files(write_frames(tmp_path, frames), nonfinite=nonfinite).frame
    np.testing.assert_allclose(np.asarray(coadd["T"]), np.asarray(expected["T"]), rtol=1e-14)
    assert "SkippedPixels" not in coadd


def test_by_default_they_spread_as_in_spt3g(tmp_path):
    frames, _, _ = series("flat sparse", "polarized")
    files = write_frames(tmp_path, frames)
    mine, theirs = g3reduce.coadd_files(files).frame, maps.coadd_map_files(files)
    assert_same_sums(mine, theirs)
    assert not np.isfinite(np.asarray(mine["T"])).all()
    assert "SkippedPixels" not in mine


def test_what_lies_outside_of_the_map_counts_as_a_pixel():
    frames = [map_frame("flat sparse", "hits", seed) for seed in range(2)]
    skymap = frames[0].pop("T")
    skymap.overflow = np.nan
    frames[0]["T"] = skymap
    with pytest.raises(InputError, match="T is not finite: nan in its overflow"):
        MPIMapCoadder(nonfinite="error").add(frames[0])
    coadder = MPIMapCoadder(nonfinite="skip")
    for frame in frames:
        coadder.add(frame)
    coadder.finish()
    assert coadder.coadd_frame["T"].overflow == frames[1]["T"].overflow
    assert coadder.skipped_pixels == {"Coadd": 1}


def test_a_broken_file_is_called_so_and_not_full_of_nan(tmp_path):
    (file,) = write_frames(tmp_path, [map_frame("flat dense", "hits", 0)])
    data = bytearray(open(file, "rb").read())  # noqa: SIM115
    place = data.index(np.asarray(map_frame("flat dense", "hits", 0)["T"]).tobytes()) + 800
    data[place : place + 8] = np.float64(np.nan).tobytes()
    open(file, "wb").write(data)  # noqa: SIM115
    for nonfinite in ("keep", "error", "skip"):
        with pytest.raises(InputError, match="the file is broken here"):
            g3reduce.coadd_files(file, nonfinite=nonfinite)


def test_the_command_says_how_many_were_left_out(tmp_path, capsys, monkeypatch):
    frames, clean, count = series("flat sparse", "polarized")
    files = write_frames(tmp_path, frames)
    monkeypatch.chdir(tmp_path)
    assert main(["coadd", *files, "-o", "coadd.g3", "--nonfinite", "skip"]) == 0
    assert f"Left out {count} pixels that are not finite." in capsys.readouterr().out
    (frame,) = core.G3File("coadd.g3")
    assert_same_sums(frame, by_spt3g(clean))
    assert frame["SkippedPixels"] == count
    assert main(["coadd", *files, "-o", "coadd.g3", "--nonfinite", "error"]) == 1
    assert "is not finite" in capsys.readouterr().err
    assert main(["coadd", *files, "-o", "coadd.g3"]) == 0
    assert "Left out" not in capsys.readouterr().out
