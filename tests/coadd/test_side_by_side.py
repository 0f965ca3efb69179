"""Frames that are added side by side: in their order wherever they meet."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from g3reduce.coadd.intake import side_by_side

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
