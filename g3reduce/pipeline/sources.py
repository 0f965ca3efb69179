"""The first modules of pipelines: the frames that they give, and which of them is at work.

From this, end modules know whether a pipeline was halted before its source was exhausted. A
pipeline works in one thread, so each thread takes note of its own.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from typing import Any

from spt3g import core

from ..mpi import waiting
from ..spt3gtypes import Frame
from . import hushing
from .units import set_source, unit_of

# A pipeline keeps these back until it has put its PipelineInfo frame in front of the others.
_HELD_BACK = (
    core.G3FrameType.Observation,
    core.G3FrameType.Wiring,
    core.G3FrameType.Calibration,
)


class Keeper:
    """Keeps the frames that a first module has given to its pipeline, and with them their units.

    When the next frame is asked for, the pipeline is done with the one before, but for metadata
    that wait for what comes after them.
    """

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def keep(self, frame: Frame, source: object) -> Frame:
        """Keep a frame that comes from `source`, let go of those that are done, and return it."""
        if self._kept and self._kept[-1].type not in _HELD_BACK:
            self._kept.clear()
        set_source(frame, source)
        self._kept.append(frame)
        waiting.moved(unit_of(frame))
        return frame


class _Here(threading.local):
    """The latest readers and pipelines of one thread.

    Attributes
    ----------
    last : (weakref, int) or None
        The reader that gave a frame to its pipeline last, and when.
    newest : weakref or None
        The newest reader.
    began, began_before : int
        When the latest pipeline of a reader began, and the one before.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.last: tuple[weakref.ref[Any], int] | None = None
        self.newest: weakref.ref[Any] | None = None
        self.began = self.began_before = -1


_here = _Here()
os.register_at_fork(after_in_child=_here.clear)

_moments = itertools.count()


def now() -> int:
    """The next moment: moments are numbers that rise with each call."""
    return next(_moments)


def await_source(source: Any) -> None:
    """Take note of a new reader."""
    _here.newest = weakref.ref(source)


def never_asked() -> bool:
    """Whether the newest reader was not asked for a frame by any pipeline."""
    newest = _here.newest() if _here.newest is not None else None
    return newest is not None and not newest.begun


def note_source(source: Any) -> None:
    """Take note that this reader gives a frame to its pipeline now."""
    _here.last = weakref.ref(source), now()


def pipeline_begins() -> None:
    """Take note that the pipeline of a reader of ours begins its work."""
    hushing.speak()
    _here.began, _here.began_before = now(), _here.began


def pipeline_before() -> int:
    """When the pipeline before the latest one began; earlier than all moments if there is none."""
    return _here.began_before


def last_source(since: int) -> Any:
    """The reader from whose pipeline a module is called now, if it is one of ours.

    Parameters
    ----------
    since : int
        A moment before that pipeline began: an earlier one may have failed.
    """
    if _here.last is None or _here.last[1] < since:
        return None
    return _here.last[0]()


def forget_source() -> None:
    """Forget the reader of a pipeline that has ended."""
    _here.last = None
