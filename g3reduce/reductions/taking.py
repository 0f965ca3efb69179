"""Numbers from frames, as the ready reductions take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..g3files.dropped import samples_of
from ..spt3gtypes import Frame, SkyMap

# The name of a key of frames, or a function of a frame that returns None if it takes no part.
What = str | Callable[[Frame], Any]
Take = Callable[[Frame], Any]


def taker(what: What) -> Take:
    """Make the function that takes something from a frame, or None if the frame has none.

    Raises
    ------
    UsageError
        If `what` is neither a name nor a function.
    """
    if isinstance(what, str):
        return lambda frame: frame.get(what, None)
    if not callable(what):
        raise UsageError(
            f"what is {what!r}; expected the name of a key of frames, or a function of a frame."
        )
    return what


def extractor(what: What, of: Callable[[Any], Any]) -> Take:
    """Make the function that returns ``of(value)`` of what a frame has, or None if it has none.

    Raises
    ------
    UsageError
        As `taker`.
    """
    take = taker(what)

    def extract(frame: Frame) -> Any:
        value = take(frame)
        return None if value is None else of(value)

    return extract


def name_of(what: What) -> str:
    """The name in messages of what is taken."""
    return what if isinstance(what, str) else getattr(what, "__name__", "function")


def as_array(value: Any) -> NDArray[Any]:
    """The numbers of anything: timestreams, vectors, maps, arrays, plain numbers.

    Sparse maps stay as they are in their frame. The array may be that of the value itself. Samples
    that spt3g's mask says were dropped are NaN.
    """
    if hasattr(value, "nonzero_pixels") and not _is_dense(value):
        array = np.zeros(value.shape)
        pixels, values = value.nonzero_pixels()
        array.reshape(-1)[np.asarray(pixels, np.int64)] = np.asarray(values)
        return array
    timestreams = type(value).__name__ == "G3TimestreamMap"
    array = samples_of(value) if timestreams else np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{type(value).__name__} is neither a number nor an array of numbers")
    return array


def _is_dense(skymap: SkyMap) -> bool:
    return not skymap.sparse if hasattr(skymap, "sparse") else bool(skymap.dense)


def as_floats(value: Any) -> NDArray[np.float64]:
    """As `as_array`, as float64."""
    return np.asarray(as_array(value), np.float64)


def require_same_shape(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Refuse to combine arrays that numpy would broadcast.

    Raises
    ------
    ValueError
    """
    if first.shape != second.shape:
        raise ValueError(f"values of shapes {first.shape} and {second.shape} cannot be combined")
