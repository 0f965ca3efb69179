"""A thread of rank 0 that lets MPI answer one-sided calls while this rank computes.

Ranks of one host reach each other's windows by themselves. Those of other hosts send messages,
which an MPI answers only when the rank that has the window calls it, whatever for. A rank 0 that is
in one file for a minute would let all others wait so long for the number of their next file.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

from ..spt3glog import unit_logger
from .communicators import cache_of
from .jobend import at_end

if TYPE_CHECKING:
    from mpi4py import MPI

logger = unit_logger(__name__)

# Others wait half of a pause for an answer. The thread takes 2 % of the time of a core.
_PAUSE_S = 0.002


class _Server:
    """The thread of this process, which is there as long as somebody is served.

    Again and again it asks MPI whether a message has come from this process to itself, which never
    does. While MPI looks for it, it makes progress on all communicators and windows. (A probe would
    not do: MPICH looks for one from the same host in the memory of that host only.)
    """

    def __init__(self) -> None:
        self._served: weakref.WeakSet[object] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._comm: MPI.Intracomm | None = None
        self._ended = False

    def serve(self, served: object) -> None:
        """Answer calls as long as this object is there."""
        from mpi4py import MPI

        if self._comm is None:
            self._comm = MPI.COMM_SELF.Dup()
            at_end(self.end)
        with self._lock:
            self._served.add(served)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._answer, args=(self._comm,), name="g3reduce serving", daemon=True
                )
                self._thread.start()

    def end(self) -> None:
        """End the thread, before MPI ends."""
        self._ended = True
        thread = self._thread
        if thread is not None:
            thread.join(1)  # at most: it could be waiting for a lock of MPI
        if self._comm is not None and (thread is None or not thread.is_alive()):
            self._comm.Free()

    def _answer(self, comm: MPI.Intracomm) -> None:
        message = comm.Irecv(bytearray(1), 0)
        while self._wanted():
            time.sleep(_PAUSE_S)
            message.Test()
        message.Cancel()
        message.Wait()

    def _wanted(self) -> bool:
        """Whether the thread is to go on; if not, the next one served begins another."""
        with self._lock:
            if self._served and not self._ended:
                return True
            self._thread = None
            return False


_server = _Server()


def must_serve(comm: MPI.Intracomm) -> bool:
    """Whether this is rank 0, with ranks on other hosts, and may have a thread. Collective.

    Found once for each communicator, which is one that `private` gave.
    """
    from mpi4py import MPI

    entries = cache_of(comm).entries
    if "must serve" not in entries:
        host = comm.Split_type(MPI.COMM_TYPE_SHARED)
        several = host.size < comm.size
        host.Free()
        entries["must serve"] = several and comm.rank == 0
        if entries["must serve"] and MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            entries["must serve"] = False
            logger.warning(
                "MPI was started without threads (mpi4py.rc.threads, mpi4py.rc.thread_level): "
                "ranks of other hosts may wait for their next file until rank 0 takes its own."
            )
    needed: bool = entries["must serve"]
    return needed


def serve_while_there(served: object) -> None:
    """Let a thread answer calls of other hosts until an object is gone, or MPI ends."""
    _server.serve(served)
