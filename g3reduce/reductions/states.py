"""States of reductions, taken apart into arrays and a structure, and put together again.

The arrays are sent as buffers, without pickling. The structure is small: how dictionaries, lists,
tuples and dataclasses are nested, and any values that are none of these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class ArrayLeaf:
    """The leaf of a structure that stands for an array; with `scalar`, for a number."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    scalar: bool = False

    def __str__(self) -> str:
        return f"a {self.dtype} number" if self.scalar else f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class OtherLeaf:
    """The leaf of a structure that holds a value of any other kind."""

    value: Any

    def __str__(self) -> str:
        return f"a {type(self.value).__name__}"


@dataclass(frozen=True)
class Nest:
    """A dictionary, list, tuple or dataclass of a structure, and its items by name.

    The names in lists and tuples are numbers, those in dataclasses the fields.
    """

    kind: type
    names: tuple[Any, ...]
    items: tuple[Structure, ...]

    def __str__(self) -> str:
        inside = ", ".join(f"{name}: {x}" for name, x in zip(self.names, self.items, strict=True))
        return f"{self.kind.__name__}({inside})"


Structure = ArrayLeaf | OtherLeaf | Nest


def take_apart(state: Any, *, elementwise: bool = False) -> tuple[Structure, list[Array]]:
    """The structure of a state, and its arrays.

    Parameters
    ----------
    state : object
    elementwise : bool
        Take numbers for arrays, too, and dictionaries in the order of their sorted keys, so that
        states of the same keys have the same structure.

    Returns
    -------
    structure : Structure
        It can be pickled if the values that are no arrays can.
    arrays : list of array
        Those of the state itself, not copies.
    """
    arrays: list[Array] = []

    def visit(value: Any) -> Structure:
        if _is_plain_array(value):
            arrays.append(value)
            return ArrayLeaf(value.dtype.newbyteorder("="), value.shape)
        if elementwise and isinstance(value, bool | int | float | complex | np.generic):
            number = _as_array(value)
            if number is not None:
                arrays.append(number)
                return ArrayLeaf(number.dtype, (), scalar=True)
        if type(value) is dict:
            names = _sorted(value) if elementwise else tuple(value)
            return Nest(dict, names, tuple(visit(value[name]) for name in names))
        if type(value) in (list, tuple) or _is_namedtuple(value):
            return Nest(type(value), tuple(range(len(value))), tuple(visit(item) for item in value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = tuple(field.name for field in dataclasses.fields(value))
            return Nest(type(value), names, tuple(visit(getattr(value, name)) for name in names))
        return OtherLeaf(value)

    return visit(state), arrays


def put_together(
    structure: Structure, arrays: list[Array], number: Callable[[Array], Any] | None = None
) -> Any:
    """The state that was taken apart, with these arrays.

    Parameters
    ----------
    structure : Structure
    arrays : list
        In the order in which `take_apart` gave them.
    number : callable, optional
        Makes what is put where there was a number. Default: a number of Python.
    """
    left = iter(arrays)

    def build(part: Structure) -> Any:
        if isinstance(part, ArrayLeaf):
            array = next(left)
            if not part.scalar:
                return array
            return number(array) if number else array.item()
        if isinstance(part, OtherLeaf):
            return part.value
        items = [build(item) for item in part.items]
        if part.kind is dict:
            return dict(zip(part.names, items, strict=True))
        if part.kind in (list, tuple):
            return part.kind(items)
        if issubclass(part.kind, tuple):
            return part.kind(*items)
        # As pickle does it: without __init__, which may want other arguments than the fields.
        made = object.__new__(part.kind)
        for name, item in zip(part.names, items, strict=True):
            object.__setattr__(made, name, item)
        return made

    return build(structure)


def leaves_of(structure: Structure) -> Iterator[ArrayLeaf | OtherLeaf]:
    """The leaves of a structure, in the order of `take_apart`."""
    if isinstance(structure, Nest):
        for item in structure.items:
            yield from leaves_of(item)
    else:
        yield structure


def array_leaves(structure: Structure) -> list[ArrayLeaf]:
    """The leaves that stand for arrays, in the order of `take_apart`."""
    return [leaf for leaf in leaves_of(structure) if isinstance(leaf, ArrayLeaf)]


def _is_plain_array(value: Any) -> bool:
    return type(value) is np.ndarray and not value.dtype.hasobject and value.dtype.kind not in "mM"


def _as_array(value: Any) -> Array | None:
    try:
        array = np.asarray(value)
    except OverflowError:
        return None
    return None if array.dtype.hasobject else array  # integers past 64 bits


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(type(value), "_fields")


def _sorted(names: Any) -> tuple[Any, ...]:
    try:
        return tuple(sorted(names))
    except TypeError:  # names of several kinds
        return tuple(sorted(names, key=lambda name: (type(name).__name__, repr(name))))
