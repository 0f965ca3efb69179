"""Which of very many things are alike in anything: found by hashes, in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def with_keys_in_common(
    groups: Sequence[Sequence[T]], keys_of: Callable[[T], Iterable[object]]
) -> list[list[int]]:
    """The places, in each group, of things that have a key in common with another one of any.

    A few more may be among them, by chance. It takes 32 bytes for each key.

    Parameters
    ----------
    groups : list of list of object
    keys_of : callable
        Returns what is to be compared of one of them: hashable, no two of them equal.
    """
    hashes, owners = array("q"), array("q")
    number = 0
    for group in groups:
        for one in group:
            for key in keys_of(one):
                hashes.append(hash(key))
                owners.append(number)
            number += 1
    found = np.frombuffer(hashes, np.int64) if hashes else np.empty(0, np.int64)
    order = np.argsort(found, kind="stable")
    equal = np.flatnonzero(found[order[1:]] == found[order[:-1]])
    alike = {owners[at] for at in order[equal].tolist()}
    alike |= {owners[at] for at in order[equal + 1].tolist()}
    places: list[list[int]] = []
    begin = 0
    for group in groups:
        places.append([at for at in range(len(group)) if begin + at in alike] if alike else [])
        begin += len(group)
    return places
