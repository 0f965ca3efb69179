"""Merging the metadata at the head of the files of a parallel block: a pure plan."""

import pickle

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from g3reduce.errors import MismatchError
from g3reduce.pipeline.leaders import JOINED, Conflict, Leader, merge

KINDS = ("Calibration", "Observation", "Wiring", JOINED)

# For each file of a block the kinds of its leaders. Their content follows from kind and place.
BLOCKS = st.lists(st.lists(st.sampled_from(KINDS), max_size=6), max_size=5)


def leaders_of(block, differing=()):
    """Leaders of a block; those of `differing`, (file, frame), have a content of their own."""
    for position, kinds in enumerate(block):
        for index, kind in enumerate(kinds):
            place = kinds[:index].count(kind)
            content = f"{kind} {place}"
            if (position, index) in differing or kind == JOINED:
                content += f" of {position}"
            digests = (("Common", "0"), ("Key", content))
            yield Leader(position, index, kind, digests, f"f{position}.g3")


def place_of(block, leader):
    return leader.kind, block[leader.position][: leader.index].count(leader.kind)


@given(BLOCKS, st.randoms(use_true_random=False))
def test_each_leader_comes_once_in_list_order_whoever_read_it(block, random):
    leaders = list(leaders_of(block))
    random.shuffle(leaders)
    merged = merge(leaders)
    in_order = [place_of(block, leader) for leader in leaders_of(block)]
    assert [place_of(block, same[0]) for same in merged] == list(dict.fromkeys(in_order))
    for same in merged:
        earliest = in_order.index(place_of(block, same[0]))
        assert same[0] == list(leaders_of(block))[earliest], "the first file that has it gives it"


@given(BLOCKS)
def test_a_file_that_has_all_leaders_and_comes_first_gives_the_order(block):
    longest = max(block, key=len, default=[])
    others = [kinds[: len(kinds) // 2] for kinds in block]
    shorter = [kinds for kinds in others if all(kinds.count(k) <= longest.count(k) for k in KINDS)]
    merged = merge(leaders_of([longest, *shorter]))
    assert [same[0].kind for same in merged] == longest


@given(BLOCKS)
def test_pipeline_info_is_joined_from_all_files(block):
    for same in merge(leaders_of(block)):
        kind, place = place_of(block, same[0])
        having = [p for p, kinds in enumerate(block) if kinds.count(kind) > place]
        expected = having if kind == JOINED else having[:1]
        assert [leader.position for leader in same] == expected


@given(BLOCKS, st.data())
def test_leaders_that_differ_are_an_error_that_names_them(block, data):
    in_two_files = [
        (leader.position, leader.index)
        for leader in leaders_of(block)
        if leader.kind != JOINED
        and any(
            place_of(block, other) == place_of(block, leader) and other.position != leader.position
            for other in leaders_of(block)
        )
    ]
    assume(in_two_files)
    position, index = data.draw(st.sampled_from(in_two_files))
    with pytest.raises(Conflict) as caught:
        merge(leaders_of(block, differing={(position, index)}))
    text = str(caught.value)
    assert f"f{position}.g3, frame {index}" in text
    assert block[position][index] in text
    assert "not the same in both: 'Key'" in text
    assert "'Common'" not in text


def leader(position, *digests, kind="Calibration"):
    return Leader(position, 3, kind, digests, f"obs{position}.g3")


def test_the_text_of_a_conflict():
    one = leader(1, ("Gains", "a"), ("Mask", "b"), ("Old", "c"))
    two = leader(2, ("Gains", "x"), ("Mask", "b"), ("New", "c"))
    with pytest.raises(MismatchError) as caught:
        merge([two, one])
    assert str(caught.value) == (
        "obs1.g3, frame 3 and obs2.g3, frame 3: each is Calibration frame number 1 of its file, "
        "but they differ (only obs1.g3 has 'Old'; only obs2.g3 has 'New'; not the same in both: "
        "'Gains'), so it is not clear which of them belongs to the data of a parallel block. Read "
        "these files one after another (not in a nested list), or count Calibration among the "
        "dataframetype."
    )


def test_a_conflict_names_no_more_than_a_few_keys():
    one = leader(0, *((f"Key{i}", "a") for i in range(9)))
    with pytest.raises(Conflict, match=r"'Key0', .*'Key4', and 4 more keys\)"):
        merge([one, leader(1, *((f"Key{i}", "b") for i in range(9)))])


def test_a_conflict_travels():
    error = Conflict(leader(0, ("Key", "a")), leader(1, ("Key", "b")), 0)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.second == error.second


def test_nothing_merges_to_nothing():
    assert merge([]) == []
