"""The archive of a plane is cut into the parts that ranks write: all of it, each byte by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from g3reduce.g3files.lines import Columns
from g3reduce.g3files.runcopier import HEADERS
from g3reduce.g3files.runs import RunLayout
from g3reduce.maps.shares import _NOTHING, _cut, _layout_over, _Stretches

N_X, N_Y = 6, 8
HEADER = HEADERS.itemsize


def told_of(pixels):
    """What a rank says that has these pixels, of columns of which each is a line."""
    if not pixels:
        return _NOTHING
    lines = np.array(sorted(pixels)) // N_Y
    positions = np.array(sorted(pixels)) % N_Y
    offset, count = lines[0], lines[-1] - lines[0] + 1
    starts, lengths = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for line in range(count):
        here = positions[lines == offset + line]
        if len(here):
            starts[line], lengths[line] = here[0], here[-1] - here[0] + 1
    new = np.diff(lines * N_Y + positions, prepend=-2) != 1
    new |= np.diff(lines, prepend=-1) != 0
    return _Stretches(int(offset), starts, lengths, lines[new], positions[new])


def in_stretches(cuts):
    """The owner of each pixel, where each rank has all pixels from one cut to the next."""
    return [sum(cut <= pixel for cut in cuts) for pixel in range(N_X * N_Y)]


@given(
    owners=st.lists(st.integers(-1, 4), min_size=N_X * N_Y, max_size=N_X * N_Y)
    | st.lists(st.integers(0, N_X * N_Y), min_size=3, max_size=3).map(in_stretches)
)
def test_each_byte_is_of_one_rank_and_each_pixel_of_its_own(owners):
    ranks = [[p for p, owner in enumerate(owners) if owner == rank] for rank in range(5)]
    told = [told_of(pixels) for pixels in ranks]
    layout = _layout_over(Columns(N_X, N_Y), told)
    written = np.full(layout.nbytes, -1)
    for rank in range(5):
        for begin, end in _cut(layout, told, rank):
            assert begin < end
            assert np.all(written[begin:end] == -1)
            written[begin:end] = rank
    assert np.all(written >= 0)
    for rank, pixels in enumerate(ranks):
        places = layout.places(np.array(pixels, int) // N_Y, np.array(pixels, int) % N_Y)
        for place in places.tolist():
            assert np.all(written[place : place + 8] == rank)


def test_without_pixels_the_first_rank_writes_headers():
    assert _cut(_layout_over(Columns(N_X, N_Y), [_NOTHING] * 2), [_NOTHING] * 2, 0) == []
    layout = RunLayout(Columns(N_X, N_Y), 0, np.zeros(3, HEADERS))
    assert _cut(layout, [_NOTHING] * 2, 0) == [(0, 3 * HEADER)]
    assert _cut(layout, [_NOTHING] * 2, 1) == []
