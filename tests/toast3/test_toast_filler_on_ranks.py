"""The TOAST filler on any number of ranks: every sample in its place, and the maps of spt3g."""

import itertools

import numpy as np
import pytest
from spt3g import core
from toastscans import (
    NETS,
    POINTING,
    SIGNAL,
    U,
    calibration_frame,
    observation,
    spt3g_maps,
    toast_maps,
    toast_or_skip,
)

import g3reduce
from g3reduce import InputError, MismatchError, RemoteError, UsageError
from g3reduce.toast3.focalplane import boresight_quaternions, posix_seconds
from g3reduce.toast3.groups import deal

# Of these the second has fewer detectors than there are ranks.
NAMES = {1: ("a1", "a2", "b1", "b2", "c1"), 2: ("a1", "b2"), 3: ("c1", "a2", "b1")}


@pytest.fixture(scope="module")
def toast():
    return toast_or_skip()


def observations():
    return [
        observation(number, names, lacking=("a2",) if number == 3 else ())
        for number, names in NAMES.items()
    ]


def share_of(comm, frames, seed=1):
    """The frames of a rank: all metadata, and scans at random. The last of several has none."""
    rng = np.random.default_rng(seed)
    for frame in frames:
        if (
            frame.type != core.G3FrameType.Scan
            or rng.integers(0, max(1, comm.size - 1)) == comm.rank
        ):
            yield frame


def fill(frames, *arguments, **options):
    """The filler after a pipeline on this rank's frames."""
    filler = g3reduce.TOASTFiller(*arguments, **options)
    source = iter(list(frames))
    pipe = core.G3Pipeline()
    pipe.Add(lambda _: next(source, []))
    pipe.Add(filler)
    pipe.Run()
    return filler


def name_of(frames):
    return f"{frames[0]['SourceName']}-{frames[0]['ObservationID']}"


def assert_samples(ob, frames):
    """The part of an observation on this rank is that of the frames, to the last bit."""
    assert ob.all_detectors == list(NAMES[frames[0]["ObservationID"]])
    times, flags = np.array(ob.shared["times"]), np.array(ob.shared["flags"])
    scanned = np.zeros(ob.n_local_samples, bool)
    for frame in frames[2:]:
        signal = frame[SIGNAL]
        seconds = posix_seconds(np.array([time.time for time in signal.times]))
        here = (seconds >= times[0]) & (seconds <= times[-1])
        part = np.searchsorted(times, seconds[here])
        np.testing.assert_array_equal(times[part], seconds[here])
        boresight, _ = boresight_quaternions(np.asarray(frame[POINTING])[here])
        np.testing.assert_array_equal(ob.shared["boresight_radec"][part], boresight)
        assert not flags[part].any()
        scanned[part] = True
        for name in ob.local_detectors:
            if name in signal:
                expected = np.asarray(signal[name])[here] / U.K
                np.testing.assert_array_equal(ob.detdata["signal"][name][part], expected)
            assert (ob.detdata["flags"][name][part] == (name not in signal)).all()
    assert (flags[~scanned] == 1).all()
    in_intervals = np.zeros(ob.n_local_samples, bool)
    for scan in ob.intervals["scanning"]:
        in_intervals[scan.first : scan.last] = True
    np.testing.assert_array_equal(in_intervals, scanned)


def assert_filled(comm, toastcomms):
    """By detector and by time, shared by all ranks and in groups."""
    frames = observations()
    expected = spt3g_maps(frames)
    mine = [frame for number in frames for frame in share_of(comm, number)]
    for distribution, groups in itertools.product(("detector", "time"), toastcomms):
        size = groups.group_size
        data = fill(mine, comm, distribution=distribution, toastcomm=groups, nets=NETS).data
        assert data.comm is groups
        assert sum(comm.allgather(len(data.obs))) == len(frames) * size
        for ob in data.obs:
            assert ob.comm_col_size == (size if distribution == "detector" else 1)
            assert_samples(ob, next(some for some in frames if name_of(some) == ob.name))
        maps, known = toast_maps(data)
        for key, plane in expected.items():
            tolerance = 0 if key == "H" else 1e-9 * np.abs(plane).max()
            assert np.abs(maps[key] - plane)[known].max(initial=0) <= tolerance, key
        assert comm.allreduce(known.astype(int))[expected["H"] > 0].all()


# TOAST takes two seconds to import, on each rank: so smaller numbers of ranks are parts of these.
@pytest.mark.ranks(5)
@pytest.mark.parametrize("sizes", [(5,), (2, 3), (4, 1)], ids=lambda sizes: f"of{sizes[0]}")
def test_every_sample_is_in_its_place_and_maps_are_those_of_spt3g(toast, comm, sizes):
    """The last rank has no scan. For one process without MPI, see `test_toast_filler.py`."""
    part = comm.Split(int(comm.rank >= sizes[0]), comm.rank)
    assert part.size in sizes
    groupsizes = {1, part.size, 2} if part.size == 4 else {1, part.size}
    assert_filled(part, [toast.Comm(part, groupsize=size) for size in sorted(groupsizes)])


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
    assert fill([], comm).data.obs == []


def test_groups_get_about_the_same():
    rng = np.random.default_rng(1)
    for n_groups in (1, 2, 3, 7):
        sizes = rng.integers(1, 1000, 40).tolist()
        groups = deal(sizes, n_groups)
        loads = np.bincount(groups, sizes, n_groups)
        assert loads.max() <= 4 / 3 * max(sum(sizes) / n_groups, max(sizes))
    assert deal([], 3) == []
    assert deal([5, 5, 5], 3) == [0, 1, 2]
