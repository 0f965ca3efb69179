"""States of running sums: what is written is what is taken up again, to the bit."""

from __future__ import annotations

import itertools
import json

import anynumbers
import numpy as np
import pytest
import skies
import sumstates
from choices import ALL
from hypothesis import given, settings
from hypothesis import strategies as st
from mapsums import STORAGES, added, emptied
from spt3g import core

from g3reduce import InputError, MismatchError
from g3reduce.arrays.exactness import Exactness
from g3reduce.coadd import state
from g3reduce.coadd.joining import Coadd
from g3reduce.g3files.vectors import blob_of
from g3reduce.maps.mapsum import MapSum
from g3reduce.maps.sumstate import values_of
from g3reduce.pipeline.ledger import Ledger

fewer = settings(max_examples=100 if ALL else 20)
FAMILIES = sorted(anynumbers.FAMILIES)


def any_frames(data, family, numbers=anynumbers.of_any_size, most=5):
    kinds = st.sampled_from((*anynumbers.FAMILIES[family], "empty"))
    frames = []
    for seed, kind in enumerate(data.draw(st.lists(kinds, min_size=1, max_size=most))):
        if kind == "empty":
            first = skies.map_frame(anynumbers.FAMILIES[family][0], "hits", 0)
            frames.append(emptied(first))
        else:
            frames.append(anynumbers.map_frame(kind, "hits", 2 * seed, "x", numbers))
    return frames


@fewer
@given(st.sampled_from(FAMILIES), st.sampled_from([None, Exactness()]), st.data())
def test_a_sum_comes_back_as_it_was_and_goes_on(tmp_path_factory, family, exactness, data):
    folder = tmp_path_factory.mktemp("state")
    before, after = any_frames(data, family), any_frames(data, family, most=2)
    undisturbed = added([*before, *after], exactness=exactness)
    total = added(before, exactness=exactness)
    back = sumstates.taken_up(total, folder)
    sumstates.assert_same_sum(back, added(before, exactness=exactness))
    again = total.emptied(exactness=exactness)
    again.absorb(back)
    for frame in after:  # the one that was written, and the one that was taken up
        for one in (total, again):
            skies.add_maps(one, skies.read_frame(frame, frame["Id"], weighted=False))
    sumstates.assert_same_sum(total, undisturbed)
    expected = sumstates.finished(undisturbed)
    for one in (total, again):
        skies.assert_same_coadd(sumstates.finished(one), expected)


@fewer
@given(st.sampled_from(FAMILIES), st.booleans(), st.data())
def test_exact_sums_of_any_parts_are_the_direct_one(family, bounded, data):
    """Whatever the numberings and grids, and in whatever order; parts are removed again."""
    exactness = Exactness({"": 1e3}) if bounded else Exactness()
    frames = any_frames(data, family)
    signs = [data.draw(st.sampled_from([1, -1])) for _ in frames]
    groups = [[] for _ in range(data.draw(st.integers(1, 4)))]
    for number in range(len(frames)):
        data.draw(st.sampled_from(groups)).append(number)
    groups = [group for group in groups if group]
    parts = [
        added([frames[n] for n in group], [signs[n] for n in group], exactness=exactness)
        for group in groups
    ]
    total = parts[0].emptied(exactness=exactness)
    for part in data.draw(st.permutations(parts)):
        total.absorb(part)
    direct = added(frames, signs, exactness=exactness)
    expected = sumstates.finished(direct)
    assert total.summary.grids == direct.summary.grids
    skies.assert_same_coadd(sumstates.finished(total), expected)


