"""One process makes a file, and others that want the same one wait for it.

A claim is a file beside it that only one can make. It is a courtesy, not a lock: whoever has waited
long enough makes the file, too, and nothing breaks by it.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..limits import LIMITS

T = TypeVar("T")

# Many processes look at one folder: the longer it takes, the less often.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0

_waited = 0.0  # seconds, by this process, for all files together


def found_or_claimed(claim: Path, look: Callable[[], T | None]) -> T | None:
    """What `look` finds, as soon as another process has made it, or None.

    If it is None, this process is to make it, and to `release` the claim then.

    Parameters
    ----------
    claim : Path
        The name of the claim, in a folder in which nobody else can write.
    look : callable
        Returns what is wanted, or None if it is not there.
    """
    global _waited
    pause = _FIRST_PAUSE_S
    while True:
        if _make(claim):
            found = look()  # it may have been finished in between
            if found is not None:
                release(claim)
            return found
        if _waited >= LIMITS.claim_wait_s:
            release(claim)
            return None
        if _is_left_over(claim):
            release(claim)
            continue
        seconds = pause * random.uniform(0.5, 1.5)
        time.sleep(seconds)
        _waited += seconds
        pause = min(2 * pause, _LONGEST_PAUSE_S)
        found = look()
        if found is not None:
            return found


def release(claim: Path) -> None:
    """Remove a claim, if it is there."""
    with contextlib.suppress(OSError):
        claim.unlink()


def _make(claim: Path) -> bool:
    """Whether this process may go on: it has made the claim, or cannot make any."""
    try:
        descriptor = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return False
    except OSError:  # what cannot be claimed may still be made: elsewhere, or for this process
        return True
    with contextlib.suppress(OSError), open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{socket.gethostname()} {os.getpid()}")
    return True


def _is_left_over(claim: Path) -> bool:
    """Whether its process was one of this host, and is no more."""
    try:
        host, pid = claim.read_text(encoding="utf-8", errors="replace").split()
        if host != socket.gethostname():
            return False
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):  # removed or not written yet; of another user
        return False
    return False
