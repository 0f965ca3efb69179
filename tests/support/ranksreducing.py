"""What ranks reduce together."""

from reducing import scan

import g3reduce
from g3reduce import Reduction


def reduce(comm, reduction, frames, *, feed=None, **options):
    """What the ranks have together: each takes every so many of the frames."""
    reducer = g3reduce.MPIReducer(reduction, comm, **options)
    for i in frames if feed is None else feed:
        reducer.add(scan(i))
    reducer.finish()
    return reducer


def concatenation(**more):
    """A reduction that shows the order in which states came."""
    return Reduction("order", lambda a, b: {k: a[k] + b[k] for k in a}, extract=listed, **more)


def listed(frame):
    return {"numbers": [frame["Number"]], "text": (frame["Wafer"],)}
