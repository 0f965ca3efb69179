"""Blocks: numbered rows of arrays, of which those that were touched are held."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3reduce.arrays.blocks import Blocks

N_ROWS = 12
LENGTH = 3

some_rows = st.lists(st.integers(0, N_ROWS - 1), max_size=6).map(lambda x: np.array(x, np.int64))


@given(st.lists(some_rows, max_size=8), st.sampled_from([0, -7]))
def test_rows_keep_their_elements_whatever_is_inserted_after_them(insertions, fill):
    """Against a plain dictionary from row to elements."""
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8", "hits": "i4"}, fill=fill)
    model = {}
    for step, rows in enumerate(insertions):
        blocks.insert(rows)
        for row in rows.tolist():
            model.setdefault(row, np.full(LENGTH, float(fill)))
            place = blocks.locate(np.array([row]))[0]
            blocks.planes["T"][place] += step + 1
            blocks.planes["hits"][place] += 10
            model[row] += step + 1
    assert blocks.rows.tolist() == sorted(model)
    for row, place in zip(blocks.rows.tolist(), range(len(model)), strict=True):
        assert blocks.planes["T"][place].tolist() == model[row].tolist()


@given(some_rows, some_rows)
def test_rows_rise_and_each_is_held_once(first, second):
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"})
    blocks.insert(first)
    blocks.insert(second)
    assert blocks.rows.tolist() == sorted({*first.tolist(), *second.tolist()})
    assert blocks.planes["T"].shape == (len(blocks.rows), LENGTH)


@given(some_rows, some_rows)
def test_locate_tells_places_of_rows_that_are_held_and_minus_one_of_others(held, asked):
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"})
    blocks.insert(held)
    in_order = sorted(set(held.tolist()))
    expected = [in_order.index(row) if row in in_order else -1 for row in asked.tolist()]
    assert blocks.locate(asked).tolist() == expected


@pytest.mark.parametrize("fill", [0, 1.5, -np.inf, np.inf])
def test_new_rows_hold_the_fill(fill):
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"}, fill=fill)
    blocks.insert(np.array([5]))
    blocks.planes["T"][:] = 3
    blocks.insert(np.array([2, 9]))
    assert blocks.planes["T"].tolist() == [[fill] * LENGTH, [3] * LENGTH, [fill] * LENGTH]


def test_planes_are_contiguous_and_of_their_own_kind_of_number():
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8", "hits": "i4", "seen": "?"})
    blocks.insert(np.array([7, 3]))
    blocks.insert(np.array([0]))
    assert {name: plane.dtype.str for name, plane in blocks.planes.items()} == {
        "T": "<f8",
        "hits": "<i4",
        "seen": "|b1",
    }
    assert all(plane.flags.c_contiguous for plane in blocks.planes.values())
    assert blocks.nbytes == 3 * LENGTH * (8 + 4 + 1)


def test_blocks_are_complete_only_when_all_rows_are_held():
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"})
    blocks.insert(np.arange(1, N_ROWS))
    assert not blocks.complete
    blocks.insert(np.array([0]))
    assert blocks.complete
    assert blocks.locate(np.array([11, 0, 4])).tolist() == [11, 0, 4]
    assert blocks.planes["T"].reshape(-1).shape == (N_ROWS * LENGTH,)


def test_inserting_nothing_new_leaves_the_arrays_in_place():
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"})
    blocks.insert(np.array([3, 7]))
    plane = blocks.planes["T"]
    blocks.insert(np.array([7]))
    blocks.insert(np.array([], np.int64))
    assert blocks.planes["T"] is plane


def test_blocks_that_are_like_others_have_the_planes_but_no_rows():
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8", "hits": "i4"}, fill=-1)
    blocks.insert(np.array([3, 7]))
    empty = blocks.like()
    assert (empty.n_rows, empty.row_length, empty.fill) == (N_ROWS, LENGTH, -1)
    assert list(empty.planes) == ["T", "hits"]
    assert empty.planes["hits"].dtype == np.int32
    assert len(empty.rows) == empty.nbytes == 0
    empty.insert(np.array([1]))
    assert blocks.rows.tolist() == [3, 7]


@pytest.mark.parametrize("row", [-1, N_ROWS, N_ROWS + 5])
def test_rows_that_cannot_be_are_refused(row):
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"})
    with pytest.raises(IndexError):
        blocks.insert(np.array([row]))
    assert len(blocks.rows) == 0


@given(
    st.lists(st.tuples(st.sampled_from(["append", "insert", "sort"]), some_rows), max_size=8),
    st.sampled_from([N_ROWS, 2**40]),
)
def test_rows_that_are_appended_stand_behind_the_others_until_they_are_sorted(steps, n_rows):
    """Against a plain list of rows, and numbers that tell them apart."""
    blocks = Blocks(n_rows, LENGTH, {"T": "f8", "hits": "i4"})
    order = []
    for step, rows in steps:
        if step == "sort":
            blocks.sort()
        else:
            getattr(blocks, step)(rows)
        new = sorted({*rows.tolist()} - {*order}) if step != "sort" else []
        order = order + new
        if step == "sort" or (new and step == "insert"):
            order.sort()
        assert blocks.rows.tolist() == order
        places = blocks.locate(np.arange(N_ROWS))
        assert places.tolist() == [order.index(r) if r in order else -1 for r in range(N_ROWS)]
        for row in new:
            assert not blocks.planes["T"][places[row]].any()
            blocks.planes["T"][places[row]] = row + 0.5
            blocks.planes["hits"][places[row]] = row
        assert blocks.planes["T"].tolist() == [[row + 0.5] * LENGTH for row in order]
        assert blocks.planes["hits"].tolist() == [[row] * LENGTH for row in order]
        assert all(plane.flags.c_contiguous for plane in blocks.planes.values())


def test_rows_keep_their_positions_as_long_as_others_are_only_appended():
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"})
    blocks.append(np.array([7]))
    moves = blocks.moves
    blocks.append(np.array([3, 9]))
    assert (blocks.moves, blocks.rows.tolist()) == (moves, [7, 3, 9])
    blocks.sort()
    assert blocks.moves > moves


def test_planes_that_others_put_there_are_not_appended_to_in_their_memory():
    """What lies behind a part of a larger array is not free."""
    blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"})
    blocks.append(np.arange(4))
    whole = np.ones((N_ROWS, LENGTH))
    blocks.planes["T"] = whole[:4]
    blocks.append(np.array([5]))
    assert blocks.planes["T"].tolist() == [[1] * LENGTH] * 4 + [[0] * LENGTH]
    assert whole.all()


@pytest.mark.parametrize("change", ["insert", "sort"])
def test_memory_that_rows_have_left_is_given_back(change):
    blocks = Blocks(2**16, 64, {"T": "f8", "Q": "f8"})
    tracemalloc.start()
    try:
        blocks.append(np.arange(1, 2**15))
        blocks.append(np.zeros(1, np.int64))
        if change == "sort":
            blocks.sort()
        else:
            blocks.insert(np.array([2**15]))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.7 * blocks.nbytes
