"""Files that may not grow, as with ``ulimit -f``."""

import contextlib
import resource


@contextlib.contextmanager
def no_file_longer_than(n_bytes):
    """No file of this process grows beyond so many bytes, for the length of a block.

    A block, and not a fixture: what pytest prints is often in a long file itself, and it prints
    before the fixtures of a test end.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
