"""Runs of a sum by compiled loops: the same as from its pixels that are not 0."""

from __future__ import annotations

import numpy as np
import pytest
from choices import ALL
from hypothesis import given, settings
from hypothesis import strategies as st
from spt3g import maps

from g3reduce.arrays.arithmetic import Plain
from g3reduce.g3files.lines import Columns, Rings
from g3reduce.g3files.maps import Content
from g3reduce.g3files.runs import layout_of
from g3reduce.kernels import choice as kernels
from g3reduce.maps.chunks import PointsChunk
from g3reduce.maps.pixels import is_flat, lines_of, storage_of, to_map
from g3reduce.maps.planesums import PlaneSums

fewer = settings(max_examples=100 if ALL else 40)


@pytest.fixture(autouse=True)
def by_numba(monkeypatch):
    monkeypatch.setenv(kernels.KERNELS, kernels.NUMBA)
    if kernels.loops() is None:
        pytest.skip("numba cannot be used")


def blank(lines):
    if isinstance(lines, Columns):
        flat = maps.FlatSkyMap(lines.n_x, lines.n_y, 0.1)
        flat.sparse = True
        return flat
    return maps.HealpixSkyMap(lines.nside, shift_ra=lines.shifted)


@st.composite
def sums(draw):
    """A sum of some pixels, in rows that came in any order, and their numbers and values.

    The values are never 0; beside them there are zeros that were added, and rows of nothing.
    """
    lines = draw(
        st.builds(Columns, st.integers(1, 5), st.integers(1, 700))
        | st.builds(Rings, st.sampled_from([1, 2, 8, 16]), st.booleans())
    )
    stub = blank(lines)
    total = PlaneSums({"T": stub}, Plain())
    parts = draw(
        st.lists(
            st.tuples(st.integers(0, stub.size - 1), st.integers(1, 90), st.booleans()),
            max_size=8,
        )
    )
    expected = np.zeros(stub.size)
    for begin, length, zeros in parts:
        pixels = np.arange(begin, min(begin + length, stub.size))
        values = np.full(len(pixels), 0.0 if zeros else begin + 0.5)
        if not zeros and begin % 3 == 0:
            values[0] = np.nan
            values[-1] = -0.0
        total.add_chunk("T", PointsChunk(pixels, values), subtract=False, where="here")
        expected[pixels] += values
    return lines, stub, total, expected


@fewer
@given(sums())
def test_runs_reach_from_the_first_pixel_that_is_not_0_to_the_last_on_each_line(case):
    lines, _, total, expected = case
    held = np.flatnonzero(expected)
    found = total.runs("T", lines)
    if found is None:
        assert not len(held)
        return
    layout, fill = found
    other, positions = layout_of(lines, held)
    assert layout.key == other.key
    values = np.zeros(other.size)
    values[positions] = expected[held]
    packed = b"".join(bytes(piece) for piece in layout.packed_by(fill))
    assert packed == b"".join(bytes(piece) for piece in other.packed(values))
    np.testing.assert_array_equal(Content("sparse", np.empty(0), *found).values_of_runs(), values)


@fewer
@given(sums())
def test_spt3g_reads_them_as_the_map(case):
    lines, stub, total, expected = case
    if (found := total.runs("T", lines_of(stub))) is None:
        return
    storage = "sparse" if is_flat(stub) else "ring-sparse"
    skymap = to_map(stub, Content(storage, np.empty(0), *found))
    values = np.asarray(skymap.clone(True)).reshape(-1)
    pixels = lines.as_mapped(np.arange(stub.size))
    np.testing.assert_array_equal(values[pixels], expected)
    assert storage_of(skymap) == (storage if expected.any() else "empty")
