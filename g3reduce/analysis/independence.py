"""How many independent realisations sign flips are worth: few observations have few signs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..g3files.lines import Values
from ..pipeline.ledger import Ledger


def signs_and_weights(ledger: Ledger | None) -> tuple[Values, Values] | None:
    """The sign and the weight of each map in a realisation; None if they are not known."""
    if ledger is None or not ledger.entries:
        return None
    signs = np.array([entry.sign for entry in ledger.entries], float)
    weights = np.array([entry.weight for entry in ledger.entries])
    return (signs, weights) if weights.min() >= 0 and weights.sum() > 0 else None


def effective_number(signs: Sequence[Values], weights: Values) -> float:
    """The degrees of freedom of the variance that realisations give.

    A realisation is sum(s_i w_i m_i) / sum(w_i), with the variance 1 / w_i of m_i. The mean square
    of N of them is a quadratic form of the m_i, spread like chi-square of
    tr(G)^2 / tr(G^2) degrees of freedom (Satterthwaite 1946, Biometrics Bulletin 2, 110), in which
    G_kl = sum(s_ki s_li w_i) / sum(w_i) is the correlation of two realisations. That is N if they
    are independent, and at most M - 1 for balanced signs of M maps of the same weight.

    Parameters
    ----------
    signs : sequence of float64 array, shape (maps,)
        Of each realisation.
    weights : float64 array, shape (maps,)
    """
    matrix = np.array(signs)
    correlation = (matrix * weights) @ matrix.T / weights.sum()
    return float(np.trace(correlation) ** 2 / (correlation**2).sum())
