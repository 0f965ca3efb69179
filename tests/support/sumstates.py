"""States of sums, written and taken up again."""

from __future__ import annotations

import io

import numpy as np

from g3reduce.coadd import state
from g3reduce.coadd.joining import Coadd
from g3reduce.maps import mapframe
from g3reduce.pipeline.ledger import Entry, Ledger, Unit


def ledger_of(*names):
    return Ledger([Entry.of(Unit(name, 3, position)) for position, name in enumerate(names)])


def written(file, *coadds):
    """The name of a file with the states of these coadds."""
    with open(file, "wb") as sink:
        for coadd in coadds:
            state.write_state(sink, coadd)
    return str(file)


def taken_up(total, folder):
    """The sum that comes back from a file."""
    file = written(folder / "state.g3", Coadd("sum", total, Ledger()))
    (coadd,) = state.states_in(file)
    return coadd.total


def finished(total):
    """A frame of the sum, which is used up."""
    total.prepare([total.summary], total.sums.layout)
    total.to_numbers()
    return mapframe.to_frame("sum", total.to_maps())


def assert_same_sum(mine, theirs):
    """Two running sums hold the same, in the same order, to the bit."""
    assert mine.sums.key == theirs.sums.key
    np.testing.assert_array_equal(mine.blocks.rows, theirs.blocks.rows)
    assert sorted(mine.blocks.planes) == sorted(theirs.blocks.planes)
    for name, plane in theirs.blocks.planes.items():
        assert mine.blocks.planes[name].dtype == plane.dtype
        np.testing.assert_array_equal(
            mine.blocks.planes[name].view(np.int64), plane.view(np.int64), err_msg=name
        )
    one, other = mine.summary, theirs.summary
    for attribute in ("storage", "numbering", "parts", "where", "grids", "beyond", "skipped"):
        assert getattr(one, attribute) == getattr(other, attribute), attribute
    if not one.grids:  # of exact sums it is made of `beyond`
        assert repr(one.overflow) == repr(other.overflow)


def blob(coadd):
    sink = io.BytesIO()
    state.write_state(sink, coadd)
    return sink.getvalue()
