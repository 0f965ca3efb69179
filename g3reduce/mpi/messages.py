"""Messages between the ranks inside a guard: failures, meetings, and the end.

They travel on a communicator of the guard's own. Nothing here waits: a rank that waits calls
`Mailbox.poll` again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .ownership import LAST, drain

_FAILURE, _AT_END, _OUTCOME, _BEAT, _REMINDER = 1, 2, 3, 4, 5
_ARRIVAL, _DECISION = 1_000, 16_000
_MEETINGS = 15_000  # tags of each; MPI promises 32767 in all


class Failure(NamedTuple):
    """How a rank failed, as it reports it to others.

    Attributes
    ----------
    text : str
    own : bool
        False if it only raises what came from another rank, inside or outside of this guard.
    """

    text: str
    own: bool


class Mailbox:
    """Mailbox of one rank inside a guard.

    Attributes
    ----------
    reported : dict of int to Failure
        The ranks that have reported a failure.
    at_end : dict of int to (Failure or None)
        On rank 0: which ranks have come to the end, and how.
    outcome : dict of int to str, or None
        Which ranks have failed, once all have come to the end.
    arrived : dict of int to (dict of int to str)
        For each meeting that this rank hosts, which ranks have come, and for what.
    reminders : dict of int to str
        Hosts that have waited long for this rank, and for what.
    decided : dict of (int, int) to bool
        By host and number of the meeting: whether all have come, or it is called off.
    """

    def __init__(self, comm: Any):
        from mpi4py import MPI

        self._comm = comm
        self._anyone, self._any_tag, self._status = MPI.ANY_SOURCE, MPI.ANY_TAG, MPI.Status()
        self._sent: list[Any] = []
        self._has_reported = False
        self._last_came_from: set[int] = set()
        self.reported: dict[int, Failure] = {}
        self.at_end: dict[int, Failure | None] = {}
        self.outcome: dict[int, str] | None = None
        self.arrived: dict[int, dict[int, str]] = {}
        self.reminders: dict[int, str] = {}
        self.decided: dict[tuple[int, int], bool] = {}
        self.on_beat: Callable[[], None] = lambda: None

    def poll(self) -> None:
        """Receive the messages that have come."""
        while self._comm.Iprobe(self._anyone, self._any_tag, self._status):
            source, tag = self._status.source, self._status.tag
            content = self._comm.recv(source=source, tag=tag)
            if tag == _FAILURE:
                self.reported[source] = content
            elif tag == _AT_END:
                self.at_end[source] = content
            elif tag == _OUTCOME:
                self.outcome = content
            elif tag == _BEAT:
                self.on_beat()
            elif tag == _REMINDER:
                self.reminders[source] = content
            elif tag == LAST:
                self._last_came_from.add(source)
            elif tag < _DECISION:
                self.arrived.setdefault(tag - _ARRIVAL, {})[source] = content
            else:
                self.decided[source, tag - _DECISION] = content
                self.reminders.pop(source, None)

    def report_failure(self, failure: Failure) -> None:
        """Report a failure to all ranks. Only the first call sends something."""
        if not self._has_reported:
            self._has_reported = True
            self._send_to_others(failure, _FAILURE)

    def beat(self) -> None:
        """Tell all ranks that this one moves."""
        self._send_to_others(None, _BEAT)

    @staticmethod
    def number_of(ranks: tuple[int, ...]) -> int:
        """The number of meetings of these ranks: others must not be mistaken for them."""
        return hash(ranks) % _MEETINGS

    def arrive(self, ranks: tuple[int, ...], what: str) -> tuple[int, int]:
        """Come to a meeting that the first of these ranks hosts; return the decision's key."""
        number = self.number_of(ranks)
        self._send(what, ranks[0], _ARRIVAL + number)
        return ranks[0], number

    def remind(self, ranks: set[int], what: str) -> None:
        """Remind ranks of a meeting: they may have come to their end without it."""
        for rank in ranks:
            self._send(what, rank, _REMINDER)

    def decide(self, number: int, go_on: bool) -> None:
        """Tell the ranks that have come to a meeting of this rank whether it takes place."""
        for rank in self.arrived.pop(number, {}):
            self._send(go_on, rank, _DECISION + number)

    def call_off(self) -> None:
        """Tell the ranks that wait for this one at a meeting that it will not take place."""
        for number in list(self.arrived):
            self.decide(number, False)

    def report_end(self, failure: Failure | None) -> None:
        """Tell rank 0 that this rank is at its end."""
        if self._comm.rank == 0:
            self.at_end[0] = failure
        else:
            self._send(failure, 0, _AT_END)

    def fail_late(self, failure: Failure) -> None:
        """Fail after `report_end` without a failure. Other ranks need `report_failure`, too."""
        if self._comm.rank == 0:
            self.at_end[0] = failure

    def announce_outcome(self) -> None:
        """On rank 0, when all are at their end: tell all ranks which ones have failed."""
        failures = {
            rank: failure for rank, failure in self.at_end.items() if failure
        } | self.reported
        own = {rank: failure.text for rank, failure in failures.items() if failure.own}
        self.outcome = own or {rank: failure.text for rank, failure in failures.items()}
        self._send_to_others(self.outcome, _OUTCOME)

    def close(self, *, leftovers: bool) -> None:
        """Wait until no message is under way. Collective.

        Parameters
        ----------
        leftovers : bool
            Whether there may be messages that no rank waits for.
        """
        from mpi4py import MPI

        if leftovers:
            drain(self._comm, self._last_came_from)
        MPI.Request.Waitall(self._sent)

    def _send(self, content: object, rank: int, tag: int) -> None:
        self._sent = [request for request in self._sent if not request.Test()]
        self._sent.append(self._comm.isend(content, rank, tag))

    def _send_to_others(self, content: object, tag: int) -> None:
        for rank in range(self._comm.size):
            if rank != self._comm.rank:
                self._sent.append(self._comm.isend(content, rank, tag))
