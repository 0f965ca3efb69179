"""The running sum of map frames, against spt3g's own addition of maps."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skies import (
    KINDS,
    WEIGHTINGS,
    add_maps,
    assert_same_coadd,
    bits,
    frame_of,
    map_frame,
    maps_by_plane,
    pixels,
    planes,
    read_frame,
    storage,
)
from spt3g import core, maps

from g3reduce import MismatchError
from g3reduce.maps import mapframe
from g3reduce.maps.mapsum import MapSum
from g3reduce.maps.numbering import submap_length
from g3reduce.maps.summary import join

relaxed = settings(deadline=None)


def added(frames, signs=(), require_weights=True):
    """The running sum of frames."""
    total = None
    for frame, sign in itertools.zip_longest(frames, signs, fillvalue=1):
        read = read_frame(frame, frame["Id"], weighted=False)
        total = total or MapSum.of(read, require_weights=require_weights)
        add_maps(total, read, sign)
    return total


def summed(frames, **options):
    return mapframe.to_frame("sum", added(frames, **options).to_maps())


def by_spt3g(frames):
    """The sum as spt3g makes it, map by map, in this order."""
    totals = {}
    for frame in frames:
        for name, skymap in maps_by_plane(frame).items():
            if name not in totals:
                totals[name] = skymap.clone(False)
            totals[name] += skymap
    return frame_of("sum", totals)


def assert_same_pixels(mine, theirs):
    """Whatever the storage, which spt3g takes from the first map."""
    mine, theirs = planes(mine), planes(theirs)
    assert mine.keys() == theirs.keys()
    for name, plane in mine.items():
        np.testing.assert_array_equal(bits(plane), bits(theirs[name]), err_msg=name)


def emptied(frame):
    """A frame like this one whose maps have no pixels at all."""
    empty = {name: skymap.clone(False) for name, skymap in maps_by_plane(frame).items()}
    return frame_of(frame["Id"], empty)


def scaled(frame, rng):
    """The maps of a frame with any numbers, not only integers, in the same storage."""
    scaled = {name: skymap.clone(True) for name, skymap in maps_by_plane(frame).items()}
    for skymap in scaled.values():
        skymap *= rng.normal() * 10.0 ** rng.integers(-20, 20)
    return frame_of(frame["Id"], scaled)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_is_that_of_spt3g(kind, weighting):
    frames = [map_frame(kind, weighting, seed) for seed in range(4)]
    assert_same_coadd(summed(frames), by_spt3g(frames))


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_same_order_the_sum_of_any_numbers_is_the_same_to_the_bit(kind):
    rng = np.random.default_rng(5)
    frames = [scaled(map_frame(kind, "polarized", seed), rng) for seed in range(5)]
    assert_same_coadd(summed(frames), by_spt3g(frames))


def test_infinities_and_nan_are_summed_as_numbers_are():
    frames = [map_frame("healpix ring", "hits", seed) for seed in range(2)]
    first, second = (np.flatnonzero(planes(frame)["H"])[0] for frame in frames)
    for frame, special in zip(frames, ((np.inf, np.nan), (-np.inf, 3.0)), strict=True):
        hits = frame.pop("H")
        hits[int(first)], hits[int(second)] = special
        frame["H"] = hits
    mine, theirs = (planes(frame)["H"] for frame in (summed(frames), by_spt3g(frames)))
    assert np.isnan(mine).sum() == 2
    np.testing.assert_array_equal(mine, theirs)


STORAGES = {
    "flat": ("flat sparse", "flat dense", "empty"),
    "ring order": ("healpix ring", "healpix indexed", "healpix dense", "empty"),
    "nested": ("healpix nested indexed", "healpix nested dense", "empty"),
    "shifted": ("healpix ring shifted", "healpix indexed", "healpix dense"),
}
MIXTURES = [
    mixture
    for kinds in STORAGES.values()
    for size in range(2, len(kinds) + 1)
    for mixture in itertools.permutations(kinds, size)
]
FULLNESS = ("empty", "indexed", "sparse", "ring", "dense")


@pytest.mark.parametrize("mixture", MIXTURES, ids=" + ".join)
def test_a_mixture_is_summed_in_any_order_and_stored_like_the_fullest(mixture):
    last = mixture[-1] if mixture[-1] != "empty" else mixture[0]
    frames = [
        emptied(map_frame(last, "polarized", seed))
        if kind == "empty"
        else map_frame(kind, "polarized", seed)
        for seed, kind in enumerate(mixture)
    ]
    mine = summed(frames)
    assert_same_pixels(mine, by_spt3g(frames))
    for name, skymap in maps_by_plane(mine).items():
        stored = {storage(maps_by_plane(frame)[name]) for frame in frames}
        assert storage(skymap) == max(stored, key=FULLNESS.index)


def test_ring_storage_is_shifted_if_that_of_any_input_is():
    plain, shifted = (
        map_frame(kind, "hits", 1) for kind in ("healpix ring", "healpix ring shifted")
    )
    for frames in itertools.permutations([plain, shifted]):
        total = summed(frames)
        assert total["T"].shift_ra
        assert_same_pixels(total, by_spt3g(frames))


def test_sums_that_began_with_the_same_frame_do_not_change_each_other():
    """As with splits, where a frame that was read once goes into several coadds."""
    plain, shifted = (
        read_frame(map_frame(kind, "hits", 1), kind)
        for kind in ("healpix ring", "healpix ring shifted")
    )
    alone, both = MapSum.of(plain), MapSum.of(plain)
    for total in (alone, both):
        add_maps(total, plain)
    add_maps(both, shifted)
    assert both.to_maps()["T"].shift_ra
    assert not alone.to_maps()["T"].shift_ra


def test_planes_of_one_frame_may_be_stored_in_different_ways():
    frames = []
    for seed in range(3):
        frame = map_frame("flat sparse", "polarized", seed)
        dense = frame.pop("TQU"[seed])
        dense.sparse = False
        frame["TQU"[seed]] = dense
        frames.append(frame)
    mine = summed(frames)
    assert_same_pixels(mine, by_spt3g(frames))
    stored = {name: storage(skymap) for name, skymap in maps_by_plane(mine).items()}
    assert {name for name, how in stored.items() if how == "dense"} == {"T", "Q", "U"}


def test_a_sparse_map_stays_sparse():
    """A patch in a large map holds few submaps, and the sum spells out no more than spt3g's."""
    skymap = maps.HealpixSkyMap(nside=256, weighted=True)
    for pixel in range(300_000, 300_500):
        skymap[pixel] = 1.0
    skymap.ringsparse = True
    frame = frame_of("patch", {"T": skymap})
    total = added([frame, frame])
    assert total.blocks.nbytes < skymap.size * 8 / 50
    result = total.to_maps()["T"]
    assert storage(result) == "ring"
    assert result.npix_allocated <= skymap.npix_allocated
    assert bits(pixels(result)).tolist() == bits(2 * pixels(skymap)).tolist()


