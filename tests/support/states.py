"""States of reductions, compared by walking through them: what should come out, by numpy alone."""

import dataclasses

import numpy as np


def leaves(state, path=()):
    """All that a state holds, by its path: of what is nested its type, and each value."""
    if isinstance(state, dict):
        items = state.items()
    elif type(state) in (list, tuple) or hasattr(state, "_replace"):  # a namedtuple
        items = enumerate(state)
    elif dataclasses.is_dataclass(state):
        items = vars(state).items()
    else:
        return {path: state}
    found = {path: type(state)}
    for name, item in items:
        found |= leaves(item, (*path, name))
    return found


def is_number(value):
    """Whether it is an array or a number."""
    return isinstance(value, np.ndarray | np.generic | bool | int | float | complex)


def numbers(state):
    """Arrays and numbers of a state, by their paths, all as arrays."""
    return {path: np.asarray(x) for path, x in leaves(state).items() if is_number(x)}


def same(one, other):
    """Whether two states are the same: what is nested in what, and all values, to the bit."""
    mine, theirs = leaves(one), leaves(other)
    return mine.keys() == theirs.keys() and all(_same(mine[path], theirs[path]) for path in mine)


def _same(one, other):
    if not is_number(one):
        return type(one) is type(other) and one == other
    if isinstance(one, np.ndarray) != isinstance(other, np.ndarray):
        return False
    one, other = (np.asarray(x) for x in (one, other))
    one, other = (x.astype(x.dtype.newbyteorder("=")) for x in (one, other))
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
