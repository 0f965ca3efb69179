"""Pixels that are not finite and weights that are not positive: counted as numpy counts them."""

import numpy as np
import pytest
import skies
from spoiled import spoiled_and_clean
from spt3g import maps

from g3reduce.maps.mapfile import frames_of, planes_of
from g3reduce.maps.soundness import read_through, soundness_of_weights

MATRIX = (("TT", "TQ", "TU"), ("TQ", "QQ", "QU"), ("TU", "QU", "UU"))


def planes_in(tmp_path, frame, *, stored=True):
    """The planes of a frame, in memory or in a file."""
    if not stored:
        return planes_of(frame, "it")
    (file,) = skies.write_frames(tmp_path, [frame])
    (read,) = frames_of(file)
    return planes_of(read, "it", verified=True)


def by_numpy(frame):
    """Of the pixels that were hit, how many have a negative eigenvalue, and a vanishing one."""
    names = {part for row in MATRIX for part in row}
    parts = {part: skies.pixels(getattr(frame["Wpol"], part)).ravel() for part in names}
    matrices = np.array([[parts[part] for part in row] for row in MATRIX]).transpose(2, 0, 1)
    hit = matrices.any(axis=(1, 2))
    # Of integers as small as these, what is not 0 is far from it.
    values = np.linalg.eigvalsh(matrices[hit])
    negative = (values < -1e-9).any(axis=1)
    return int(negative.sum()), int(((np.abs(values) < 1e-9).any(axis=1) & ~negative).sum())


@pytest.mark.parametrize("kind", ["flat sparse", "flat dense", "healpix ring", "healpix indexed"])
@pytest.mark.parametrize("stored", [True, False])
def test_weights_are_judged_as_by_their_eigenvalues(tmp_path, kind, stored, limits):
    limits(step=160)
    frame = skies.map_frame(kind, "polarized", 5)
    weights = frame.pop("Wpol")
    hit = [int(pixel) for pixel in weights.TT.nonzero_pixels()[0]]
    for pixel in hit[:60]:  # good ones, with nothing beside the diagonal; then singular ones
        for part in ("TQ", "TU", "QU"):
            getattr(weights, part)[pixel] = 0
    for pixel in hit[40:50]:
        weights.QQ[pixel] = 0
    for pixel in hit[50:60]:  # two directions that are one
        for part in ("QQ", "QU", "UU"):
            getattr(weights, part)[pixel] = 3
    frame["Wpol"] = weights
    found = soundness_of_weights(planes_in(tmp_path, frame, stored=stored))
    assert (found.negative, found.singular) == by_numpy(frame)
    assert found.singular >= 10


def test_weights_of_one_component_are_only_negative(tmp_path):
    frame = skies.map_frame("flat dense", "unpolarized", 1)
    weights = frame.pop("Wunpol")
    weights.TT[3] = -1
    frame["Wunpol"] = weights
    assert list(soundness_of_weights(planes_in(tmp_path, frame)).faults()) == [
        ("negative weights in 1 pixel", False)
    ]


@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring", "healpix dense"])
def test_what_is_not_finite_is_counted_by_plane(tmp_path, kind):
    frame, clean, _ = spoiled_and_clean(kind, "polarized", 2, n_bad=7)
    expected = {}
    for name, skymap in skies.maps_by_plane(frame).items():
        if number := int(np.count_nonzero(~np.isfinite(skies.pixels(skymap)))):
            expected[name] = number
    assert expected
    assert read_through(planes_in(tmp_path, frame)).not_finite == expected
    assert not list(read_through(planes_in(tmp_path, clean)).faults())


def test_large_values_are_finite_though_their_sum_is_not(tmp_path):
    frame = skies.frame_of("a", {"T": maps.FlatSkyMap(np.full((4, 5), 1.7e308), 0.01)})
    with np.errstate(over="ignore"):
        assert not read_through(planes_in(tmp_path, frame)).not_finite
