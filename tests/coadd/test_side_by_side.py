"""Frames that are added side by side: in their order wherever they meet."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from skies import pixels, write_frames
from spt3g import core, maps

from g3reduce import MPIMapCoadder
from g3reduce.coadd.adding import side_by_side
from g3reduce.maps.mapfile import frames_of

ends = st.lists(st.integers(1, 30), max_size=8).map(sorted)


@given(st.lists(ends, min_size=1, max_size=5))
def test_no_frame_gets_ahead_of_those_before_it_and_none_is_left_behind(cases):
    taken = []

    def adding(number):
        for end in cases[number]:
            taken.append((number, end))
            yield

    side_by_side([adding(number) for number in range(len(cases))], cases)
    assert sorted(taken) == sorted(
        (number, end) for number, ends in enumerate(cases) for end in ends
    )
    for index, (number, end) in enumerate(taken):
        before = taken[:index]
        for other in range(number):
            done = [one for one in before if one[0] == other]
            reached = max((one[1] for one in done), default=0)
            if len(done) == len(cases[other]):
                reached = math.inf
            assert reached >= end


def test_frames_of_equal_parts_are_added_in_turn():
    taken = []

    def adding(number):
        for part in range(3):
            taken.append((part, number))
            yield

    side_by_side([adding(number) for number in range(3)], [[10, 20, 30]] * 3)
    assert taken == [(part, number) for part in range(3) for number in range(3)]


@pytest.mark.parametrize("in_memory", range(3))
def test_frames_in_memory_keep_their_place_among_those_in_files(tmp_path, limits, in_memory):
    limits(small_frame=0)
    frames = []
    for value in (1e16, 1.0, -1e16):
        skymap = maps.FlatSkyMap(30, 20, 1.0, weighted=True, pol_type=maps.MapPolType.T)
        skymap.sparse = True
        skymap[7] = value
        frame = core.G3Frame(core.G3FrameType.Map)
        frame["Id"], frame["T"] = "150GHz", skymap
        frames.append(frame)
    stored = [next(frames_of(file)) for file in write_frames(tmp_path, frames)]
    stored[in_memory] = frames[in_memory]
    coadder = MPIMapCoadder()
    coadder.add_taken([coadder.take(frame) for frame in stored])
    # In another order the sum is 1.
    assert pixels(coadder.finish().frame["T"]).flat[7] == 0.0
