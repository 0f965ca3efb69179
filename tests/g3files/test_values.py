"""Strings that are read from the bytes of a frame: those that spt3g reads, or none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from spt3g import core

from g3reduce.g3files.frames import walk
from g3reduce.g3files.source import MemoryBytes
from g3reduce.g3files.values import string_in, strings_in

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


def blob_of(value):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Key"] = value
    (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
    return raw.content(raw.blobs[0])


@given(text)
def test_a_string_is_that_of_spt3g(value):
    assert string_in(blob_of(value)) == value
    assert strings_in(blob_of(value)) is None


@given(st.lists(text, max_size=5))
def test_strings_are_those_of_spt3g(values):
    blob = blob_of(core.G3VectorString(values))
    assert strings_in(blob) == values
    assert string_in(blob) is None


@given(st.lists(text, max_size=4), st.data())
def test_lengths_that_do_not_add_up_are_refused(values, data):
    blob = blob_of(core.G3VectorString(values))
    cut = data.draw(st.integers(0, len(blob) - 1))
    assert strings_in(blob[:cut]) is None
    assert strings_in(blob + b"x") is None
    claimed = blob[: len(blob) - sum(8 + len(value.encode()) for value in values) - 8]
    assert strings_in(claimed + (2**62).to_bytes(8, "little") + b"12345678" * 3) is None


@given(st.one_of(st.integers(-5, 5), st.lists(st.floats(), max_size=3).map(core.G3VectorDouble)))
def test_other_objects_are_none(value):
    assert string_in(blob_of(value)) is None
    assert strings_in(blob_of(value)) is None
