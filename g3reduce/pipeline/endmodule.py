"""Modules at the end of a pipeline: their frames, other modules in it, and a common end."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from spt3g import core

from ..errors import InputError, UsageError
from ..mpi import communicators, waiting
from ..mpi.agreement import agree
from ..mpi.interrupts import forget_halt
from ..mpi.jobend import must_end
from ..spt3gtypes import Frame
from . import hushing
from .sources import forget_source, last_source, never_asked, now, pipeline_before
from .units import source_of

T = TypeVar("T")

# Every pipeline has these frames, whatever its input.
_NO_INPUT = (core.G3FrameType.PipelineInfo, core.G3FrameType.EndProcessing)


class PipelineWatch:
    """Watches a pipeline for an end module: which others stand before it, and who reads.

    At the end of processing a module hands its results down the pipeline. Modules
    behind it have seen the frames that went into these results, so they must recognize the results
    and let them pass. Two modules stand in one pipeline if they see the same frames: a frame passes
    through all modules before the next one is read.
    """

    def __init__(self) -> None:
        self._upstream: weakref.WeakSet[PipelineWatch] = weakref.WeakSet()
        self._results_of_others: list[Any] = []
        self._sources: weakref.WeakSet[Any] = weakref.WeakSet()
        self.begun = self._has_seen_input = False
        self._ended = self._claimed_last = False
        self._made_at = now()
        self._made_in = _here.open
        _here.open.add(self)

    def see(self, frame: Frame, module: object) -> bool:
        """Take note of a frame, and return whether it is a result of a module upstream.

        Raises
        ------
        UsageError
            If there is no frame, because `module` is the first of its pipeline; if it is no
            G3Frame; or if a module upstream has dropped frames before it could know of this one.
        """
        if frame is None:
            raise UsageError(
                f"{type(module).__name__} is the first module of this pipeline; it needs one "
                "before it that brings frames, such as MPIFileReader."
            )
        if not isinstance(frame, core.G3Frame):
            raise UsageError(
                f"{type(module).__name__} was called with a {type(frame).__name__}; expected a "
                "G3Frame."
            )
        if not self.begun:
            self.begun = True
            _here.open.add(self)
        if _here.frame is not frame:
            _here.frame, _here.seen_by = frame, []
        for other in _here.seen_by:
            if other not in self._upstream and other._claimed_last:
                raise UsageError(
                    f"Frames have passed an end module with drop_input_frames=True before "
                    f"{type(module).__name__}, which stands behind it, has seen any: it may lack "
                    "those that were dropped there. Let PipelineInfo frames pass between the two "
                    "modules, or say drop_input_frames=False to the first."
                )
            self._upstream.add(other)
        _here.seen_by.append(self)
        for source in (source_of(frame), last_source(self._made_at)):
            if source is not None:
                self._sources.add(source)
        if frame.type not in _NO_INPUT:
            self._has_seen_input = True
        if frame.type == core.G3FrameType.EndProcessing:
            _here.frame, _here.seen_by = None, []
            hushing.speak()  # binners stand before this module, and have seen the end
        waiting.check()
        return any(_is_copy(frame, result) for result in self._results_of_others)

    def deliver(self, frame: Frame, module: Any) -> None:
        """Hand a frame to a module that hands nothing down.

        It has ``add(frame)``, and ``finish()`` for the end of processing.
        """
        known = self.see(frame, module)
        if frame.type == core.G3FrameType.EndProcessing:
            module.finish()
        elif not known and frame.type not in _NO_INPUT:
            module.add(frame)

    def claim_last(self) -> bool:
        """Return whether no other end module stands behind this one, as far as can be known.

        Another one that has not seen a frame yet may, unless it is of an earlier pipeline, which
        has failed or was never run. If one turns up all the same, it refuses to work: see `see`.
        """
        since = pipeline_before()
        last = all(
            self not in other._upstream and (other.begun or other._made_at < since)
            for other in self._others()
        )
        self._claimed_last |= last
        return last

    def require_whole_input(self) -> None:
        """Refuse to end while a reader has not come to its end.

        Ctrl-C makes a pipeline run to its end as if all were well.

        Raises
        ------
        InputError
            If a reader from which frames came has not read all that it was given.
        """
        halted = not all(source.exhausted for source in self._sources)
        # A pipeline that was halted stays so: spt3g ends the next one before it has begun.
        halted |= self.begun and not self._has_seen_input and never_asked()
        forget_source()
        if halted:
            forget_halt()
            raise InputError(
                "The pipeline was halted before all files were read (by Ctrl-C?), so the result "
                "would be incomplete."
            )

    def end_together(
        self,
        comm: communicators.Comm,
        check: Callable[[], None] = lambda: None,
        failure: Exception | None = None,
    ) -> None:
        """Come to the end of processing with all ranks. Collective over `comm`.

        Parameters
        ----------
        comm : communicator
        check : callable
            Raises an error if the module cannot end on this rank.
        failure : Exception, optional
            What has failed on this rank before its end, so that there is nothing to check.

        Raises
        ------
        InputError
            On all ranks (there `RemoteError`), if a reader of any has not read all.
        UsageError
            If this process is no rank of `comm`.
        """
        communicators.require_rank(comm)

        if failure is None:
            try:
                self.require_whole_input()
                check()
            except Exception as error:  # of any kind: all ranks raise together
                if waiting.open_guards():
                    # The guard reports it to the others at once, not only at their end.
                    raise
                failure = error
        agree(comm, failure, "the end of processing")

    def leave(self, results: Iterable[Any]) -> None:
        """End here, with results for the modules downstream."""
        self._ended = True
        self._results_of_others.clear()
        for other in self._others():
            if self in other._upstream:
                # Held until they have ended, too: a frame is known by its Python object.
                other._results_of_others.extend(results)

    def _others(self) -> set[PipelineWatch]:
        """Those that may stand in the same pipeline."""
        return {*self._made_in, *_here.open} - {self}


class EndModule:
    """Base of end-of-pipeline modules: their frames, and their end together with all ranks.

    A subclass has ``add(frame)`` and ``finish()``, and calls this constructor when its arguments
    have been found good.

    Parameters
    ----------
    comm : communicator
        The one on which it works; see `g3reduce.mpi.communicators.private`.
    """

    def __init__(self, comm: communicators.Comm):
        self._comm = comm
        self._watch = PipelineWatch()
        self._ended = False
        if comm.size > 1:
            must_end(self)

    @property
    def unfinished(self) -> bool:
        """Whether this rank has frames that were not joined with those of the other ranks."""
        return (self._watch.begun or self._has_frames()) and not self._ended

    def __call__(self, frame: Frame) -> Any:
        """Take the next frame of the pipeline (spt3g calls this)."""
        self._watch.deliver(frame, self)

    def _has_frames(self) -> bool:
        """Whether any frame was added."""
        raise NotImplementedError

    def _require_open(self) -> None:
        """Refuse to add a frame after the end, or in a process that is no rank."""
        if self._ended:
            raise UsageError(
                f"This {type(self).__name__} has ended its work; make a new one for more frames."
            )
        communicators.require_rank(self._comm)

    def _end(
        self, check: Callable[[], None] = lambda: None, failure: Exception | None = None
    ) -> None:
        """Come to the end, once; see `PipelineWatch.end_together`. Collective."""
        if self._ended:
            raise UsageError(f"This {type(self).__name__} has ended its work already.")
        self._ended = True
        self._watch.end_together(self._comm, check, failure)


def hush_binners(source: object) -> None:
    """Let spt3g's binners be silent where no data came, until end modules have seen the end too.

    Without such modules a binner's empty map is the result of this rank, of which it may well
    complain.

    Parameters
    ----------
    source : object
        The first module of this pipeline.
    """
    since = pipeline_before()  # one that was made earlier may be of a pipeline that has failed
    if any(watch._made_at > since for watch in _here.open):
        hushing.hush(source)


def at_the_end(ended: bool, outcome: T, what: str) -> T:
    """The outcome of a module that has ended; messages call it `what`.

    Raises
    ------
    UsageError
        If it has not ended.
    """
    if not ended:
        raise UsageError(
            f"There is no {what} before the end of processing: run the pipeline to its end, or "
            "call finish() on all ranks."
        )
    return outcome


def _is_copy(frame: Frame, result: Any) -> bool:
    """Whether a frame is a result, or a copy that a module in between has made of it."""
    if frame is result:
        return True
    compared = ("Id", "InputMapIds", "InputFiles")
    return frame.type == result.type and all(
        (key in frame) == (key in result) and (key not in frame or _same(frame[key], result[key]))
        for key in compared
    )


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) if isinstance(a, str) or isinstance(b, str) else list(a) == list(b)


class _Open:
    """Watches that were made, or have begun, in one thread, and that have not ended.

    Only that thread adds some; others may read.
    """

    def __init__(self) -> None:
        self._watches: tuple[weakref.ref[PipelineWatch], ...] = ()

    def __iter__(self) -> Iterator[PipelineWatch]:
        for watch in [watch() for watch in self._watches]:
            if watch is not None and not watch._ended:
                yield watch

    def add(self, watch: PipelineWatch) -> None:
        if watch not in self:
            self._watches = tuple(map(weakref.ref, (*self, watch)))


class _Here(threading.local):
    """The frame and the open watches of one thread, in which a pipeline works.

    Attributes
    ----------
    open : _Open
    frame : G3Frame or None
        The frame that passes through a pipeline just now.
    seen_by : list of PipelineWatch
        The watches that have seen it.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.open = _Open()
        self.frame: Frame = None
        self.seen_by: list[PipelineWatch] = []


_here = _Here()
os.register_at_fork(after_in_child=_here.clear)
