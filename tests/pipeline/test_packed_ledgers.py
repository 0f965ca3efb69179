"""Ledgers as arrays: what is unpacked is what was packed, and each thing is there once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from g3reduce.g3files.frames import Fingerprint
from g3reduce.pipeline.alike import with_keys_in_common
from g3reduce.pipeline.entries import Entry, LeftOut
from g3reduce.pipeline.ledger import Ledger, in_order_of_input
from g3reduce.pipeline.originals import Original
from g3reduce.pipeline.overlap import Index, to_be_compared
from g3reduce.pipeline.packedledgers import pack, unpack
from g3reduce.pipeline.repeated import repeated_in
from g3reduce.pipeline.units import UNPLACED, Unit

fewer = settings(max_examples=40)
# Names of files may be no UTF-8: Python writes the bytes as lone surrogates.
names = st.sampled_from(["", "a.g3", "b.g3", "folder/c.g3.gz", "\udcff.g3", "x/1/90GHz", "\0"])
originals = st.builds(Original, names, st.lists(names, max_size=2).map(tuple))
marks = st.none() | st.builds(Fingerprint, st.integers(0, 3), st.integers(0, 2**40))
units = st.builds(
    Unit,
    names,
    st.integers(-3, 3),
    st.integers(0, 3) | st.just(UNPLACED),
    st.booleans(),
    fingerprint=marks,
)
entries = st.builds(
    Entry,
    st.none() | units,
    st.lists(names, max_size=2).map(tuple),
    st.lists(originals, max_size=2).map(tuple),
    st.booleans(),
    st.booleans(),
    st.none() | originals,
    st.none() | units,
    st.booleans(),
    names,
    names,
    st.sampled_from([1, -1]),
    st.integers(-1, 2**40),
    st.floats(allow_nan=False),
    st.sampled_from([b"", b"", b"\x01\x02", b"\0"]),
)
left_out = st.builds(LeftOut, names, st.integers(-1, 5), names)


@st.composite
def ledgers(draw, drawn=entries, most=4):
    pool = draw(st.lists(drawn, min_size=1, max_size=6))
    picked = st.lists(st.sampled_from(pool), max_size=6)
    lists = st.lists(left_out, max_size=2)
    return [Ledger(draw(picked), draw(lists)) for _ in range(draw(st.integers(0, most)))]


def spelled(ledger):
    """All that is in a ledger, also what does not count where units are compared."""
    marks = [[unit and unit.fingerprint for unit in (e.unit, e.read)] for e in ledger]
    return repr(ledger.entries), marks, ledger.left_out


@fewer
@given(ledgers())
def test_what_is_unpacked_is_what_was_packed(packed):
    found = unpack(pack(packed))
    assert list(map(spelled, found)) == list(map(spelled, packed))


def many(n_frames, n_ledgers):
    names = [f"obs/obs_{at:06d}.g3" for at in range(n_frames)]
    files = [Original(name, (f"/there/{name}",)) for name in names]
    found = [
        Entry(
            *(Unit(one.name, 3, at, fingerprint=Fingerprint(at, 1000)), ("90GHz",), (one,)),
            *(False, True, one, Unit(one.name, 3, at), False, "90GHz", f"field/{at}"),
        )
        for at, one in enumerate(files)
    ]
    return [
        Ledger([one._replace(sign=-1) if at % 2 else one for one in found])
        for at in range(n_ledgers)
    ]


def test_a_frame_that_is_in_many_ledgers_is_there_once():
    one, forty = (len(pack(many(300, n))) for n in (1, 40))
    assert forty - one < 39 * 300 * 6
    found = unpack(pack(many(300, 40)))
    assert len({id(entry) for ledger in found for entry in ledger}) == 600  # of both signs
    strings: dict[str, str] = {}
    mine, theirs = (unpack(pack(many(10, 1)), strings)[0] for _ in range(2))
    assert mine.entries[3].map_ids[0] is theirs.entries[3].map_ids[0]


def first_overlap(groups):
    """What two groups have in common first, by comparing everything."""
    index = Index()
    for number, group in enumerate(groups):
        for entry in group:
            if (overlap := index.find(entry)) is not None:
                return number, entry, overlap
        for entry in group:
            index.add(entry, number)
    return None


# Of files that are not there, so that contents are compared by what is told of them.
single = st.builds(
    lambda file, index, mark, map_id, pixels: Entry(
        *(Unit(file, index, 0, fingerprint=mark), (map_id,), (Original(file, (file,)),)),
        *(False, True, Original(file, (file,)), Unit(file, index), False, map_id, "o/1", 1, pixels),
    ),
    st.sampled_from(["none/a.g3", "none/b.g3", "none/c.g3"]),
    st.integers(-2, 3),
    st.none() | st.builds(Fingerprint, st.integers(0, 3), st.just(10)),
    st.sampled_from(["90GHz", "150GHz"]),
    st.integers(0, 2),
)


@fewer
@given(ledgers(drawn=single) | ledgers())
def test_what_need_not_be_compared_has_nothing_in_common(found):
    groups = [ledger.entries for ledger in found]
    assert repr(first_overlap(to_be_compared(groups))) == repr(first_overlap(groups))


@given(st.lists(st.lists(st.lists(st.integers(0, 9), max_size=2, unique=True))))
def test_places_with_a_key_in_common(groups):
    keys = [key for group in groups for one in group for key in one]
    found = with_keys_in_common(groups, list)
    assert found == [
        [at for at, one in enumerate(group) if any(keys.count(key) > 1 for key in one)]
        for group in groups
    ]


@given(st.lists(st.sampled_from(["", "field/1", "field/2"])), st.data())
def test_observations_that_came_from_several_files(observations, data):
    found = []
    for at, observation in enumerate(observations):
        file = Original(f"{at}.g3", (data.draw(st.sampled_from("ab")),))
        found.append(Entry(Unit(file.name, 0), file=file, map_id="90GHz", observation=observation))
    keys = {
        one.observation: {e.file.keys for e in found if e.observation == one.observation}
        for one in found
        if one.observation
    }
    several = {observation for observation, files in keys.items() if len(files) > 1}
    assert {one.observation for one in repeated_in(found)} == several


def test_many_entries_come_in_the_order_of_few():
    found = [
        Entry(unit, read=unit)
        for at in range(3000)
        for unit in [Unit("a.g3", at % 7 - 1, (at * 7919) % 500 if at % 11 else UNPLACED)]
    ]
    assert in_order_of_input(found) == sorted(found, key=lambda entry: entry.input_order)
    assert in_order_of_input(found)[:10] == in_order_of_input(found[:])[:10]
