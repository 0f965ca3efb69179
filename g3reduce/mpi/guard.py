"""The guard: an error on one rank reaches all ranks, at once, and ends them together."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from traceback import format_exception
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ..errors import (
    G3ReduceError,
    InputError,
    InterruptedByUser,
    RemoteError,
    StallError,
    UsageError,
    text_of,
)
from ..spt3gmarks import useful
from . import communicators, jobend, ownership, waiting
from .agreement import describe_error, describe_rank
from .interrupts import Interrupts, forget_halt
from .messages import Failure, Mailbox
from .stall import StallWatch

if TYPE_CHECKING:
    from mpi4py import MPI

# How long, after an error, a rank in the user's own code may take to come to its next frame.
PATIENCE_S = 60.0

# A rank that raises what came from another one need not report it, if that one does.
_SECOND_HAND_S = 1.0

# How long the ranks that failed have to report it, before the job is ended without others.
_REPORT_S = 0.5

# After so long ranks are reminded of a meeting: they may be at their end.
_CALL_AFTER_S = 1.0

_STALLED = "Nothing has moved on any rank"
_THE_END = "the other ranks at the end of the guard"


class Guard:
    """The context that `guard` returns; see there."""

    def __init__(self, mpicomm: communicators.Comm | None, stall: float | None, patience: float):
        self._mpicomm = mpicomm
        self._limit = stall
        self._patience = patience
        self._comm: Any = None
        self._rank = 0
        self._ours = {0: 0}  # from ranks of the world to those of the guard
        self._mailbox: Mailbox | None = None  # with one rank there are none
        self._watch: StallWatch | None = None
        self._interrupts = Interrupts()
        self._failure: G3ReduceError | None = None  # what was noticed, and has to be raised
        self._unprinted: BaseException | None = None  # its traceback was not shown yet
        self._failed_at: float | None = None
        self._at: object = None
        self._pid = 0
        self._earlier: weakref.WeakSet[Any] = weakref.WeakSet()  # sources that began outside
        self._made: set[ownership.Key] = set()
        self._groups: dict[tuple[int, ...], tuple[int, ...]] = {}

    def __enter__(self) -> Guard:
        self._comm = communicators.duplicate(self._mpicomm)
        self._rank = self._comm.rank
        if self._comm.size > 1:
            self._ours = {rank: i for i, rank in enumerate(self._comm.world_ranks)}
            self._mailbox = Mailbox(self._comm)
        if self._limit is not None:
            beat = self._mailbox.beat if self._mailbox else lambda: None
            self._watch = StallWatch(self._limit, self._comm.size, beat)
            if self._mailbox:
                self._mailbox.on_beat = self._watch.heard
        self._earlier.update(waiting.begun_sources())
        self._interrupts.open()
        self._pid = os.getpid()
        waiting.open_guards().append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        if self._pid != os.getpid():
            return False  # a process that was forked off inside leaves it: no rank of the guard
        begun = [s for s in list(waiting.begun_sources()) if s not in self._earlier]
        try:
            error = error or self._notice() or _halted(begun)
            failures, error = self._agree_on_end(error)
        finally:
            waiting.open_guards().remove(self)
            self._interrupts.close()
            if self._watch:
                self._watch.close()
        self._clear_up(begun, failures)
        if error is not None:
            self._sign(error, failures)
        elif self._interrupts.number is not None:
            # It came when all was done: let it do what it does outside of guards.
            self._interrupts.pass_on()
        if kind is None and error is not None:
            raise error
        return False

    # -- while the work goes on

    def check(self, waiting_for: str = "") -> None:
        """Raise if another rank failed, if a signal came, or if nothing moves any more."""
        failure = self._notice(waiting_for)
        if failure is not None:
            raise failure

    def moved(self, at: object = None) -> None:
        """Take note that the work goes on, and with which frame."""
        if at is not None:
            self._at = at
        if self._watch:
            self._watch.moved()

    def made(self, key: ownership.Key) -> None:
        """Take note of a communicator that was made inside the guard."""
        self._made.add(key)

    def covers(self, comm: MPI.Intracomm) -> bool:
        """Whether all ranks of a communicator are inside this guard."""
        ranks = ownership.world_ranks(comm)
        if ranks not in self._groups and self._ours.keys() >= set(ranks):
            self._groups[ranks] = tuple(self._ours[rank] for rank in ranks)
        return ranks in self._groups

    def meet(self, comm: MPI.Intracomm, what: str) -> None:
        """Wait until all ranks of `comm` have come, in a way that can be woken."""
        self.check()
        ranks = self._groups[ownership.world_ranks(comm)]
        if ranks[0] == self._rank:
            self._host(ranks, what)
        else:
            self._attend(ranks, what)

    def _host(self, ranks: tuple[int, ...], what: str) -> None:
        mailbox: Any = self._mailbox
        number, others = mailbox.number_of(ranks), set(ranks[1:])
        begin, called, all_came = time.monotonic(), False, False

        def all_here() -> bool:
            nonlocal called
            missing = others - mailbox.arrived.get(number, {}).keys()
            if missing and not called and time.monotonic() - begin > _CALL_AFTER_S:
                called = True
                mailbox.remind(missing, what)
            return not missing

        try:
            waiting.wait(all_here, f"other ranks at {what}")
            all_came = True
        finally:
            mailbox.decide(number, all_came)

    def _attend(self, ranks: tuple[int, ...], what: str) -> None:
        mailbox: Any = self._mailbox
        waiting_for = f"rank {ranks[0]} and others at {what}"
        decision = mailbox.arrive(ranks, what)
        pause = waiting.pauses()
        # A rank that has come stays until the host has decided, whatever happens meanwhile: others
        # may have been told to go on, and count on this rank.
        while decision not in mailbox.decided:
            waiting.report_failures(waiting_for)
            pause()
        if not mailbox.decided.pop(decision):
            waiting.wait(lambda: False, f"the reason why there is no {what}")

    def report_failures(self, waiting_for: str) -> None:
        """Report an error to the other ranks, but do not raise it yet."""
        failure = self._notice(waiting_for)
        if failure is not None and self._mailbox:
            if not isinstance(failure, RemoteError):
                self._mailbox.report_failure(self._describe(failure))
            self._end_job_after_patience(str(failure))

    def _notice(self, waiting_for: str = "") -> G3ReduceError | None:
        """Check all that may end the work, and remember it: the error may be caught."""
        if self._mailbox:
            self._mailbox.poll()
        if self._failure is not None:
            return self._failure
        self._interrupts.stay_open()
        doing = f"waiting for {waiting_for}" if waiting_for else "in a module"
        if self._mailbox and self._mailbox.reported:
            texts = {rank: failure.text for rank, failure in self._mailbox.reported.items()}
            if self._watch and any(_STALLED in text for text in texts.values()):
                self._watch.print_where(f"rank {self._rank} was {doing}")
            self._failure = RemoteError(texts)
        elif self._interrupts.number is not None:
            self._failure = InterruptedByUser(
                f"{self._interrupts.name()} came{describe_rank(self._comm)}; "
                "the work is not complete."
            )
        elif self._watch and waiting_for and self._watch.stalled():
            self._watch.print_where(f"rank {self._rank} was {doing}")
            self._failure = StallError(
                f"{_STALLED} for {self._limit:g} s; rank {self._rank} was {doing}."
            )
        if self._failure is not None and self._failed_at is None:
            self._failed_at = time.monotonic()
        return self._failure

    # -- at the end

    def _agree_on_end(
        self, error: BaseException | None
    ) -> tuple[dict[int, str], BaseException | None]:
        """Come together for the last time.

        Returns
        -------
        (failures, error)
            Who failed, and how; and what this rank raises, if anything.
        """
        mailbox = self._mailbox
        if mailbox is None:
            return ({} if error is None else {0: self._describe(error).text}), error
        begin = time.monotonic()
        mine = None if error is None else self._describe(error)
        self._unprinted = error if mine and mine.own else None
        mailbox.report_end(mine)
        pause = waiting.pauses()
        while mailbox.outcome is None:
            noticed = self._notice(_THE_END)
            if error is None and noticed is None and (mailbox.arrived or mailbox.reminders):
                noticed = self._failure = self._missed_meeting(mailbox)
            if error is None and noticed is not None and not isinstance(noticed, RemoteError):
                error, mine = noticed, self._describe(noticed)
                mailbox.fail_late(mine)
            if mine and (mine.own or time.monotonic() - begin > _SECOND_HAND_S):
                mailbox.report_failure(mine)
            if mine or mailbox.reported:
                mailbox.call_off()
                self._end_job_after_patience(mine.text if mine else str(noticed))
            if self._rank == 0 and len(mailbox.at_end) == self._comm.size:
                mailbox.announce_outcome()
            pause()
        failures = mailbox.outcome
        if not failures:
            # Also where a signal came after all ranks had come to their end.
            return failures, None
        return failures, error or RemoteError(failures)

    def _missed_meeting(self, mailbox: Mailbox) -> G3ReduceError:
        waits = dict(mailbox.reminders)
        for came in mailbox.arrived.values():
            waits |= came
        rank, what = min(waits.items())
        return G3ReduceError(
            f"rank {self._rank} is at the end of the guard, but rank {rank} waits for it at "
            f"{what}. All ranks must have the same end modules and do the same collective work."
        )

    def _clear_up(self, begun: list[Any], failures: dict[int, str]) -> None:
        """Leave nothing behind: no message under way, no communicator. Collective."""
        if self._mailbox:
            self._mailbox.close(leftovers=bool(failures) or self._watch is not None)
            if failures:
                jobend.release_modules()
                comms: list[Any] = [waiting.begun_sources().get(source) for source in begun]
                used = {comm.key for comm in comms if hasattr(comm, "key")}
                ownership.take_back(self._comm, used | self._made)
        for source in begun:
            waiting.begun_sources().pop(source, None)
        ownership.free(self._comm)

    def _describe(self, error: BaseException) -> Failure:
        """An error of this rank, as it is reported to others."""
        text = describe_error(error)
        place = f"{self._at}"
        if self._at is not None and place not in text and not isinstance(error, RemoteError):
            text += f" (at {place})"
        return Failure(text, own=not isinstance(error, RemoteError))

    def _sign(self, error: BaseException, failures: dict[int, str]) -> None:
        """Add to an error the latest frame, and which rank is to show it to the user."""
        world = {ours: rank for rank, ours in self._ours.items()}
        if isinstance(error, RemoteError):
            # Python prints nothing for sys.exit, so that somebody else must.
            failed = [rank for rank, text in failures.items() if not text.startswith("SystemExit")]
            well = [rank for rank in world if rank not in failures]
            error.reporter = world[min(failed or well)]
            return
        mine = failures.get(self._rank)
        with contextlib.suppress(Exception):  # there are exceptions with slots, and worse
            same = [rank for rank, text in failures.items() if text == mine]
            error.reporter = world[min(same, default=self._rank)]  # type: ignore[attr-defined]
        if (
            hasattr(error, "add_note")
            and self._at is not None
            and str(self._at) not in text_of(error)
        ):
            rank = f" on rank {self._rank}" if self._mailbox else ""
            error.add_note(f"g3reduce: the latest frame{rank} was {self._at}.")

    def _end_job_after_patience(self, why: str) -> None:
        """End the job if an error was reported to others long enough ago."""
        mailbox: Any = self._mailbox
        if self._failed_at is None:
            self._failed_at = time.monotonic()
        waited = time.monotonic() - self._failed_at
        if waited < self._patience:
            return
        if self._unprinted is not None:  # else it would never be shown where it happened
            sys.stderr.write("".join(format_exception(self._unprinted)))
            sys.stderr.flush()
            self._unprinted = None
        # Rank 0 goes first, because it knows who is missing.
        if waited < self._patience + (_REPORT_S if self._rank == 0 else 3 * _REPORT_S):
            return
        missing = sorted(set(range(self._comm.size)) - mailbox.at_end.keys() - {self._rank})
        who = f"rank {', '.join(map(str, missing))}" if self._rank == 0 else "some other rank"
        jobend.end_job(
            f"g3reduce: {who} did not come to its next frame within {self._patience:g} s of an "
            f"error ({why}); rank {self._rank} ends the job."
        )


def _halted(begun: list[Any]) -> InputError | None:
    if all(source.exhausted for source in begun):
        return None
    forget_halt()
    return InputError(
        "A pipeline was halted before all its frames had come (by Ctrl-C?), so its result "
        "would be incomplete."
    )


@useful
def guard(
    mpicomm: communicators.Comm | None = None,
    *,
    stall: float | None = None,
    patience: float = PATIENCE_S,
) -> Guard:
    """Let ranks fail together. A context around the pipeline; collective over `mpicomm`.

    An exception on one rank (in a module of the user, of spt3g or of g3reduce, in the reader or
    at the end) reaches the others wherever they wait in our modules, or at their next frame. All
    raise: the rank that failed its own exception, the others `RemoteError` with its rank and text.
    A script may catch that and go on with the same communicator. SIGINT (Ctrl-C) and SIGTERM
    become such an error, too: there is never a partial result that looks like the whole.

    It covers the thread that opens it, so open it where the pipeline runs. In other threads than
    the main one signals do not come to it: Python hands them to the main thread.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm or None
        As in `MPIMapCoadder`.
    stall : float, optional
        Seconds. When no frame has been read, sent, received or done on any rank for that long,
        the job ends, and each rank says what it was waiting for and where (its stack). It must be
        longer than the longest that one frame takes: a rank that is in one frame for twice as
        long (once, if it is alone) ends the job, whatever the others do. Default: off.
    patience : float
        Seconds that ranks in the user's own code may take to come to their next frame after an
        error. Then the job is ended without them.

    Raises
    ------
    RemoteError
        On the ranks without an error of their own.
    InterruptedByUser, StallError
        On the ranks that noticed.
    UsageError
        If `stall` is asked for in another thread than the main one: there is one watch in a
        process, which ends all of it.

    Examples
    --------
    >>> with guard(comm):  # doctest: +SKIP
    ...     pipe.Run()
    """
    if stall is not None and threading.current_thread() is not threading.main_thread():
        raise UsageError(
            "guard(stall=...) was called in another thread than the main one; there is one watch "
            "in a process, which ends all of it. Leave stall out, or run this pipeline in the main "
            "thread, or in a process of its own."
        )
    return Guard(mpicomm, stall, patience)
