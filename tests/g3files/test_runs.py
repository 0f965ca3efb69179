"""Layouts of runs: which pixels they name, how they are read in parts, and what is refused."""

from __future__ import annotations

import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from anymaps import STEPS, in_steps_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spt3g import maps

from g3reduce import InputError
from g3reduce.g3files.lines import Columns, Rings
from g3reduce.g3files.runs import Layouts, RunLayout, layout_of, learn
from g3reduce.g3files.source import MemoryBytes

fewer = settings(max_examples=60)
HEADERS = np.dtype([("start", "<i4"), ("length", "<u8")])


@st.composite
def all_lines(draw):
    if draw(st.booleans()):
        return Columns(draw(st.integers(1, 9)), draw(st.integers(1, 12)))
    return Rings(draw(st.sampled_from([1, 2, 4, 8])), draw(st.booleans()))


@st.composite
def layouts(draw):
    """Lines, the first line, and for each the start and the length of its run."""
    lines = draw(all_lines())
    room = lines.lengths(0, 2**40).tolist()
    offset = draw(st.integers(0, len(room) - 1))
    found = []
    for places in room[offset : offset + draw(st.integers(0, len(room) - offset))]:
        length = draw(st.integers(0, places))
        start = draw(st.integers(0, places - length)) if length else draw(st.integers(-9, 99))
        found.append((start, length))
    return lines, offset, found


def archive(lines, offset, found, values, shape=None):
    """The runs as spt3g writes them."""
    data = struct.pack("<QQQQ", *(shape or lines.shape), offset, len(found))
    values = iter(values)
    for start, length in found:
        data += struct.pack("<iQ", start, length)
        data += struct.pack(f"<{length}d", *(next(values) for _ in range(length)))
    return data