@given(st.integers(1, 12 * 8192**2))
def test_submaps_are_a_power_of_two_between_64_and_1024(npix):
    length = submap_length(npix)
    assert 64 <= length <= 1024
    assert length & (length - 1) == 0


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_sign_goes_to_stokes_maps_and_weights_and_hits_are_added(kind, weighting):
    frames = [map_frame(kind, weighting, seed) for seed in range(3)]
    mine = planes(summed(frames, signs=(-1, 1, -1)))
    inputs = [planes(frame) for frame in frames]
    for name, values in mine.items():
        sign = -1 if name in ("T", "Q", "U") else 1
        expected = sign * inputs[0][name] + inputs[1][name] + sign * inputs[2][name] + 0.0
        assert bits(values).tolist() == bits(expected).tolist(), name


def with_overflow(frame, overflow):
    """The frame with `overflow` in T, ten times that in the hits."""
    for key, factor in (("T", 1), ("H", 10)):
        skymap = frame.pop(key)
        skymap.overflow = factor * overflow
        frame[key] = skymap
    return frame


@pytest.mark.parametrize("kind", KINDS)
def test_what_fell_outside_of_the_maps_is_summed_with_the_same_signs(kind):
    frames = [with_overflow(map_frame(kind, "hits", seed), 2.0**seed) for seed in range(3)]
    total = summed(frames, signs=(1, -1, 1))
    assert (total["T"].overflow, total["H"].overflow) == (1 - 2 + 4, 70)


@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring"])
def test_empty_maps_sum_to_an_empty_map_that_keeps_its_overflow(kind):
    frame = with_overflow(emptied(map_frame(kind, "hits", 0)), 3.0)
    total = summed([frame, frame])
    assert storage(total["T"]) == "empty"
    assert total["T"].compatible(frame["T"])
    assert total["T"].overflow == 6


