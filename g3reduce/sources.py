"""The first modules of pipelines: the frames that they give, and which of them is at work.

From this, end modules know whether a pipeline was halted before its source was exhausted.
"""

from __future__ import annotations

import weakref
from typing import Any

from spt3g import core

from . import waiting
from .ledger import unit_of

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

    def keep(self, frame: Any, source: object) -> Any:
        """Keep a frame that comes from `source`, let go of those that are done, and return it."""
        if self._kept and self._kept[-1].type not in _HELD_BACK:
            self._kept.clear()
        frame.source = source
        self._kept.append(frame)
        waiting.moved(unit_of(frame))
        return frame


# The reader that gave a frame to its pipeline last.
_last_source: list[weakref.ref[Any]] = []

# The newest reader, as long as its pipeline has not asked it for a frame.
_new_source: list[weakref.ref[Any]] = []


def await_source(source: Any) -> None:
    """Take note of a new reader."""
    _new_source[:] = [weakref.ref(source)]


def never_asked() -> bool:
    """Whether the newest reader was not asked for a frame by any pipeline."""
    return any(source() is not None for source in _new_source)


def note_source(source: Any) -> None:
    """Take note that this reader gives a frame to its pipeline now."""
    if any(new() is source for new in _new_source):
        _new_source.clear()
    _last_source[:] = [weakref.ref(source)]


def last_source() -> Any:
    """The reader from whose pipeline a module is called now, if it is one of ours."""
    return _last_source[0]() if _last_source else None


def forget_source() -> None:
    """Forget the reader of a pipeline that has ended."""
    _last_source.clear()
