"""What users call: functions that make rules, and functions that make splittings."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

from ..errors import UsageError
from .conditions import ORDERS, Compares, ComparesWithMedian, Matches, Parity, When
from .factors import OF_FRAMES, Bundles, By, SignFlips, Split
from .instants import instant_of
from .rules import AllOf, Every, Not, Rule
from .ruletext import parse_rule
from .splitting import Splitting
from .words import FIELDS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*", re.ASCII)

# Rules


def everything() -> Rule:
    """Every map."""
    return Every()


def map_id(pattern: str) -> Rule:
    """Maps whose Id matches a pattern of ``*``, ``?`` and ``[...]``, as of names of files."""
    return Matches("id", _pattern("map_id", pattern))


def source(pattern: str) -> Rule:
    """Maps of sources (``SourceName``) that match a pattern."""
    return Matches("source", _pattern("source", pattern))


def observation(pattern: str) -> Rule:
    """Maps of observations that match a pattern: ``SourceName/ObservationID``, or the last part."""
    return Matches("observation", _pattern("observation", pattern))


def file(pattern: str) -> Rule:
    """Maps of files that match a pattern, with their folders or without."""
    return Matches("file", _pattern("file", pattern))


def date(start: str | None = None, stop: str | None = None) -> Rule:
    """Maps of observations that began from `start` on, and before `stop`.

    Parameters
    ----------
    start, stop : str, optional
        As in ISO 8601, in UTC: ``"2019-05-01"``, ``"2019-05-01T12:30:00"``.
    """
    if start is None and stop is None:
        raise UsageError("date() was given neither start nor stop; expected one of them, or both.")
    first = None if start is None else When(">=", instant_of(start))
    last = None if stop is None else When("<", instant_of(stop))
    if first is None or last is None:
        return first or last or Every()
    if last.instant <= first.instant:
        raise UsageError(f"date(start={start!r}, stop={stop!r}): no date is in this range.")
    return AllOf((first, last))


def parity(which: str) -> Rule:
    """Maps of every other observation, in the order of time.

    Where no time is known it is the order of the names of observations, in which numbers count by
    their values. Observations are numbered from 0, over all of the input: the first one is even.

    Parameters
    ----------
    which : {"odd", "even"}
    """
    if which not in ("odd", "even"):
        raise UsageError(f"parity({which!r}); expected 'odd' or 'even'.")
    return Parity(which == "odd")


def column(name: str, order: str, value: float | str) -> Rule:
    """Maps by a column of the table of observations: see `Splitting.using`.

    Parameters
    ----------
    name : str
    order : {"=", "!=", "<", "<=", ">", ">="}
    value : float or str
        A text is a pattern of ``*``, ``?`` and ``[...]`` with ``=`` and ``!=``.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value != value:
        raise UsageError(f"column({name!r}, {order!r}, {value!r}); expected a number or a text.")
    if order not in (*ORDERS, "=", "!="):
        raise UsageError(f"column({name!r}, {order!r}, …); expected one of =, !=, <, <=, >, >=.")
    found = value if isinstance(value, str) else float(value)
    rule = Compares(_pattern("column", name), "=" if order == "!=" else order, found)
    return Not(rule) if order == "!=" else rule


def above_median(name: str) -> Rule:
    """Maps of observations at or above the median of a column of the table of observations.

    The median is that over all observations of the input, each counted once. The others are
    ``~above_median(name)``.
    """
    return ComparesWithMedian(_pattern("above_median", name), ">=")


# Splittings


def split(**rules: Rule | str) -> Splitting:
    """Splits by rules, under the names of the arguments.

    A map goes to every split whose rule holds, and to none if none does.

    Parameters
    ----------
    **rules : Rule or str
        Rules, or their texts as `parse_rule` reads them.

    Examples
    --------
    >>> halves = split(low="elevation<median", high="elevation>=median")
    >>> halves = halves.using(table="observations.csv")  # doctest: +SKIP
    """
    if not rules:
        raise UsageError("split() was given no rule; expected name=rule, once or more.")
    return Splitting.of(*(_split(name, rule) for name, rule in rules.items()))


def by(field: str) -> Splitting:
    """A coadd for each value of a field, under its name.

    Parameters
    ----------
    field : str
        ``"id"``, ``"source"``, ``"observation"``, or a column of the table of observations.
    """
    of_frames = ", ".join(OF_FRAMES)
    if not isinstance(field, str) or not field or (field in FIELDS and field not in OF_FRAMES):
        raise UsageError(
            f"by({field!r}); expected one of {of_frames}, or a column of the table of observations."
        )
    return Splitting.of(By(field))