def state(frame):
    """The frame in bytes, and the storage of its maps."""
    return frame.__getstate__()[1], {n: storage(m) for n, m in maps_by_plane(frame).items()}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_that_are_added_do_not_change_and_are_not_held(kind):
    frames = [map_frame(kind, "polarized", seed) for seed in range(3)]
    before = [state(frame) for frame in frames]
    total = added(frames)
    assert [state(frame) for frame in frames] == before
    expected = by_spt3g(frames)
    for change in (frames[0].pop("T"), frames[1].pop("U"), *total.to_maps().values()):
        change *= 3.0  # neither inputs nor results are what the sum is kept in
    assert_same_coadd(mapframe.to_frame("sum", total.to_maps()), expected)


def test_what_does_not_agree_is_refused_before_anything_is_added():
    frames = [map_frame("flat sparse", "polarized", seed) for seed in range(3)]
    total = added(frames[:2])
    u = frames[2].pop("U")
    u.units = core.G3TimestreamUnits.Trj
    frames[2]["U"] = u
    with pytest.raises(MismatchError, match=r"wrong\.g3, frame 2 does not agree with .*Trj"):
        add_maps(total, read_frame(frames[2], "wrong.g3, frame 2"))
    assert_same_coadd(mapframe.to_frame("sum", total.to_maps()), by_spt3g(frames[:2]))


@pytest.mark.parametrize("in_maps", [False, True])
@pytest.mark.parametrize("conventions", [("IAU", "COSMO"), ("COSMO", "IAU")])
def test_the_attributes_of_a_sum_do_not_depend_on_which_map_came_first(conventions, in_maps):
    reads = []
    for seed, convention in enumerate(conventions):
        frame = map_frame("flat dense", "no weights", seed)
        skymap = frame.pop("T")  # which is the same in both conventions
        skymap.pol_conv = maps.MapPolConv.names[convention]
        skymap.flat_pol = convention == "IAU"
        frame["T"] = skymap
        reads.append(read_frame(frame, "it", weighted=False))
    total = MapSum.of(reads[0], in_maps=in_maps)
    for read in reads:
        add_maps(total, read)
    found = total.to_maps()["T"]
    assert (found.pol_conv, found.flat_pol) == (maps.MapPolConv.names["none"], False)


@pytest.mark.parametrize("order", [("polarized", "no weights"), ("no weights", "polarized")])
def test_weights_in_only_some_frames_are_refused_unless_that_is_wanted(order):
    frames = [map_frame("healpix ring", w, i, f"frame {i}") for i, w in enumerate(order)]
    with pytest.raises(MismatchError) as caught:
        added(frames)
    having = order.index("polarized")
    assert str(caught.value).startswith(
        f"frame {having} has Wpol.QQ, and frame {1 - having} has not"
    )
    assert_same_coadd(summed(frames, require_weights=False), by_spt3g(frames))


def joined(groups, **options):
    """Sum groups of frames as ranks would, each for itself, and join them by hand."""
    totals = [added(group, **options) if group else None for group in groups]
    summaries = [total.summary for total in totals if total]
    layout = next((total.sums.layout for total in totals if total and total.sums.layout), None)
    for rank, total in enumerate(totals):
        received, runs = pickle.loads(pickle.dumps((summaries, layout)))
        totals[rank] = total or MapSum(join(received), require_weights=False)
        totals[rank].prepare(received, runs)
    root, *others = totals
    for other in others:
        assert list(other.blocks.planes) == list(root.blocks.planes)
        assert other.blocks.row_length == root.blocks.row_length
        root.blocks.insert(other.blocks.rows)
        places = root.blocks.locate(other.blocks.rows)
        for name, plane in other.blocks.planes.items():
            root.blocks.planes[name][places] += plane
    return mapframe.to_frame("sum", root.to_maps())


@relaxed
@given(st.sampled_from(sorted(STORAGES)), st.data())
def test_sums_of_ranks_join_to_the_serial_sum(geometry, data):
    """Whatever the storages, also on ranks without any frame or with empty maps only."""
    kinds = st.sampled_from(STORAGES[geometry])
    blank = emptied(map_frame(STORAGES[geometry][0], "hits", 0, "x"))
    frames, groups = [], [[] for _ in range(data.draw(st.integers(1, 4), "ranks"))]
    for seed, kind in enumerate(data.draw(st.lists(kinds, min_size=1, max_size=6))):
        frame = blank if kind == "empty" else map_frame(kind, "hits", seed)
        frame = with_overflow(pickle.loads(pickle.dumps(frame)), float(seed))
        frames.append(frame)
        groups[data.draw(st.integers(0, len(groups) - 1))].append(frame)
    mine, serial = joined(groups), summed(frames)
    assert_same_coadd(mine, serial)
    assert_same_pixels(mine, by_spt3g(frames))


