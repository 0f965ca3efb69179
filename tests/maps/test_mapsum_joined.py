"""Sums of several ranks join to the serial sum, and agree with each other or are refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapsums import STORAGES, added, assert_same_pixels, by_spt3g, emptied, summed, with_overflow
from skies import (
    add_maps,
    assert_same_coadd,
    frame_of,
    map_frame,
    maps_by_plane,
    read_frame,
    storage,
)
from spt3g import core, maps

from g3reduce import MismatchError
from g3reduce.maps import mapframe
from g3reduce.maps.mapsum import MapSum
from g3reduce.maps.summary import join


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


@given(st.sampled_from(sorted(STORAGES)), st.data())
def test_sums_of_ranks_join_to_the_serial_sum(geometry, data):
    """Whatever the storages, also on ranks without any frame or with empty maps only.

    The memory of dense sums is that of maps or not.
    """
    kinds = st.sampled_from(STORAGES[geometry])
    blank = emptied(map_frame(STORAGES[geometry][0], "hits", 0, "x"))
    frames, groups = [], [[] for _ in range(data.draw(st.integers(1, 4), "ranks"))]
    for seed, kind in enumerate(data.draw(st.lists(kinds, min_size=1, max_size=6))):
        frame = blank if kind == "empty" else map_frame(kind, "hits", seed)
        frame = with_overflow(pickle.loads(pickle.dumps(frame)), float(seed))
        frames.append(frame)
        groups[data.draw(st.integers(0, len(groups) - 1))].append(frame)
    mine, serial = joined(groups, in_maps=data.draw(st.booleans())), summed(frames)
    assert_same_coadd(mine, serial)
    assert_same_pixels(mine, by_spt3g(frames))


def test_a_rank_with_empty_maps_only_joins_dense_ones_in_the_memory_of_maps():
    frame = map_frame("flat dense", "hits", 0)
    groups = [[emptied(frame)], [frame]]
    assert_same_pixels(joined(groups, in_maps=True), frame)


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
    assert not plain.kind.stubs["Wpol.TT"].shift_ra


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
