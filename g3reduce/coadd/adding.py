"""Adding frames to sums: several frames at once, each to several sums, each read once."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import InputError
from ..g3files.archive import DENSE
from ..maps.mapframe import MapFrame
from ..maps.mapsum import MapSum


class Addition(NamedTuple):
    """A frame that is to be added to sums, with a sign in each."""

    frame: MapFrame
    targets: Sequence[tuple[MapSum, int]]


def accept(addition: Addition) -> None:
    """Make all targets ready for a frame.

    Raises
    ------
    MismatchError
        Before anything is changed, if the frame does not agree with those of any target.
    """
    for total, _ in addition.targets:
        total.check(addition.frame)
    for total, sign in addition.targets:
        total.note(addition.frame, sign)


def add(total: MapSum, frame: MapFrame, sign: int = 1) -> None:
    """Add one frame; with ``sign=-1`` subtract its T, Q and U. Weights and hits always add.

    Raises
    ------
    MismatchError
        Before anything is changed, if the frame does not agree with those that were added.
    """
    addition = Addition(frame, [(total, sign)])
    accept(addition)
    add_frames([addition])


def add_frames(additions: Sequence[Addition]) -> None:
    """Add frames that were accepted; each is read once.

    Dense maps are added in turn, chunk by chunk, so that a chunk of the sum stays in the cache.
    Each pixel gets the frames in their order.
    """
    alike = len({tuple(addition.frame.planes) for addition in additions}) == 1
    for group in [additions] if alike else [[addition] for addition in additions]:
        _make_room(group)
        for name in group[0].frame.planes:
            adding = [_adding(addition, name) for addition in group]
            # The chunks of all dense maps begin at the same pixels.
            if all(addition.frame.planes[name].storage == DENSE for addition in group):
                while adding:
                    adding = [one for one in adding if next(one, None)]
            for one in adding:
                collections.deque(one, maxlen=0)


def _make_room(additions: Sequence[Addition]) -> None:
    """Let the sums know which runs will come, if there are no dense maps, which need all pixels."""
    planes = [plane for addition in additions for plane in addition.frame.planes.values()]
    if any(plane.storage == DENSE for plane in planes):
        return
    totals = {id(total): total for addition in additions for total, _ in addition.targets}
    for total in totals.values():
        mine = [one for one in additions if any(total is target for target, _ in one.targets)]
        layouts = [plane.layout for one in mine for plane in one.frame.planes.values()]
        total.expect(layout for layout in layouts if layout is not None)


def _adding(addition: Addition, name: str) -> Iterator[bool]:
    """Add a plane; True after each chunk."""
    frame, targets = addition
    signs = [(total, frame.subtracts(name, sign)) for total, sign in targets]
    try:
        pixels = frame.planes[name].pixels()
    except InputError as error:  # of a map that spt3g has read: it knows of no file
        raise InputError(f"{frame.where}: {name} is no map that can be ({error}).") from error
    for chunk in pixels.chunks():
        for total, subtract in signs:
            total.add_chunk(name, chunk, subtract=subtract, where=frame.where)
        yield True