def test_sums_to_which_weights_came_late_do_not_change_each_other():
    first = read_frame(map_frame("healpix ring", "no weights", 0), "first", weighted=False)
    plain, shifted = (
        read_frame(map_frame(kind, "polarized", 1), kind, weighted=False)
        for kind in ("healpix ring", "healpix ring shifted")
    )
    alone, both = (MapSum.of(first, require_weights=False) for _ in range(2))
    for total in (alone, both):
        add_maps(total, first)
        add_maps(total, plain)
    add_maps(both, shifted)
    assert both.to_maps()["Wpol.TT"].shift_ra
    assert not alone.to_maps()["Wpol.TT"].shift_ra
    assert not plain.stubs["Wpol.TT"].shift_ra


def with_same_runs(frame, number):
    """`number` frames with T maps and weights that have all the same runs, and differ otherwise."""
    skymap = frame["T"]
    frames = []
    for factor in range(1, number + 1):
        again = {name: skymap.clone(False) for name in ("T", "Wunpol.TT")}
        for name in again:
            again[name]._cereal_loads(skymap._cereal_dumps())
            again[name] *= float(factor)
        again["Wunpol.TT"].pol_type = maps.MapPolType.TT
        frames.append(frame_of(f"times {factor}", again))
    return frames


RUNS = pytest.mark.parametrize("kind", ["flat sparse", "healpix ring", "healpix ring shifted"])


@RUNS
def test_runs_that_all_have_in_common_stay_so_also_on_ranks_without_maps(kind):
    frames = with_same_runs(map_frame(kind, "hits", 0), 3)
    assert added(frames).sums.layout is not None
    for groups in ([frames[:1], [], frames[1:]], [[], frames], [frames[:2], frames[2:]]):
        assert_same_coadd(joined(groups), by_spt3g(frames))


@RUNS
def test_runs_in_common_are_left_when_others_come_and_the_sum_does_not_change(kind):
    frames = with_same_runs(map_frame(kind, "hits", 0), 2)
    others = with_same_runs(map_frame(kind, "hits", 1), 2)
    total = added(frames)
    assert total.sums.layout is not None
    for frame in (others[1], frames[0]):
        add_maps(total, read_frame(frame, "another"))
        assert total.sums.layout is None
    expected = by_spt3g([*frames, others[1], frames[0]])
    assert_same_coadd(mapframe.to_frame("sum", total.to_maps()), expected)
    assert_same_coadd(joined([frames, others]), by_spt3g([*frames, *others]))


def test_on_which_rank_a_shifted_map_was_does_not_show_in_the_result():
    shifted, indexed, dense = (map_frame(kind, "hits", 0) for kind in STORAGES["shifted"])
    shifts = {
        joined(groups)["T"].shift_ra
        for groups in ([[indexed, dense], [shifted]], [[shifted], [indexed, dense]])
    }
    assert len(shifts) == 1


@pytest.mark.parametrize("overflows", [(np.inf, -np.inf), (np.inf, np.nan), (1e308, 1e308)])
def test_what_fell_outside_may_be_any_number_on_any_rank(overflows):
    frames = [
        with_overflow(map_frame("flat sparse", "hits", seed), overflow / 10)
        for seed, overflow in enumerate(overflows)
    ]
    mine, serial = joined([[frame] for frame in frames]), summed(frames)
    np.testing.assert_equal(mine["H"].overflow, serial["H"].overflow)


def test_ranks_that_do_not_agree_all_raise_the_same_error():
    other = map_frame("healpix ring", "hits", 1, "of rank 2")
    skymap = other.pop("T")
    skymap.units = core.G3TimestreamUnits.Trj
    other["T"] = skymap
    groups = [[map_frame("healpix ring", "hits", 0, "of rank 0")], [], [other]]
    totals = [added(group) for group in groups if group]
    summaries = [total.summary for total in totals]
    texts = set()
    for total in (*totals, MapSum(summaries[0])):
        with pytest.raises(MismatchError) as caught:
            total.prepare(summaries)
        texts.add(str(caught.value))
    assert texts == {
        "of rank 2 does not agree with of rank 0: T differs in units, Trj and Tcmb. They must not "
        "be added."
    }


def test_planes_that_only_some_ranks_have_are_joined_where_that_is_wanted():
    groups = [
        [map_frame("flat sparse", "no weights", 0)],
        [map_frame("flat dense", "polarized", 1)],
    ]
    with pytest.raises(MismatchError, match=r"has Wpol\.QQ, and"):
        joined(groups)
    mine = joined(groups, require_weights=False)
    assert_same_pixels(mine, by_spt3g([*groups[0], *groups[1]]))
    assert {storage(skymap) for skymap in maps_by_plane(mine).values()} == {"dense"}
