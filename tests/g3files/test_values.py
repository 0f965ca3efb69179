"""Strings that are read from the bytes of a frame: those that spt3g reads, or none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from spt3g import core

from g3reduce.g3files.frames import walk
from g3reduce.g3files.source import MemoryBytes
from g3reduce.g3files.values import (
    integer_in,
    named_numbers_in,
    named_strings_in,
    string_in,
    strings_in,
)

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


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_is_that_of_spt3g(value):
    blob = blob_of(core.G3Int(value))
    assert integer_in(blob) == value
    assert integer_in(blob[:-1]) is None
    assert integer_in(blob_of("x")) is None


names = st.dictionaries(text, st.lists(text, max_size=3), max_size=3)
numbers = st.dictionaries(text, st.lists(st.floats(allow_nan=False), max_size=3), max_size=3)


@given(names, numbers, st.data())
def test_vectors_with_names_are_those_of_spt3g(texts, floats, data):
    for value, read, other in (
        (core.G3MapVectorString(texts), named_strings_in, named_numbers_in),
        (core.G3MapVectorDouble(floats), named_numbers_in, named_strings_in),
    ):
        blob = blob_of(value)
        assert read(blob) == {name: list(value[name]) for name in value.keys()}  # noqa: SIM118
        assert other(blob) is None
        cut = data.draw(st.integers(0, len(blob) - 1))
        assert read(blob[:cut]) is None
        assert read(blob + b"x") is None


def test_vectors_that_claim_more_than_there_is_are_none():
    blob = blob_of(core.G3MapVectorDouble({"a": [1.0]}))
    assert named_numbers_in(blob[:-16] + (2**61).to_bytes(8, "little") + blob[-8:]) is None
    blob = blob_of(core.G3MapVectorString({"a": ["b"]}))
    assert named_strings_in(blob[:-17] + (2**61).to_bytes(8, "little") + blob[-9:]) is None
