"""Dataclasses from plain data, as JSON has them: each value must be what its field holds."""

from __future__ import annotations

import functools
import math
import reprlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_LARGEST = 2**63  # of whole numbers: that of numpy's


class WrongValue(ValueError):
    """A value is not what its field holds."""


def made_of(kind: type[T], data: Any, name: str = "") -> T:
    """An instance of a dataclass; what is none of its fields is passed over.

    Parameters
    ----------
    kind : type
        Its fields are texts, numbers, flags, such dataclasses, tuples of one of these, or mappings
        of texts to texts.
    data : object
        Mappings, lists, texts and numbers.
    name : str
        What is made, for errors.

    Raises
    ------
    WrongValue
        If a value is of another type, or a number is not finite.
    TypeError
        If a value is missing that has no default.
    """
    if not isinstance(data, Mapping):
        raise _wrong(name, data, "names with values")
    made: Any = kind
    types = _types_of(made)
    built: T = made(**{key: _value(types[key], data[key], key) for key in types if key in data})
    return built


@functools.cache
def _types_of(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


def _value(kind: Any, value: Any, name: str) -> Any:
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and abs(value) < math.inf:  # no NaN, either
            return value
        raise _wrong(name, value, "a number")
    if kind is int:
        if type(value) is int and abs(value) < _LARGEST:
            return value
        raise _wrong(name, value, "a whole number")
    if kind in (str, bool):
        if isinstance(value, kind):
            return value
        raise _wrong(name, value, "a text" if kind is str else "true or false")
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(name, value, "a list")
        return tuple(_value(get_args(kind)[0], one, name) for one in value)
    if is_dataclass(kind):
        return made_of(cast("type[Any]", kind), value, name)
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "names with values")
    return {str(key): _value(str, one, name) for key, one in value.items()}


def _wrong(name: str, value: Any, expected: str) -> WrongValue:
    return WrongValue(f"{name or 'this'} is {reprlib.repr(value)}; expected {expected}")