def bundles(n_bundles: int, *, by: str = "weight", seed: int = 0) -> Splitting:
    """Bundles of whole observations, of equal weight or of equal number.

    All maps of an observation are in one bundle, whatever their Ids, and its weight is that of all
    of them. Splits by what observations have in common (their dates, sources, columns of the table)
    have bundles of their own; those that tell maps of one observation apart (Ids, files) share
    them. Where weights are not known, each map counts as 1.

    Observations of which nothing is known are those of one file.

    Parameters
    ----------
    n_bundles : int
    by : {"weight", "number"}
        Of equal weight: from the heaviest observation to the lightest, each goes to the bundle that
        has least so far, so that they differ by at most the weight of one. Of equal number: in an
        order drawn at random, which no time or weather follows.
    seed : int
        Of this order; of equal weight, of observations that are as heavy.
    """
    if by not in ("weight", "number"):
        raise UsageError(f"bundles by {by!r}; expected one of weight, number.")
    return Splitting.of(Bundles(_count("n_bundles", n_bundles), by, _seed(seed)))


def bundle_days(days: float) -> Splitting:
    """Bundles of observations that began within so many days.

    The first one begins with the day (in UTC) of the first observation of the whole input, so that
    those of all splits cover the same dates. A bundle in which nothing was observed is left out.

    Parameters
    ----------
    days : float
    """
    is_number = isinstance(days, int | float) and not isinstance(days, bool)
    if not is_number or not math.isfinite(days) or days <= 0:
        raise UsageError(f"days is {days!r}; expected a number above 0.")
    return Splitting.of(Bundles(0, "days", days=float(days)))


def jackknife(of: Splitting) -> Splitting:
    """The coadds that lack one bundle each.

    Parameters
    ----------
    of : Splitting
        Bundles: ``jackknife(bundles(8))``.
    """
    found = [one.bundles for one in of.products] if isinstance(of, Splitting) else []
    if len(found) != 1 or found[0] is None or len(of.products[0].factors) > 1:
        raise UsageError(
            f"jackknife({of}); expected bundles alone, as in splits * jackknife(bundles(8))."
        )
    if found[0].jackknife or found[0].n_bundles == 1:
        raise UsageError(f"jackknife({of}): nothing would be left; expected two bundles or more.")
    return Splitting.of(replace(found[0], jackknife=True))


def signflips(n_realisations: int, *, seed: int = 0) -> Splitting:
    """Each coadd, and beside it realisations of its noise, in which half of it is subtracted.

    In a realisation T, Q and U of about half of the maps, by weight, are subtracted; weights and
    hits are added as in the coadd itself. Where all weights are alike from pixel to pixel the sky
    cancels, and the noise has the same power as in the coadd.

    The maps of each coadd (of each Id, split and bundle) are put in an order that is drawn at
    random, and flipped one after the other as long as the sum of the weights of those that are
    flipped stays below one half; the one that reaches one half is flipped, too, if that comes
    nearer to it. So what is flipped is one half to within half the weight of one map. (The rule is
    that of sotodlib's bundling scripts for Simons Observatory, but for the last map, which is not
    flipped there.) Which maps they are depends on the seed, the number of the realisation, the
    names of the coadd and of the maps, and on nothing else.

    Names of maps are their observation and Id, where no other map of the input has both; else
    the checksum and the length of the frame; else the file, without folders, and the frame.

    Parameters
    ----------
    n_realisations : int
    seed : int
    """
    return Splitting.of(SignFlips(_count("n_realisations", n_realisations), _seed(seed)))


def _pattern(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name}({value!r}); expected a text, such as '150GHz*'.")
    return value


def _split(name: str, rule: Any) -> Split:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a split is named {name!r}; expected letters and digits, with . + _ - after the "
            "first, because the name is a part of Ids and of names of files."
        )
    if isinstance(rule, str):
        return Split(name, parse_rule(rule))
    if not isinstance(rule, Rule):
        raise UsageError(
            f"the rule of the split {name!r} is {rule!r}; expected a rule, such as "
            'splits.map_id("150GHz*"), or splits.parse_rule("id=150GHz*").'
        )
    return Split(name, rule)


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} is {value!r}; expected a number from 1 on.")
    return value


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"seed is {value!r}; expected an integer.")
    return value
