"""Frames added with the signs of many realisations: the loop that numba compiles, and numpy."""

import numpy as np
import pytest

from g3reduce.arrays.blocks import Blocks
from g3reduce.kernels import choice
from g3reduce.maps.flips import SignFlips, wide

needs_numba = pytest.mark.skipif(choice._load()[0] is None, reason=f"no numba: {choice._load()[1]}")


@pytest.mark.parametrize("by", ["numpy", pytest.param("numba", marks=needs_numba)])
@pytest.mark.parametrize(("n_rows", "row_length", "n_frames"), [(3, 64, 16), (2, 700, 21)])
def test_realisations_are_sums_with_their_signs(monkeypatch, by, n_rows, row_length, n_frames):
    monkeypatch.setenv(choice.KERNELS, by)
    rng = np.random.default_rng(n_frames)
    values = rng.integers(-1000, 1000, (n_frames, n_rows * row_length)).astype(float)
    values[0, 5], values[3, 6] = np.inf, np.nan
    values[:2, 7], values[2:, 7] = 8e307, 0  # twice that is finite, four times is not
    signs = rng.choice(np.array([-1, 1], np.int8), (n_frames, 11))
    flips, blocks = SignFlips(11), Blocks(n_rows, row_length, {"T": float})
    flips.begin(blocks, "T")
    blocks.insert(np.arange(n_rows))
    flips.reserve(blocks, n_frames)
    for frame, of_frame in zip(values, signs, strict=True):
        flips.room(blocks, "T", flips.place(of_frame))[: frame.size] = frame
    flips.settle(blocks)
    flips.settle(blocks)  # nothing is added twice
    found = blocks.planes[wide("T")].reshape(n_rows, 11, row_length).transpose(1, 0, 2)
    with np.errstate(invalid="ignore"):
        expected = sum(sign[:, None] * frame for frame, sign in zip(values, signs, strict=True))
    np.testing.assert_array_equal(found.reshape(11, -1), expected)
