"""Units of input, and the ledger of those that were counted."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spt3g import core

from g3reduce import DuplicateError
from g3reduce.coadd.provenance import ObservationId
from g3reduce.pipeline.ledger import Entry, Ledger, Unit, merge, set_unit, unit_of


def entry(file="a.g3", index=0, position=0, map_ids=(), files=None):
    unit = Unit(file, index, position)
    return Entry.of(unit, tuple(map_ids), files and tuple(files))


@st.composite
def shared_out(draw):
    """Entries of different units in the order of the input, and who counted each of a few ranks."""
    n_frames = draw(st.lists(st.integers(0, 3), max_size=5))
    entries = [
        entry(f"f{position}.g3", index, position, [f"id{draw(st.integers(0, 2))}"])
        for position, frames in enumerate(n_frames)
        for index in range(frames)
    ]
    owners = [draw(st.integers(0, 3)) for _ in entries]
    return entries, owners, draw(st.randoms(use_true_random=False))


@given(shared_out())
def test_the_merged_ledger_is_the_serial_one_whoever_counted_what_and_when(case):
    entries, owners, order = case
    ledgers = [Ledger() for _ in range(4)]
    pairs = list(zip(entries, owners, strict=True))
    order.shuffle(pairs)
    for one, rank in pairs:
        ledgers[rank].record(one)
    merged = merge(ledgers, once=True)
    assert merged.entries == entries
    assert merged.files() == list(dict.fromkeys(e.unit.file for e in entries))
    assert merged.map_ids() == list(dict.fromkeys(name for e in entries for name in e.map_ids))


def test_frames_of_no_file_come_last_in_the_order_of_ranks():
    made = [Entry.of(None, (f"made on {rank}",)) for rank in range(3)]
    ledgers = [Ledger([made[0], entry("b.g3", 0, 1)]), Ledger([made[1]]), Ledger([made[2]])]
    ledgers[2].record(entry("a.g3", 5, 0))
    merged = merge(ledgers, once=True)
    assert [e.unit and e.unit.file for e in merged.entries] == ["a.g3", "b.g3", None, None, None]
    assert merged.map_ids() == ["made on 0", "made on 1", "made on 2"]


def test_a_frame_that_comes_twice_is_refused_with_the_way_out():
    ledger = Ledger()
    ledger.record(entry("some/file.g3", 3))
    ledger.refuse_duplicate(entry("some/file.g3", 4))
    with pytest.raises(DuplicateError) as caught:
        ledger.refuse_duplicate(entry("some/file.g3", 3))
    assert str(caught.value).startswith("some/file.g3, frame 3 came twice")
    assert 'on_duplicate="sum"' in str(caught.value)


def test_refusing_does_not_count_by_itself():
    ledger = Ledger()
    ledger.refuse_duplicate(entry())
    ledger.refuse_duplicate(entry())
    assert ledger.entries == []


def test_a_file_is_known_by_any_of_its_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real.g3").touch()
    os.symlink("real.g3", tmp_path / "link.g3")
    ledger = Ledger([entry("real.g3")])
    for name in ("link.g3", "./real.g3", str(tmp_path / "real.g3")):
        with pytest.raises(DuplicateError, match="came twice"):
            ledger.refuse_duplicate(entry(name))


def test_a_name_means_another_file_once_the_folder_has_changed(tmp_path, monkeypatch):
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        paths.append(entry("same.g3").frames)
    assert paths == [[(str(tmp_path / folder / "same.g3"), 0)] for folder in ("one", "two")]


def test_streams_are_not_taken_for_files():
    ledger = Ledger([entry("tcp://host:1234")])
    assert ledger.entries[0].frames == [("tcp://host:1234", 0)]


def test_frames_of_no_file_are_never_duplicates():
    ledger = Ledger([Entry.of(None, ("a",))])
    ledger.refuse_duplicate(Entry.of(None, ("a",)))
    both = merge([ledger, Ledger([Entry.of(None, ("a",))])], once=True)
    assert len(both.entries) == 2


def test_a_unit_on_two_ranks_is_an_error_that_names_both():
    ledgers = [Ledger(), Ledger([entry("x.g3", 7)]), Ledger(), Ledger([entry("x.g3", 7)])]
    with pytest.raises(DuplicateError) as caught:
        merge(ledgers, once=True)
    text = str(caught.value)
    assert text.startswith("x.g3, frame 7 was counted on rank 1 and on rank 3")
    assert "MPIFileReader(mpicomm, [files])" in text
    assert len(merge(ledgers, once=False).entries) == 2


def test_different_frames_of_one_file_may_be_on_two_ranks():
    assert (
        len(merge([Ledger([entry("x.g3", 7)]), Ledger([entry("x.g3", 8)])], once=True).entries) == 2
    )


def test_ids_and_files_are_listed_once_in_order():
    ledger = Ledger([entry("b.g3", 0, 0, ["90GHz", "150GHz"]), entry("b.g3", 1, 0, ["90GHz"])])
    ledger.record(entry("a.g3", 0, 1, ["220GHz"], files=["old1.g3", "b.g3"]))
    assert ledger.map_ids() == ["90GHz", "150GHz", "220GHz"]
    assert ledger.files() == ["b.g3", "old1.g3"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1), st.randoms())
def test_the_input_order_is_the_lowest_of_all(places, order):
    ledger = Ledger([entry(f"f{file}.g3", index, file) for file, index in places])
    order.shuffle(ledger.entries)
    assert ledger.input_order() == min(places)
    assert Ledger().input_order() > ledger.input_order()
    assert Ledger([Entry.of(None)]).input_order() > ledger.input_order()


def test_a_unit_travels_with_its_frame():
    frame, unit = core.G3Frame(core.G3FrameType.Map), Unit("a.g3", 4)
    assert unit_of(frame) is None
    set_unit(frame, unit)
    assert unit_of(frame) == unit
    assert str(unit) == "a.g3, frame 4"


def test_an_attribute_of_the_users_is_not_taken_for_a_unit():
    frame = core.G3Frame(core.G3FrameType.Map)
    frame.unit = "Tcmb"
    assert unit_of(frame) is None


def observation(source, number, unit=None):
    frame = core.G3Frame(core.G3FrameType.Observation)
    frame["SourceName"] = source
    frame["ObservationID"] = number
    if unit:
        set_unit(frame, unit)
    return frame


def test_the_observation_of_a_map_is_the_one_of_its_own_file():
    current = ObservationId()
    assert current.of(Unit("a.g3", 1)) == ""
    current.observe(core.G3Frame(core.G3FrameType.Wiring))
    current.observe(observation("ra0hdec-44.75", 1234, Unit("a.g3", 0)))
    assert current.of(Unit("a.g3", 1)) == "ra0hdec-44.75/1234"
    assert current.of(Unit("b.g3", 1)) == ""


def test_an_observation_that_all_ranks_see_holds_for_all_files_without_their_own():
    current = ObservationId()
    current.observe(observation("all", 1, Unit("cal.g3", 0, shared=True)))
    assert current.of(Unit("b.g3", 1)) == current.of(None) == "all/1"
    current.observe(observation("b", 2, Unit("b.g3", 0)))
    assert current.of(Unit("b.g3", 1)) == "b/2"
    assert current.of(Unit("c.g3", 1)) == "all/1"


def test_an_observation_made_in_the_pipeline_holds_for_all_that_follows():
    current = ObservationId()
    current.observe(observation("made", 3))
    assert current.of(None) == current.of(Unit("x.g3", 0)) == "made/3"
    current.observe(observation("made", 4))
    assert current.of(None) == "made/4"
