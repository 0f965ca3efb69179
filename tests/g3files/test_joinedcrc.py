"""The checksum of a whole from those of its parts, each of which is known by itself."""

import google_crc32c
from hypothesis import given
from hypothesis import strategies as st

from g3reduce.g3files.frames import CRC_START
from g3reduce.g3files.joinedcrc import PartsChecksum

LONG = 5 * 2**30  # bytes, more than 32 bits can count


def checksum_of(data):
    """What stands at the end of a frame of these bytes."""
    return google_crc32c.extend(CRC_START, data) ^ 0xFFFFFFFF


@given(
    data=st.binary(max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    owners=st.lists(st.integers(0, 2), min_size=7, max_size=7),
    backwards=st.booleans(),
)
def test_parts_of_three_make_the_whole(data, cuts, owners, backwards):
    borders = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    parts = list(zip(borders, borders[1:], owners, strict=False))
    ranks = [PartsChecksum(len(data)) for _ in range(3)]
    for begin, end, owner in reversed(parts) if backwards else parts:
        ranks[owner].add(begin, data[begin:end])
    assert ranks[0].total ^ ranks[1].total ^ ranks[2].total == checksum_of(data)


@given(data=st.binary(min_size=1, max_size=50), ahead=st.integers(0, 60), behind=st.integers(0, 60))
def test_what_is_not_there_is_zeros(data, ahead, behind):
    parts = PartsChecksum(ahead + len(data) + behind)
    parts.add(ahead, data)
    assert parts.total == checksum_of(bytes(ahead) + data + bytes(behind))
    assert parts.total == parts.total  # which asking does not change


def test_a_whole_of_more_than_4_gib():
    # Bytes with 5 GiB of zeros behind them, by an independent way: x ** (8 n) by repeated squaring
    # of the matrix that puts one zero byte behind.
    parts = PartsChecksum(3 + LONG)
    parts.add(0, b"abc")
    columns = [google_step(1 << bit) for bit in range(32)]
    state, left = checksum_of(b"abc"), LONG
    while left:
        if left & 1:
            state = applied(columns, state)
        columns = [applied(columns, column) for column in columns]
        left >>= 1
    assert parts.total == state


def google_step(state):
    """The checksum with one byte of zeros more."""
    return google_crc32c.extend(state ^ 0xFFFFFFFF, b"\0") ^ 0xFFFFFFFF


def applied(columns, state):
    found = 0
    for bit, column in enumerate(columns):
        if state >> bit & 1:
            found ^= column
    return found


def test_bytes_are_taken_in_steps(limits):
    limits(step=16)
    data = bytes(range(256))
    parts = PartsChecksum(len(data))
    parts.add(0, data)
    assert parts.total == checksum_of(data)
