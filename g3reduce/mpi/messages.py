"""What the ranks inside a guard tell each other: alarms, meetings, and the end.

All of it travels on a communicator of the guard's own. Nothing here waits: whoever waits calls
`Messages.look` again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

_ALARM, _HERE, _VERDICT, _BEAT, _CALL = 1, 2, 3, 4, 5
_ARRIVAL, _DECISION = 1_000, 16_000
_MEETINGS = 15_000  # tags of each; MPI promises 32767 in all
_LAST = 31_999


class Failure(NamedTuple):
    """How a rank failed, as others hear it.

    Attributes
    ----------
    text : str
    own : bool
        False if it only raises what came from another rank, inside or outside of this guard.
    """

    text: str
    own: bool


class Messages:
    """The post of one rank.

    Attributes
    ----------
    told : dict of int to Failure
        The ranks whose alarm came.
    here : dict of int to (Failure or None)
        On rank 0: who has come to the end, and how.
    verdict : dict of int to str, or None
        Who has failed, once all have come to the end.
    arrived : dict of int to (dict of int to str)
        For each meeting that this rank hosts, who has come, and on what occasion.
    called : dict of int to str
        Hosts that have been waiting for this rank, and on what occasion.
    decided : dict of (int, int) to bool
        By host and number of the meeting: whether all have come, or it is called off.
    """

    def __init__(self, comm: Any):
        from mpi4py import MPI

        self._comm = comm
        self._anyone, self._any_tag, self._status = MPI.ANY_SOURCE, MPI.ANY_TAG, MPI.Status()
        self._posted: list[Any] = []
        self._rung = False
        self._at_their_end: set[int] = set()
        self.told: dict[int, Failure] = {}
        self.here: dict[int, Failure | None] = {}
        self.verdict: dict[int, str] | None = None
        self.arrived: dict[int, dict[int, str]] = {}
        self.called: dict[int, str] = {}
        self.decided: dict[tuple[int, int], bool] = {}
        self.on_beat: Callable[[], None] = lambda: None

    def look(self) -> None:
        """Take what has come."""
        while self._comm.Iprobe(self._anyone, self._any_tag, self._status):
            source, tag = self._status.source, self._status.tag
            content = self._comm.recv(source=source, tag=tag)
            if tag == _ALARM:
                self.told[source] = content
            elif tag == _HERE:
                self.here[source] = content
            elif tag == _VERDICT:
                self.verdict = content
            elif tag == _BEAT:
                self.on_beat()
            elif tag == _CALL:
                self.called[source] = content
            elif tag == _LAST:
                self._at_their_end.add(source)
            elif tag < _DECISION:
                self.arrived.setdefault(tag - _ARRIVAL, {})[source] = content
            else:
                self.decided[source, tag - _DECISION] = content
                self.called.pop(source, None)

    def ring(self, failure: Failure) -> None:
        """Tell all ranks of a failure. Once is enough."""
        if not self._rung:
            self._rung = True
            self._post_to_others(failure, _ALARM)

    def beat(self) -> None:
        """Tell all ranks that this one moves."""
        self._post_to_others(None, _BEAT)

    @staticmethod
    def number_of(ranks: tuple[int, ...]) -> int:
        """The number of meetings of these ranks: others must not be mistaken for them."""
        return hash(ranks) % _MEETINGS

    def arrive(self, ranks: tuple[int, ...], what: str) -> tuple[int, int]:
        """Come to a meeting that the first of these ranks hosts; return the decision's key."""
        number = self.number_of(ranks)
        self._post(what, ranks[0], _ARRIVAL + number)
        return ranks[0], number

    def call(self, ranks: set[int], what: str) -> None:
        """Remind ranks of a meeting: they may have come to their end without it."""
        for rank in ranks:
            self._post(what, rank, _CALL)

    def decide(self, number: int, go_on: bool) -> None:
        """Tell those who have come to a meeting of this rank whether it takes place."""
        for rank in self.arrived.pop(number, {}):
            self._post(go_on, rank, _DECISION + number)

    def call_off(self) -> None:
        """Tell those who wait for this rank that it will not come."""
        for number in list(self.arrived):
            self.decide(number, False)

    def come_to_the_end(self, failure: Failure | None) -> None:
        """Tell rank 0 that this rank is at its end."""
        if self._comm.rank == 0:
            self.here[0] = failure
        else:
            self._post(failure, 0, _HERE)

    def change_mind(self, failure: Failure) -> None:
        """Fail after all, although this rank came to its end well; others hear it by the alarm."""
        if self._comm.rank == 0:
            self.here[0] = failure

    def give_verdict(self) -> None:
        """On rank 0, when all are at their end: tell all who has failed."""
        failures = {rank: failure for rank, failure in self.here.items() if failure} | self.told
        own = {rank: failure.text for rank, failure in failures.items() if failure.own}
        self.verdict = own or {rank: failure.text for rank, failure in failures.items()}
        self._post_to_others(self.verdict, _VERDICT)

    def close(self, *, leftovers: bool) -> None:
        """See to it that nothing is under way. Collective.

        Parameters
        ----------
        leftovers : bool
            Whether there may be messages that nobody waits for.
        """
        from mpi4py import MPI

        if leftovers:
            drain(self._comm, self._at_their_end)
        MPI.Request.Waitall(self._posted)

    def _post(self, content: object, rank: int, tag: int) -> None:
        self._posted = [request for request in self._posted if not request.Test()]
        self._posted.append(self._comm.isend(content, rank, tag))

    def _post_to_others(self, content: object, tag: int) -> None:
        for rank in range(self._comm.size):
            if rank != self._comm.rank:
                self._posted.append(self._comm.isend(content, rank, tag))


def drain(comm: Any, at_their_end: set[int] | None = None) -> None:
    """Receive, and forget, all messages that are under way. Collective over `comm`.

    Messages between two ranks keep their order, so what each sends last tells that no more come.
    """
    from mpi4py import MPI

    others = [rank for rank in range(comm.size) if rank != comm.rank]
    last = [comm.Isend([None, 0, MPI.BYTE], rank, _LAST) for rank in others]
    missing = set(others) - (at_their_end or set())
    status = MPI.Status()
    while missing:
        comm.Probe(MPI.ANY_SOURCE, MPI.ANY_TAG, status)
        content = bytearray(status.Get_count(MPI.BYTE))
        comm.Recv([content, MPI.BYTE], status.source, status.tag)
        if status.tag == _LAST:
            missing.discard(status.source)
    MPI.Request.Waitall(last)
    comm.Barrier()  # until then senders of what is large must stay in MPI
