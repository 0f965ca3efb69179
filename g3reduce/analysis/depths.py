"""How deep maps are: by the scatter of realisations, and by weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..g3files.lines import Values

# By so many quantiles the spread of variances over pixels is known, and by so many halvings its
# median.
_LEVELS, _HALVINGS = 1000, 50


class NoiseDepth(NamedTuple):
    """How deep a map is: the noise of a pixel times the root of its area, in uK arcmin.

    Attributes
    ----------
    median : float
        The root of the median of variance times area. N realisations spread each variance like
        chi-square of N degrees of freedom over N, in which N is `Noise.n_effective`. What this
        makes of the median of the variances that weights say is divided by.
    weighted : float
        The root of its mean with inverse-variance weights: that of a field whose noise is the same
        everywhere, and that has as much weight.
    median_by_weights, weighted_by_weights : float
        What the weights say, instead of the realisations.
    """

    median: float
    weighted: float
    median_by_weights: float
    weighted_by_weights: float

    @property
    def ratio(self) -> float:
        """The noise over that which weights say: `weighted` over `weighted_by_weights`."""
        return self.weighted / self.weighted_by_weights


def depth_of(squares: Values, expected: Values, number: float) -> NoiseDepth:
    """The depth of a map.

    Parameters
    ----------
    squares, expected : float64 array, shape (pixels,)
        Variance times area, by realisations and by weights.
    number : float
        How many independent realisations there are.
    """
    weights, median = 1 / expected, np.median(expected)
    return NoiseDepth(
        float(np.sqrt(np.median(squares) * median / _spread_median(expected, number))),
        float(np.sqrt((weights * squares).sum() / weights.sum())),
        float(np.sqrt(median)),
        float(np.sqrt(len(weights) / weights.sum())),
    )


def _spread_median(variances: Values, number: float) -> float:
    """The median of variances, each times chi-square of so many degrees of freedom over these."""
    from scipy.special import chdtr

    levels = np.quantile(variances, (np.arange(_LEVELS) + 0.5) / _LEVELS)
    low, high = 0.0, float(levels[-1])  # chi-square is below its mean half of the time
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if chdtr(number, number * middle / levels).mean() < 0.5:
            low = middle
        else:
            high = middle
    return (low + high) / 2
