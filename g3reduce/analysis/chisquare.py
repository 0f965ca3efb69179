"""Chi-square of maps under their weights, and the probabilities of its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..g3files.lines import Values
from ..maps import matrices
from ..maps.stokes import StokesMaps

ALL = "all"
"""The name of the statistic of T, Q and U together."""


def names_of(names: Sequence[str]) -> tuple[str, ...]:
    """The statistics of maps: each by itself, and all together if there are several."""
    return (*names, ALL) if len(names) > 1 else tuple(names)


def chi_squares(values: Values, weights: Values, variances: Values) -> Values:
    """Chi-square of each map, and of all together if there are several.

    Parameters
    ----------
    values : float64 array, shape (maps, pixels)
        Unweighted maps.
    weights : float64 array, shape (6, pixels) or (1, pixels)
        The inverses W of the covariances of the noise in each pixel.
    variances : float64 array, shape (maps, pixels)
        The diagonals of these covariances, W^-1.

    Returns
    -------
    float64 array, shape (maps + 1,) or (1,)
        The sums of d_X^2 / (W^-1)_XX over pixels for X = T, Q and U, and that of d^T W d.
    """
    each: Values = (values**2 / variances).sum(axis=1)
    if len(values) == 1:
        return each
    together = (values * matrices.multiply(values, weights)).sum()
    return np.append(each, together)


def chi_squares_of(maps: StokesMaps) -> Values:
    """Chi-square of maps under their own weights; see `chi_squares`."""
    variances = diagonal_of(matrices.inverse(maps.weights))
    return chi_squares(maps.values, maps.weights, variances)


def diagonal_of(triangles: Values) -> Values:
    """The diagonal elements of matrices: of W^-1 the variances of T, Q and U."""
    return triangles[[0, 3, 5]] if len(triangles) == 6 else triangles


@dataclass(frozen=True)
class Statistic:
    """Chi-square of a map, and how probable so large a value is.

    Attributes
    ----------
    chi2 : float
    dof : int
        Degrees of freedom: pixels, or for all maps together three times as many.
    realisations : float64 array, shape (realisations,)
        Chi-square of each sign flip; empty without these.
    """

    chi2: float
    dof: int
    realisations: Values = field(default_factory=lambda: np.empty(0))

    @property
    def probability(self) -> float:
        """That chi-square is at least as large, if noise is white and weights are right."""
        return _survival(self.chi2, self.dof)

    @property
    def scale(self) -> float | None:
        """The variance of the noise over that which weights say: mean chi-square over dof.

        Its standard error from N independent realisations is ``scale * sqrt(2 / (N dof))``.
        """
        return float(self.realisations.mean()) / self.dof if len(self.realisations) else None

    @property
    def calibrated(self) -> float | None:
        """The same `probability` with weights that are divided by `scale`."""
        return _survival(self.chi2 / self.scale, self.dof) if self.scale else None

    @property
    def pte(self) -> float | None:
        """The probability to exceed, by the realisations: (n + 1) / (N + 1).

        n of all N realisations have a chi-square at least as large. The map itself counts as one
        more, so that it is never 0 (Davison & Hinkley 1997, Bootstrap Methods and their
        Application, equation 4.11; Phipson & Smyth 2010).
        """
        if not len(self.realisations):
            return None
        larger = int(np.count_nonzero(self.realisations >= self.chi2))
        return (larger + 1) / (len(self.realisations) + 1)

    def as_data(self) -> dict[str, Any]:
        """All of it as numbers and lists."""
        return {
            "chi2": self.chi2,
            "dof": self.dof,
            "probability": self.probability,
            "scale": self.scale,
            "calibrated": self.calibrated,
            "pte": self.pte,
            "realisations": self.realisations.tolist(),
        }


def _survival(chi2: float, dof: int) -> float:
    from scipy.special import chdtrc

    return float(chdtrc(dof, chi2))  # scipy.stats.chi2.sf, without the time to import that
