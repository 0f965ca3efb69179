"""Errors inside of guards, and how all ranks fail by them."""

import g3reduce
from g3reduce.mpi import waiting

FILES_PER_RANK = 2


class Failed(Exception):
    """The user's own error."""


def all_fail_together(comm, work, failing, kind, *texts):
    """Every rank raises: the failing one its own error, the others say which and how."""
    error = None
    try:
        work()
    except BaseException as caught:  # of whatever kind: all ranks go on to compare theirs
        error = caught
    stories = comm.allgather((type(error).__name__, str(error)))
    if comm.rank == failing:
        assert type(error) is kind, stories
        assert error.__traceback__ is not None
    else:
        assert type(error) is g3reduce.RemoteError, stories
        assert list(error.failures) == [failing], stories
        assert all(text in str(error) for text in (f"rank {failing}: ", *texts)), stories
    assert not waiting.open_guards()
