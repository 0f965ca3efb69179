"""What end-of-pipeline modules share: was the input whole, and whose results come along."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from spt3g import core

from .errors import InputError


class PipelinePlace:
    """The place of an end module in its pipeline: which others stand before it.

    At the end of processing a module hands its results down the pipeline. Those behind it have
    the parts of these results already, and must know them to pass them by. Two modules stand in
    one pipeline if they see the same frames: a frame passes through all modules before the next
    one is read.
    """

    def __init__(self) -> None:
        self._upstream: weakref.WeakSet[PipelinePlace] = weakref.WeakSet()
        self._results_of_others: list[Any] = []
        self._sources: weakref.WeakSet[Any] = weakref.WeakSet()
        _open.add(self)

    def see(self, frame: Any) -> bool:
        """Take note of a frame, and tell whether it is a result of a module upstream."""
        if _passing.frame is not frame:
            _passing.frame, _passing.seen_by = frame, []
        self._upstream.update(_passing.seen_by)
        _passing.seen_by.append(self)
        if (source := getattr(frame, "source", None)) is not None:
            self._sources.add(source)
        if frame.type == core.G3FrameType.EndProcessing:
            _passing.frame, _passing.seen_by = None, []
        return any(frame is result for result in self._results_of_others)

    def require_whole_input(self) -> None:
        """Refuse to end before the readers have.

        Ctrl-C makes a pipeline run to its end as if all were well.

        Raises
        ------
        InputError
            If a reader from which frames came has not read all that it was given.
        """
        if not all(source.exhausted for source in self._sources):
            raise InputError(
                "The pipeline was halted before all files were read (by Ctrl-C?), so the result "
                "would be a part taken for the whole."
            )

    def leave(self, results: Iterable[Any]) -> None:
        """End here, with results for the modules downstream."""
        _open.discard(self)
        self._results_of_others.clear()
        for other in list(_open):
            if self in other._upstream:
                # Held until they have ended, too: a frame is known by its Python object.
                other._results_of_others.extend(results)


# Places in this process whose modules have not ended.
_open: weakref.WeakSet[PipelinePlace] = weakref.WeakSet()


class _Passing:
    """The frame that passes through a pipeline just now, and the places that have seen it."""

    def __init__(self) -> None:
        self.frame: Any = None
        self.seen_by: list[PipelinePlace] = []


_passing = _Passing()