@fewer
@given(st.sampled_from(FAMILIES), st.data())
def test_plain_sums_are_added_as_maps_are(family, data):
    frames = any_frames(data, family, anynumbers.of_moderate_size)
    mine, theirs = frames[: len(frames) // 2], frames[len(frames) // 2 :]
    if not mine:
        return
    total, other = added(mine, in_maps=data.draw(st.booleans())), added(theirs)
    if data.draw(st.booleans()):  # as after a checkpoint: nothing was added before
        before, total = total, total.emptied(in_maps=data.draw(st.booleans()))
        total.absorb(before)
    sums = [skies.planes(sumstates.finished(added(part))) for part in (mine, theirs)]
    total.absorb(other)
    for name, plane in skies.planes(sumstates.finished(total)).items():
        expected = sums[0][name] + sums[1][name]
        np.testing.assert_array_equal(skies.bits(plane), skies.bits(expected))


@pytest.mark.parametrize("exactness", [None, Exactness()], ids=["plain", "exact"])
@pytest.mark.parametrize("geometry", STORAGES)
def test_what_was_added_can_be_removed(geometry, exactness):
    """The values are integers, so that plain sums are exact, too."""
    kinds = [kind for kind in STORAGES[geometry] if kind != "empty"]
    frames = [skies.map_frame(kind, "hits", seed) for seed, kind in enumerate(kinds * 2)]
    for first, second in itertools.product((0, 1), (2, 3)):
        kept = [frame for n, frame in enumerate(frames) if n not in (first, second)]
        total = added(frames, exactness=exactness)
        total.absorb(added([frames[first], frames[second]], exactness=exactness), remove=True)
        expected = sumstates.finished(added(kept, exactness=exactness))
        left = sumstates.finished(total)
        for name, plane in skies.planes(expected).items():
            np.testing.assert_array_equal(
                skies.bits(skies.planes(left)[name]), skies.bits(plane), err_msg=name
            )


def test_values_that_are_not_finite_come_and_go():
    frames = [
        anynumbers.map_frame("flat dense", "hits", seed, "x", anynumbers.of_any_size)
        for seed in (0, 4)  # of one footprint
    ]
    exactness = Exactness()
    total = added(frames[:1], exactness=exactness)
    negative = added(frames[1:], [-1], exactness=exactness)
    total.absorb(added(frames[1:], exactness=exactness), subtracts=("T", "Q", "U"))
    direct = added(frames, [1, -1], exactness=exactness)
    sumstates.assert_same_sum(total, direct)
    total.absorb(negative, remove=True)
    assert total.summary.grids["T"].special
    assert total.summary.grids["T"].addends == 1
    mine = skies.planes(sumstates.finished(total))
    for name, plane in skies.planes(sumstates.finished(added(frames[:1]))).items():
        np.testing.assert_array_equal(np.isnan(mine[name]), np.isnan(plane))
        np.testing.assert_array_equal(np.isinf(mine[name]), np.isinf(plane))


def test_plain_spt3g_reads_a_state_and_leaves_it_alone(tmp_path):
    frame = skies.map_frame("healpix ring", "polarized", 1)
    total = added([frame], exactness=Exactness())
    file = sumstates.written(tmp_path / "s.g3", Coadd("90GHz", total, sumstates.ledger_of("a.g3")))
    (read,) = core.G3File(file)
    assert read.type == core.G3FrameType.none
    for name, plane in total.blocks.planes.items():
        np.testing.assert_array_equal(np.asarray(read[f"Sum.{name}"]), plane.reshape(-1))
    (coadd,) = state.states_in(file)
    assert coadd.frame_id == "90GHz"
    assert coadd.ledger == sumstates.ledger_of("a.g3")


def test_several_states_are_in_one_file(tmp_path):
    totals = [added([skies.map_frame("flat sparse", "hits", seed)]) for seed in range(3)]
    file = sumstates.written(
        tmp_path / "s.g3", *(Coadd(str(n), one, Ledger()) for n, one in enumerate(totals))
    )
    for number, coadd in enumerate(state.states_in(file)):
        assert coadd.frame_id == str(number)
        sumstates.assert_same_sum(coadd.total, totals[number])


def test_sums_that_do_not_fit_each_other_are_refused_and_stay_as_they_are():
    frame = skies.map_frame("flat sparse", "hits", 0)
    plain, exact = added([frame]), added([frame], exactness=Exactness())
    bounded = added([frame], exactness=Exactness({"": 50.0}))
    other = added([skies.map_frame("healpix ring", "hits", 0)])
    for one, two, problem in (
        (plain, exact, "is a reproducible sum"),
        (exact, plain, "is a reproducible sum"),
        (exact, bounded, "Give the same absmax"),
        (plain, other, "kind of map"),
    ):
        with pytest.raises(MismatchError, match=problem):
            one.absorb(two)
    sumstates.assert_same_sum(plain, added([frame]))
    sumstates.assert_same_sum(exact, added([frame], exactness=Exactness()))


def coadd_of(kind, exactness=None):
    maps = {"T": skies.map_frame(kind, "hits", 0)["T"]}
    total = added([skies.frame_of("x", maps)] * 2, exactness=exactness)
    assert total.sums.layout is not None
    return Coadd("sum", total, sumstates.ledger_of("a.g3", "b.g3"))


@pytest.mark.parametrize("exactness", [None, Exactness()], ids=["plain", "exact"])
def test_a_state_of_which_one_byte_differs_is_refused(tmp_path, exactness):
    whole = sumstates.blob(coadd_of("healpix ring", exactness))
    file = tmp_path / "state.g3"
    for position in range(0, len(whole), max(1, len(whole) // 150)):
        broken = bytearray(whole)
        broken[position] ^= 0x10
        file.write_bytes(broken)
        if 9 <= position < 13:  # the type of the frame, which no checksum covers
            continue
        with pytest.raises(InputError, match=r"state\.g3"):
            list(state.states_in(str(file)))
    for size in (1, 20, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"state\.g3"):
            list(state.states_in(str(file)))


def rewritten(file, change):
    """The state, changed and written by spt3g, so that its checksum is right."""
    (frame,) = core.G3File(str(file))
    entries = {key: frame[key] for key in frame}
    change(entries)
    with core.G3Writer(str(file)) as writer:
        made = core.G3Frame(core.G3FrameType.none)
        for key, value in entries.items():
            made[key] = value
        writer(made)


def text_with(**values):
    def change(entries):
        entries["SumState"] = json.dumps(json.loads(entries["SumState"]) | values)

    return change


def entry_with(key, value):
    return lambda entries: entries.update({key: value})


def without(key):
    return lambda entries: entries.pop(key)


FORGERIES = {
    "a newer version": text_with(version=2),
    "no version": text_with(version=None),
    "no JSON": entry_with("SumState", "{"),
    "deep JSON": entry_with("SumState", "[" * 100_000),
    "a list": entry_with("SumState", "[]"),
    "no text": without("SumState"),
    "a number in its place": entry_with("SumState", 3),
    "another order": text_with(order="random"),
    "an order that is no name": text_with(order=[]),
    "other rows": text_with(row_length=3),
    "no planes": text_with(planes=[]),
    "other planes": text_with(planes=["Q"]),
    "an unknown storage": text_with(storage={"T": "sparse"}),
    "a storage of other planes": text_with(storage={"U": "dense"}),
    "overflow that is no number": text_with(overflow={"T": ["x"]}),
    "a grid that is none": text_with(grids={"T": [1]}),
    "a limb too many": text_with(
        grids={key: [-924, 4, 1, False] for key in ("T", "Wunpol.TT", "H")}
    ),
    "too few addends": text_with(
        grids={key: [-84, 3, 0, False] for key in ("T", "Wunpol.TT", "H")}
    ),
    "parts that are no names": text_with(complete=[1]),
    "hits that are no truth": text_with(hits_apart=1),
    "skipped pixels that are no number": text_with(skipped=True),
    "rows that are not there": entry_with("SumRows", core.G3VectorInt([-1, 5])),
    "too many rows": entry_with("SumRows", core.G3VectorInt([0, 2**40])),
    "rows twice": entry_with("SumRows", core.G3VectorInt([0, 0, 1, 1])),
    "half a stretch": entry_with("SumRows", core.G3VectorInt([0])),
    "rows in floats": entry_with("SumRows", core.G3VectorDouble([0, 1])),
    "runs that leave the map": entry_with("SumRuns", core.G3VectorInt([0, 3, 0, 10**6])),
    "runs of no length": entry_with("SumRuns", core.G3VectorInt([0, 3, 0, -1])),
    "half a run": entry_with("SumRuns", core.G3VectorInt([0, 3, 0])),
    "a plane that is missing": without("Sum.T#0"),
    "a plane that is short": entry_with("Sum.T#0", core.G3VectorInt([1])),
    "a plane of another kind": entry_with("Sum.T#0", core.G3VectorString(["x"])),
    "no ledger": without("Ledger"),
    "a ledger that is none": entry_with("Ledger", "[[1]]"),
    "a ledger without numbers": without("LedgerNumbers"),
    "a ledger that does not say what was read": without("LedgerReadNumbers"),
    "no Id": without("Id"),
    "an Id that is no text": entry_with("Id", 5),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_state_that_cannot_be_one_is_refused(tmp_path, forgery):
    coadd = coadd_of("healpix ring", Exactness())
    file = sumstates.written(tmp_path / "state.g3", coadd)
    rewritten(file, lambda entries: None)
    (back,) = state.states_in(file)  # spt3g may write integers in fewer bits
    sumstates.assert_same_sum(back.total, coadd.total)
    rewritten(file, FORGERIES[forgery])
    with pytest.raises(InputError, match=r"state\.g3, frame 0"):
        list(state.states_in(file))


def test_maps_are_no_states(tmp_path):
    (file,) = skies.write_frames(tmp_path, [skies.map_frame("flat sparse", "hits", 0)])
    with pytest.raises(InputError, match="there is no SumState"):
        list(state.states_in(file))


def test_the_state_of_no_pixels(tmp_path):
    frame = emptied(skies.map_frame("healpix ring", "hits", 0))
    total = added([frame], exactness=Exactness())
    back = sumstates.taken_up(total, tmp_path)
    sumstates.assert_same_sum(back, total)
    again = MapSum.of(skies.read_frame(frame, "x"), exactness=Exactness())
    again.absorb(back)
    assert again.summary.numbering is None


@pytest.mark.parametrize("exactness", [None, Exactness()], ids=["plain", "exact"])
def test_to_write_a_state_copies_no_pixels(exactness):
    total = added([skies.map_frame("flat dense", "hits", 0)], exactness=exactness)
    values = values_of(total)
    for name, plane in total.blocks.planes.items():
        size, pieces = blob_of(values[f"Sum.{name}"])
        assert size == sum(len(memoryview(piece).cast("B")) for piece in pieces)
        assert np.may_share_memory(pieces[-1], plane)
