"""Every sample of some observations in its place in TOAST, and the maps of spt3g."""

import itertools

import numpy as np
from spt3g import core
from toastscans import NETS, POINTING, SIGNAL, U, observation, spt3g_maps, toast_maps

import g3reduce
from g3reduce.toast3.focalplane import boresight_quaternions, posix_seconds

# Of these the second has fewer detectors than there are ranks.
NAMES = {1: ("a1", "a2", "b1", "b2", "c1"), 2: ("a1", "b2"), 3: ("c1", "a2", "b1")}


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
        data = fill(mine, comm, distribution=distribution, toastcomm=groups, nets=NETS).result
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
