"""Counts, sums and extremes, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.reduction import Reduction
from .taking import What, as_array, extractor, name_of, taker

_NAMES = {"MIN": "minimum", "MAX": "maximum"}


def count(what: What) -> Reduction:
    """How many frames there are: N = sum of 1.

    Parameters
    ----------
    what : str or callable
        Frames that have this key, or for which this function does not return None, are counted.

    Returns
    -------
    Reduction
        Its result is an integer.

    Examples
    --------
    >>> count("CalTimestreams").name
    'count of CalTimestreams'
    """
    take = taker(what)

    def extract(frame: Any) -> Any:
        if isinstance(what, str):  # without decoding it
            return 1 if what in frame else None
        return None if take(frame) is None else 1

    return Reduction(f"count of {name_of(what)}", identity=0, extract=extract, operation="SUM")


def total(what: What) -> Reduction:
    """The sum over frames, element by element: S = sum of x.

    Parameters
    ----------
    what : str or callable
        What is summed: numbers, or arrays, vectors or maps of one shape in all frames.

    Returns
    -------
    Reduction
        Its result is a number or an array, in the shape and the units of the values; of bools
        it is how many are true.
    """

    def summand(value: Any) -> Any:
        array = as_array(value)
        return _plain(array.astype(np.int64) if array.dtype == bool else array)

    extract = extractor(what, summand)
    return Reduction(f"sum of {name_of(what)}", identity=0, extract=extract, operation="SUM")


def minimum(what: What) -> Reduction:
    """The least over frames, element by element. NaN are left out.

    Parameters
    ----------
    what : str or callable
        Numbers, or arrays, vectors or maps of one shape in all frames.

    Returns
    -------
    Reduction
        Its result has the shape and the units of the values; inf where all were NaN.
    """
    return _extreme(what, "MIN", np.inf)


def maximum(what: What) -> Reduction:
    """The greatest over frames, element by element. NaN are left out.

    Parameters
    ----------
    what : str or callable
        Numbers, or arrays, vectors or maps of one shape in all frames.

    Returns
    -------
    Reduction
        Its result has the shape and the units of the values; -inf where all were NaN.
    """
    return _extreme(what, "MAX", -np.inf)


def _extreme(what: What, operation: str, nothing: float) -> Reduction:
    def candidate(value: Any) -> Any:
        array = as_array(value)
        # MPI does not say what the lesser of a number and NaN is.
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), nothing, array)
        return _plain(array)

    name = f"{_NAMES[operation]} of {name_of(what)}"
    return Reduction(name, extract=extractor(what, candidate), operation=operation)


def _plain(array: Any) -> Any:
    return array if array.ndim else array[()]