def numbers_of(lines, offset, found):
    """The number of each pixel, one by one."""
    numbers = []
    begin = np.cumsum(lines.lengths(0, 2**40)) - lines.lengths(0, 2**40)
    for line, (start, length) in enumerate(found, offset):
        around = int(lines.lengths(0, 2**40)[line])
        for place in range(start, start + length):
            if isinstance(lines, Rings) and lines.shifted:
                place = (place + around // 2) % around
            numbers.append(int(begin[line]) + place)
    return numbers


def learnt(lines, data):
    return learn(MemoryBytes(b"before" + data + b"behind"), lines, 6, 6 + len(data))


# Runs are read whole, so that a step need not end where a header or a value does.
ANY_STEPS = (9, 17, 64, *STEPS)


@fewer
@given(layouts(), st.sampled_from(ANY_STEPS))
def test_what_is_learnt_is_what_is_written(case, step):
    lines, offset, found = case
    n = sum(length for _, length in found)
    data = archive(lines, offset, found, np.arange(n))
    with in_steps_of(step):
        layout, begin = learnt(lines, data)
        assert begin == 6 + 32
        assert (layout.offset, len(layout), layout.size) == (offset, len(found), n)
        assert list(zip(layout.starts, layout.lengths, strict=True)) == found
        assert layout.nbytes == len(data) - 32
        assert layout.pixels().tolist() == numbers_of(*case)
        stretches = [
            np.arange(first, first + length)
            for first, length in zip(*layout.stretches[:2], strict=True)
        ]
        assert np.concatenate([[], *stretches]).tolist() == layout.pixels().tolist()
        assert len(layout.stretches.of_run) == len(found) + 1
        # Each part gives its values, and nothing is left out or there twice.
        values, position = [], 0
        for part in layout.groups:
            assert part.begin == position
            assert part.nbytes <= step or part.last == part.first + 1
            raw = layout.copier(part).raw
            raw[:] = np.frombuffer(data[32:], np.uint8)[part.begin : part.begin + part.nbytes]
            assert layout.copier(part).has_these_runs()
            values += layout.unpack(part).tolist()
            assert len(values) == part.stop
            position += part.nbytes
        assert values == list(range(n))
        assert position == layout.nbytes
        assert b"".join(bytes(piece) for piece in layout.packed(np.arange(n) * 1.0)) == data[32:]


@fewer
@given(layouts(), st.sampled_from(ANY_STEPS), st.data())
def test_parts_are_on_the_lines_of_those_of_another_layout(case, step, data):
    """From whatever part on the runs turn out to be others than expected."""
    lines, offset, found = case
    assume(found)
    with in_steps_of(step):
        other = RunLayout(lines, offset, np.zeros(len(found), HEADERS))
        layout, _ = learnt(lines, archive(lines, offset, found, np.zeros(10**4)))
        expected = other.groups[data.draw(st.integers(0, len(other.groups) - 1)) :]
        lengths = [length for _, length in found]
        parts = layout.groups_like(expected)
        assert [part[4:] for part in parts] == [part[4:] for part in expected]
        for part in parts:
            assert part.start == sum(lengths[: part.first])
            assert part.stop == sum(lengths[: part.last])
            assert part.begin == 12 * part.first + 8 * part.start
            assert part.nbytes == 12 * (part.last - part.first) + 8 * (part.stop - part.start)


@fewer
@given(layouts(), st.data())
def test_other_runs_than_these_are_noticed(case, data):
    lines, offset, found = case
    assume(found)
    layout, _ = learnt(lines, archive(lines, offset, found, np.zeros(10**4)))
    part = data.draw(st.sampled_from(layout.groups))
    mine = np.frombuffer(archive(lines, offset, found, np.zeros(10**4))[32:], np.uint8)
    raw = layout.copier(part).raw
    raw[:] = mine[part.begin : part.begin + part.nbytes]
    run = data.draw(st.integers(part.first, part.last - 1))
    place = 12 * run + 8 * sum(length for _, length in found[:run])
    raw[place - part.begin + data.draw(st.integers(0, 11))] ^= 1
    assert not layout.copier(part).has_these_runs()


@fewer
@given(layouts())
def test_a_layout_is_the_same_one_when_it_is_met_again_and_on_other_ranks(case):
    lines, offset, found = case
    data = archive(lines, offset, found, np.zeros(10**4))
    with in_steps_of(64):
        first, _ = learnt(lines, data)
        second, _ = learnt(lines, data)
        assert first is second
        other = pickle.loads(pickle.dumps(first))
        assert other is not first
        assert (other.key, other.digest) == (first.key, first.digest)
        assert other.pixels().tolist() == first.pixels().tolist()
        if found:
            start, length = found[0]
            changed = [(start + 1, 0) if not length else (start, length - 1), *found[1:]]
            third, _ = learnt(lines, archive(lines, offset, changed, np.zeros(10**4)))
            assert third.digest != first.digest


@fewer
@given(all_lines(), st.data())
def test_the_layout_of_pixels_spans_them_on_each_line(lines, data):
    size = int(lines.lengths(0, 2**40).sum())
    numbers = st.integers(0, size - 1)
    chosen = sorted(data.draw(st.lists(numbers, unique=True, max_size=30)))
    layout, places = layout_of(lines, np.array(chosen, np.int64))
    assert layout.pixels()[places].tolist() == chosen
    assert len(set(layout.pixels().tolist())) == layout.size
    ends = {0, *(layout.ends - 1).tolist(), *(layout.ends - layout.lengths).tolist()}
    outer = {int(layout.pixels()[i]) for i in ends if layout.size and i < layout.size}
    assert outer <= set(chosen)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("nside", [1, 2, 8])
def test_pixels_lie_on_rings_where_spt3g_has_them(nside, shifted):
    skymap = maps.HealpixSkyMap(nside=nside, shift_ra=shifted, weighted=True)
    rng = np.random.default_rng(nside)
    chosen = np.sort(rng.choice(12 * nside**2, 3 * nside, replace=False))
    for pixel in chosen.tolist():
        skymap[pixel] = 1.0
    skymap.ringsparse = True
    layout, _ = layout_of(Rings(nside, shifted), chosen)
    data = b"".join(bytes(piece) for piece in layout.packed(np.isin(layout.pixels(), chosen) * 1.0))
    assert skymap._cereal_dumps().endswith(layout.head + data)


def test_only_the_last_layouts_are_kept_and_the_last_comes_first():
    known = Layouts(keep=3)
    made = [RunLayout(Columns(9, 9), i, np.zeros(1, HEADERS)) for i in range(5)]
    for layout in made:
        assert known.intern(layout) is layout
    assert list(known) == made[:1:-1]
    again = RunLayout(Columns(9, 9), 2, np.zeros(1, HEADERS))
    assert known.intern(again) is made[2]
    assert list(known) == [made[2], made[4], made[3]]


FLAT = Columns(4, 5)
RINGS = Rings(2, False)
REFUSED = {
    "a run before the line": (FLAT, 0, [(-1, 2)]),
    "a run beyond the line": (FLAT, 0, [(3, 3)]),
    "a run that is longer than the line": (FLAT, 0, [(0, 6)]),
    "more lines than there are": (FLAT, 2, [(0, 1), (0, 1), (0, 1)]),
    "lines that begin behind the map": (FLAT, 5, []),
    "a run on ring 0, which is empty": (RINGS, 0, [(0, 1)]),
    "a run round its ring and on": (RINGS, 1, [(1, 4)]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_runs_that_are_not_on_the_map_are_refused(what):
    lines, offset, found = REFUSED[what]
    with pytest.raises(InputError):
        learnt(lines, archive(lines, offset, found, np.zeros(100)))


@pytest.mark.parametrize("count", [6, 2**20, 2**32, 2**62, 2**63, 2**64 - 1])
@pytest.mark.parametrize("where", ["length", "number of runs", "first line", "lines"])
def test_counts_that_are_too_large_are_refused_at_once(where, count):
    data = bytearray(archive(FLAT, 0, [(0, 3), (0, 2)], np.zeros(5)))
    place = {"length": 36, "number of runs": 24, "first line": 16, "lines": 0}[where]
    data[place : place + 8] = struct.pack("<Q", count)
    with pytest.raises(InputError):
        learnt(FLAT, bytes(data))


def test_runs_that_are_cut_off_are_refused():
    data = archive(FLAT, 0, [(0, 3), (1, 2)], np.ones(5))
    for cut in range(len(data)):
        with pytest.raises((InputError, struct.error)):
            learnt(FLAT, data[:cut])


def test_headers_that_lie_far_apart_and_close_together_are_all_found(limits):
    lines = Columns(300, 2000)
    found = [(i % 7, 1500 if i % 3 == 0 else i % 5) for i in range(300)]
    data = archive(lines, 0, found, np.arange(300_000))
    for near in (12, 100, 4096, 10**6):
        limits(near_header=near)
        layout, _ = learnt(lines, data)
        assert list(zip(layout.starts, layout.lengths, strict=True)) == found


def test_a_map_that_says_it_is_large_takes_no_more_memory_than_its_runs():
    lines = Columns(2**22, 4)
    data = archive(lines, 2**21, [(0, 3), (1, 2)], np.ones(5))
    tracemalloc.start()
    try:
        layout, _ = learnt(lines, data)
        assert layout.pixels().tolist() == numbers_of_columns(lines, layout)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def numbers_of_columns(lines, layout):
    found = zip(layout.starts.tolist(), layout.lengths.tolist(), strict=True)
    return [
        (layout.offset + i) * lines.n_y + start + place
        for i, (start, length) in enumerate(found)
        for place in range(length)
    ]
