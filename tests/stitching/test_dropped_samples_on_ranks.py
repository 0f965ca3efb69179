"""Dropped samples are flags wherever they go: by detector, by time, into files and into TOAST."""

import numpy as np
import pytest
import scans
from spt3g import core
from stitching_oracle import accumulate
from toastscans import SIGNAL, observation, toast_or_skip

import g3reduce
from g3reduce import stitch, stitch_files


@pytest.mark.ranks(1, 2, 3)
@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_dropped_samples_are_flagged_on_the_rank_that_gets_them(comm, shared_folder, dtype):
    rng = np.random.default_rng(1)
    floats = np.dtype(dtype).kind == "f"
    lengths = (9, 4, 12, 7)
    frames, signal, dropped = scans.with_dropped_samples(
        rng, "abcd", lengths, dtype, by_detector=floats
    )
    for distribution in ("detector", "time"):
        accumulator = accumulate(comm, frames, np.arange(4) % comm.size, keys={"boresight": None})
        (found,) = stitch(accumulator, distribution).values()
        assert found.timeline.detectors == tuple("abcd")
        mine = dropped[found.share]
        np.testing.assert_array_equal((found.flags | found.detector_flags) != 0, mine)
        np.testing.assert_array_equal(found.signal[~mine], signal[found.share][~mine])
    if comm.rank == 0:
        scans.write_files(shared_folder, frames, 4)
    comm.Barrier()
    pattern = str(shared_folder / "obs_*.g3")
    one, many = shared_folder / "one.g3", shared_folder / "many.g3"
    stitch_files(pattern, many, mpicomm=comm, boresight=None)
    if comm.rank == 0:
        stitch_files(pattern, one, mpicomm=g3reduce.mpi.OneProcess(), boresight=None)
        assert one.read_bytes() == many.read_bytes()


@pytest.mark.ranks(5, one_node=True)
@pytest.mark.parametrize("distribution", ["detector", "time"])
def test_toast_gets_flags_and_no_nan(comm, distribution):
    toast_or_skip()
    frames = observation(1, ["a", "b", "c"])
    first, second = frames[2:4]
    for frame, kind in ((first, np.float64), (second, np.int32)):
        samples = frame.pop(SIGNAL)
        names, rows = list(samples), np.array(samples)
        if kind is np.int32:  # as spt3g reads integers of which samples were dropped
            rows[:, 4:6] = 0
            names, rows = (
                [*names, "_nanmask"],
                np.vstack([rows, np.isin(np.arange(rows.shape[1]), (4, 5))]),
            )
        else:
            rows[1, 3] = np.nan  # of one detector
            rows[:, 7] = np.nan
        frame[SIGNAL] = core.G3TimestreamMap(
            names, rows.astype(kind), samples.start, samples.stop, samples.units
        )
    filler = g3reduce.TOASTFiller(comm, distribution=distribution, gaps="keep")
    for frame in frames[:2]:
        filler.add(frame)
    for number, frame in enumerate(frames[2:]):
        if number % comm.size == comm.rank:
            filler.add(frame)
    (ob,) = filler.finish().obs
    assert ob.all_detectors == ["a", "b", "c"]
    n_first = first[SIGNAL].n_samples
    here = np.arange(ob.n_local_samples) + ob.local_index_offset
    np.testing.assert_array_equal(ob.shared["flags"], np.isin(here, [7, n_first + 4, n_first + 5]))
    for name in ob.local_detectors:
        of_it = ob.detdata["flags"][name]
        np.testing.assert_array_equal(of_it, (here == 3) & (name == "b"))
        assert np.isfinite(ob.detdata["signal"][name]).all()
