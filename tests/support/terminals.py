"""What a process does at a terminal that a test has made for it."""

import os
import select
import time

from patience import HANGS_S


def outcome(pid, terminal):
    """The exit code of a process, and all that it and those it has started wrote to a terminal."""
    said, end = b"", time.monotonic() + HANGS_S
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                said += os.read(terminal, 65536)
            except OSError:  # all have left it
                break
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return code, said.decode()
