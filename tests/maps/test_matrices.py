"""Matrices of weights, beside LAPACK."""

import numpy as np
import pytest

from g3reduce.maps import matrices

FULL = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
UPPER = np.triu_indices(3)


def drawn(rng, number, lowest):
    """Upper triangles of matrices with random axes, and eigenvalues of 10**lowest to 1."""
    axes = np.linalg.qr(rng.standard_normal((number, 3, 3)))[0]
    values = 10 ** rng.uniform(lowest, 0, (number, 3))
    return np.einsum("nij,nj,nkj->nik", axes, values, axes)[(slice(None), *UPPER)].T


def whole(upper):
    return np.moveaxis(upper[FULL], 2, 0)


@pytest.mark.parametrize("max_condition", [1, 1e3, 1e6, 1e12])
def test_what_can_be_inverted_is_what_eigenvalues_say(max_condition):
    rng = np.random.default_rng(3)
    rank_1 = rng.standard_normal((3, 500))
    rank_1 = np.stack([rank_1[i] * rank_1[j] for i, j in zip(*UPPER, strict=True)])
    near = drawn(rng, 500, 0)
    near[[0, 3, 5]] *= rng.uniform(0.9, 1.1, (3, 500))
    odd = np.zeros((6, 5))
    odd[[0, 3, 5]] = [3, -1, 0, np.nan, 3]
    odd[2, 4] = np.inf
    weights = [drawn(rng, 2000, -7), rank_1, near, odd, rng.standard_normal((6, 500))]
    for scale in (1e-20, 1, 1e10):
        all_of_them = scale * np.concatenate(weights, axis=1)
        finite = np.isfinite(all_of_them).all(axis=0)
        values = np.linalg.eigvalsh(whole(np.where(finite, all_of_them, 0)))
        expected = (values[:, 0] > 0) & (values[:, -1] <= max_condition * values[:, 0])
        found = matrices.is_invertible(all_of_them, max_condition)
        np.testing.assert_array_equal(found, expected)


def test_inverses_and_quotients_are_as_exact_as_those_of_lapack():
    rng = np.random.default_rng(4)
    a, b = drawn(rng, 40_000, -5), drawn(rng, 40_000, -5)  # more than a block of pixels
    values = rng.standard_normal((3, a.shape[1]))
    inverse_a, inverse_b = np.linalg.inv(whole(a)), np.linalg.inv(whole(b))
    half = np.linalg.inv((inverse_a + inverse_b) / 4)
    quotients = np.linalg.solve(whole(a), values.T[..., None])[..., 0]
    for found, expected in (
        (matrices.inverse(a), inverse_a[(slice(None), *UPPER)].T),
        (matrices.half_difference_weights(a, b), half[(slice(None), *UPPER)].T),
        (matrices.divide(values, a), quotients.T),
        (matrices.multiply(quotients.T, a), values),
    ):
        largest = np.abs(expected).max(axis=0)
        assert (np.abs(found - expected).max(axis=0) / largest).max() < 1e-9
