"""Maps that are found because their blob is like one before, against those that are looked for."""

from __future__ import annotations

import pytest
from anymaps import contents, geometries, skymaps, stored, weights
from hypothesis import given
from hypothesis import strategies as st
from mapblobs import blob_of, fewer, found_in
from skies import KINDS, map_frame

from g3reduce.g3files.frames import Unrecognised
from g3reduce.g3files.maps import find_maps
from g3reduce.g3files.outlines import Outline, Outlines


def outline_of(blob):
    source, found = found_in(blob, b"before")
    return Outline.of(source, 6, 6 + len(blob), found)


def found_by(outline, blob):
    """The maps in a blob by an outline, and those that there are."""
    source, expected = found_in(blob, b"behind it", b"ahead")
    return outline.find_maps(source, 9, 9 + len(blob)), expected


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, extent in found.items():
        other = expected[name]
        assert extent._replace(layout=None) == other._replace(layout=None)
        # They are compared when they are read.
        assert (extent.layout is None) == (other.layout is None)
        assert extent.layout is None or extent.layout.nbytes == other.layout.nbytes


@st.composite
def alike(draw):
    """Two maps of one geometry, stored alike."""
    blank = draw(geometries())
    how = draw(st.sampled_from(["sparse", "dense", "ring", "indexed"]))
    both = []
    for _ in range(2):
        blank.overflow = draw(st.floats(width=64))
        both.append(stored(blank, draw(contents(blank.size)), how))
    return both


@fewer
@given(alike())
def test_maps_that_differ_in_pixels_and_overflow_are_alike(both):
    first, second = both
    try:
        _, before = found_in(blob_of(first))
        outline = outline_of(blob_of(first))
        found, expected = found_by(outline, blob_of(second))
    except Unrecognised:  # rings in NESTED order
        return
    if before[""].storage == expected[""].storage:  # maps without pixels may have any
        assert found is not None
        assert outline_of(blob_of(second)).empty == outline.empty
    if found is not None:
        assert_same(found, expected)


@fewer
@given(st.one_of(skymaps(), weights()), st.one_of(skymaps(), weights()))
def test_what_is_found_in_any_blob_is_there(first, second):
    try:
        found, expected = found_by(outline_of(blob_of(first)), blob_of(second))
    except Unrecognised:
        return
    if found is not None:
        assert_same(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_other_footprints_are_alike(kind):
    first, second = (blob_of(map_frame(kind, "polarized", seed)["Wpol"]) for seed in (0, 1))
    found, expected = found_by(outline_of(first), second)
    assert_same(found, expected)


@pytest.mark.parametrize("kind", ["flat dense", "healpix dense", "healpix indexed"])
def test_a_blob_that_is_cut_short_is_not_alike(kind):
    blob = blob_of(map_frame(kind, "polarized", 0)["Wpol"])
    source, _ = found_in(blob)
    for cut in range(1, 40):
        assert outline_of(blob).find_maps(source, 0, len(blob) - cut) is None


def test_maps_of_a_few_kinds_may_come_in_turn():
    blobs = [blob_of(map_frame(kind, "polarized", 0)["T"]) for kind in KINDS[:4]]
    outlines, looked_for = Outlines(), []
    for blob in blobs * 2:
        source, expected = found_in(blob)

        def look(source=source, blob=blob):
            looked_for.append(blob)
            return find_maps(source, 0, len(blob))

        found, outline = outlines.find_maps("T", source, 0, len(blob), look)
        assert_same(found, expected)
        assert outline.empty == outline_of(blob).empty
    assert looked_for == blobs
