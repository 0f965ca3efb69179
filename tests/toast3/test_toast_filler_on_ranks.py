"""The TOAST filler on any number of ranks: every sample in its place, and the maps of spt3g."""

import gc
import weakref

import numpy as np
import pytest
from spt3g import core
from toastfill import NAMES, assert_filled, fill
from toastscans import (
    POINTING,
    SIGNAL,
    calibration_frame,
    observation,
    toast_or_skip,
)

from g3reduce import InputError, MismatchError, RemoteError, UsageError
from g3reduce.toast3.groups import deal


@pytest.fixture(scope="module")
def toast():
    return toast_or_skip()


@pytest.mark.ranks(5)
@pytest.mark.parametrize("sizes", [(5,), (2, 3), (4, 1)], ids=lambda sizes: f"of{sizes[0]}")
def test_every_sample_is_in_its_place_and_maps_are_those_of_spt3g(toast, comm, sizes):
    """The last rank has no scan. For one process without MPI, see `test_toast_filler.py`."""
    part = comm.Split(int(comm.rank >= sizes[0]), comm.rank)
    assert part.size in sizes
    groupsizes = {1, part.size, 2} if part.size == 4 else {1, part.size}
    groups = [toast.Comm(part, groupsize=size) for size in sorted(groupsizes)]
    assert_filled(part, groups)
    gc.collect()
    for each in groups:
        each.close()


@pytest.mark.ranks(2)
def test_what_one_rank_collects_as_garbage_does_not_hold_up_the_others(toast, comm):
    """TOAST frees communicators when they are collected, which may wait for the other ranks."""
    frames = observation(1, NAMES[1])
    filler = fill(frames if comm.rank == 0 else frames[:2], comm)
    forgotten = weakref.ref(filler.result)
    thresholds = gc.get_threshold()
    gc.set_threshold(*((1, 1, 1) if comm.rank == 0 else (1_000_000, 1_000, 1_000)))
    try:
        del filler  # TOAST's observations are in cycles
        again = fill(frames if comm.rank == 0 else frames[:2], comm).result
        assert forgotten() is None
    finally:
        gc.set_threshold(*thresholds)
    assert len(again.obs) == 1


@pytest.mark.ranks(5)
def test_what_cannot_be_filled_is_an_error_on_all_ranks(toast, comm):
    head, calibration, *scans = observation(1, NAMES[1])
    mine = scans[comm.rank : comm.rank + 1]  # two of the ranks have none

    def on_all(kind, text, frames, **options):
        with pytest.raises((kind, RemoteError), match=text):
            fill(frames, comm, **options)

    other = calibration_frame(NAMES[1], 99) if comm.rank == 2 else calibration
    text = (
        r"Observation 'field-1': .*\(rank 2\) came with another calibration of .* than .*\(rank 0\)"
    )
    on_all(MismatchError, text, [head, other, *mine])
    few = calibration_frame(NAMES[1][:2], 1)
    on_all(
        InputError, "3 of 5 detectors of observation 'field-1' .*: b1, b2, c1", [head, few, *mine]
    )
    on_all(
        UsageError,
        "arguments of TOASTFiller must be the same on all ranks",
        [],
        distribution="time" if comm.rank == 1 else "detector",
    )
    on_all(
        UsageError, "distribution is 'row'; expected one of detector, time", [], distribution="row"
    )
    on_all(
        UsageError,
        "must be the same ranks",
        [],
        toastcomm=toast.Comm(world=comm.Split(comm.rank)),
    )
    short = observation(1, NAMES[1], 1, n_samples=7)[-1]
    timestreams = core.G3TimestreamMap(
        list(NAMES[1]), np.zeros((5, 2)), start=short[SIGNAL].start, stop=short[SIGNAL].stop
    )
    del short[SIGNAL], short[POINTING]
    short[SIGNAL], short[POINTING] = timestreams, core.G3VectorQuat(np.eye(4)[:2])
    frames = [head, calibration, short] if comm.rank == 1 else []
    on_all(InputError, "has 2 samples, fewer than the 5 ranks", frames, distribution="time")


@pytest.mark.ranks(5)
def test_nothing_at_all_is_data_without_observations(toast, comm):
    assert fill([], comm).result.obs == []


def test_groups_get_about_the_same():
    rng = np.random.default_rng(1)
    for n_groups in (1, 2, 3, 7):
        sizes = rng.integers(1, 1000, 40).tolist()
        groups = deal(sizes, n_groups)
        loads = np.bincount(groups, sizes, n_groups)
        assert loads.max() <= 4 / 3 * max(sum(sizes) / n_groups, max(sizes))
    assert deal([], 3) == []
    assert deal([5, 5, 5], 3) == [0, 1, 2]
