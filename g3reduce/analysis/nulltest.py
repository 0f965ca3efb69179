"""Null tests: is half the difference of two coadds what their noise makes of it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..g3files.lines import Values
from ..maps.matrices import MAX_CONDITION
from ..maps.stokes import StokesMaps
from ..spt3gmarks import useful
from ..spt3gtypes import Frame
from .chisquare import Statistic, chi_squares_of, names_of
from .differencing import half_difference, recorded
from .nullnoise import noise_of
from .pairing import pairs_of
from .sources import Headers, Source
from .tables import aligned, wrapped

# Sign flips whose mean chi-square is so many times that of the difference are doubtful.
_MUCH_LARGER = 2.0


@dataclass(frozen=True)
class NullTest:
    """The result of a null test of two maps.

    Attributes
    ----------
    frame : G3Frame
        The difference, as `g3reduce.difference` makes it.
    statistics : dict of str to Statistic
        Of ``"T"``, ``"Q"``, ``"U"`` and ``"all"`` together; of ``"T"`` alone without Q and U.
    n_pixels : int
        Pixels in which both maps are.
    n_realisations : int
        How many sign flips there were.
    signflips_of : {"", "halves", "whole"}
        What these are of: of each of the two maps, or of one coadd.
    """

    frame: Frame
    statistics: dict[str, Statistic]
    n_pixels: int
    n_realisations: int = 0
    signflips_of: str = ""

    def __getitem__(self, name: str) -> Statistic:
        return self.statistics[name]

    def lines(self) -> list[str]:
        """The statistics as a table."""
        heads = ["", "chi2", "dof", "chi2/dof", "probability"]
        if self.n_realisations:
            heads += ["scale", "calibrated", "PTE"]
        rows = []
        for name, one in self.statistics.items():
            numbers = [f"{one.chi2:.1f}", str(one.dof), f"{one.chi2 / one.dof:.4f}"]
            numbers += [f"{one.probability:.4g}"]
            if self.n_realisations:
                numbers += [f"{one.scale:.4f}", f"{one.calibrated:.4g}", f"{one.pte:.4f}"]
            rows.append([name, *numbers])
        return [*aligned(heads, rows), *self._doubts()]

    def _doubts(self) -> list[str]:
        """What makes sign flips doubtful, as lines."""
        larger = [
            f"{name} {one.scale * one.dof / one.chi2:.1f} times"
            for name, one in self.statistics.items()
            if one.scale and one.scale * one.dof > _MUCH_LARGER * one.chi2
        ]
        if not larger:
            return []
        return wrapped(
            f"The sign flips have much larger chi2 than the difference ({', '.join(larger)}). They "
            "seem to hold sky, which does not cancel between observations that weigh pixels "
            "differently; so scale, calibrated and PTE say nothing of the difference."
        )

    def as_data(self) -> dict[str, Any]:
        """All of it, but for the maps, as numbers, texts and lists."""
        return {
            "pixels": self.n_pixels,
            "signflips": self.n_realisations,
            "signflips_of": self.signflips_of,
            "statistics": {name: one.as_data() for name, one in self.statistics.items()},
        }


@useful
def null_test(
    a: Source,
    b: Source | None = None,
    signflips: Source | tuple[Source, Source] | None = None,
    *,
    halves: tuple[str, str] | None = None,
    max_condition: float = MAX_CONDITION,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> dict[str, NullTest]:
    """Compare half the difference of two coadds with their noise.

    Parameters
    ----------
    a, b, halves, max_condition, pol_conv, coord, units
        As in `g3reduce.difference`. Sign flips in `a` and `b` are not compared themselves.
    signflips : source, or tuple of two, optional
        Files, frames or coadds with sign-flip realisations of both maps, told by their Ids
        (``150GHz_early_signflip000`` is one of ``150GHz_early``); a tuple of two where the Ids of
        both maps are the same: the realisations of `a`, and those of `b`. Or realisations of one
        coadd, as of that of all observations (``150GHz_signflip000``).

    Returns
    -------
    dict of str to NullTest
        By Ids, as `g3reduce.difference` gives them.

    Raises
    ------
    MismatchError, InputError, UsageError
        As by `g3reduce.difference`; also if there are no sign flips of these maps, or if they lack
        pixels, or have other weights than the maps that they are of.

    Notes
    -----
    With the difference d and its weights W_d of `g3reduce.difference`, chi-square is the sum over
    pixels of d_X^2 / (W_d^-1)_XX for X = T, Q or U alone, with a degree of freedom for each pixel;
    and of d^T W_d d for all together, with three. Their `probability` is that of a chi-square
    distribution. **It assumes that noise is white, that is, not correlated between pixels, and that
    the weights are the inverse of its covariance, in 1/(units of the map)^2.** Both are seldom true
    of real maps: weights are often known up to a factor only, and filters and atmosphere correlate
    pixels.

    Sign flips tell both. A realisation of each half gives one of the difference, (n_A - n_B) / 2,
    with the same chi-square under the same weights; one of a whole coadd has its own weights. From
    them come

    * `scale`, their mean chi-square over the degrees of freedom: by that the variance of the noise
      is larger than the weights say. `calibrated` is the probability with weights divided by it;
      it still assumes white noise.
    * `pte`, the part of realisations that have at least the chi-square of the difference,
      (n + 1) / (N + 1). It needs neither assumption, but that signs turn the noise of the one into
      that of the other, and is at least 1 / (N + 1).

    It works in one process: in a job of several ranks, call it on one.

    Examples
    --------
    >>> halves = ("early", "late")
    >>> found = null_test("all.g3", halves=halves, signflips="all.g3")  # doctest: +SKIP
    >>> found["150GHz"]["T"].pte  # doctest: +SKIP
    >>> print(*found["150GHz"].lines(), sep="\\n")  # doctest: +SKIP
    """
    headers = Headers(pol_conv, coord, units)
    found = {}
    for pair in pairs_of(a, b, halves, headers, realisations=False):
        options: dict[str, Any] = {"pol_conv": pol_conv, "max_condition": max_condition}
        difference = half_difference(pair, **options)
        frame, _ = recorded(difference, pair)
        kind, noise = "", np.empty((0, len(names_of(difference.names))))
        if signflips is not None:
            kind, noise = noise_of(pair, difference, signflips, headers, options)
        found[pair.frame_id] = _tested(difference, frame, kind, noise)
    return found


def _tested(difference: StokesMaps, frame: Frame, kind: str, noise: Values) -> NullTest:
    statistics = statistics_of(difference, noise)
    return NullTest(frame, statistics, len(difference.pixels), len(noise), kind)


def statistics_of(difference: StokesMaps, noise: Values | None = None) -> dict[str, Statistic]:
    """Chi-square of each map of a difference, and of all together.

    Parameters
    ----------
    difference : StokesMaps
    noise : float64 array, shape (realisations, statistics), optional
        Chi-square of each sign flip.
    """
    names, n_pixels = names_of(difference.names), len(difference.pixels)
    chi2 = chi_squares_of(difference)
    noise = np.empty((0, len(names))) if noise is None else noise
    return {
        name: Statistic(
            float(chi2[place]),
            n_pixels * (1 if name in difference.names else len(difference.names)),
            noise[:, place],
        )
        for place, name in enumerate(names)
    }
