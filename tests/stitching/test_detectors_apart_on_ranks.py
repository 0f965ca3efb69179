"""Detectors in files of their own, and lost samples, on several ranks."""

import lostscans
import numpy as np
import pytest
import scans
from lostscans import TIMES
from spt3g import core
from stitching_oracle import accumulate
from toastscans import SIGNAL, calibration_frame, observation, toast_or_skip

import g3reduce
from g3reduce import stitch, stitch_files
from g3reduce.mpi.communicators import OneProcess


def lossy_wafers(seed=1):
    """Scans of two wafers: the last sample of each is the first of the next, others were lost."""
    rng = np.random.default_rng(seed)
    step = 1 / scans.RATE
    for number in range(4):
        start = scans.START + round(9 * number * step)
        kinds = {"flags": "int", "dtype": np.int32}
        whole = scans.make_scan(rng, "abcde", 10, start, **kinds)
        for names in ("cd", "abe"):
            frame = lostscans.of_detectors(whole, names)
            yield lostscans.with_lost_samples(frame, lostscans.kept_of(rng, 10, 0.2))


OPTIONS = {"gaps": "fill", "overlap": "drop"}


@pytest.mark.ranks(1, 2, 3)
@pytest.mark.parametrize("distribution", ["detector", "time"])
def test_the_same_comes_out_whoever_had_which_scan(comm, distribution):
    frames = list(lossy_wafers())
    keys = {"flags": scans.FLAGS, "times": TIMES}
    alone = accumulate(OneProcess(), frames, [0] * len(frames), keys=keys)
    (expected,) = stitch(alone, **OPTIONS).values()
    for seed in range(2):
        owners = np.random.default_rng(seed).integers(0, comm.size, len(frames))
        accumulator = accumulate(comm, frames, owners, keys=keys)
        (found,) = stitch(accumulator, distribution, **OPTIONS).values()
        rows, samples = found.share
        assert found.timeline.detectors == tuple("abecd")
        assert found.timeline.n_samples == 37
        for name, part in (
            ("signal", (rows, samples)),
            ("detector_flags", (rows, samples)),
            ("flags", samples),
            ("boresight", samples),
            ("times", samples),
        ):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[part])
        back = g3reduce.unstitch(found, found.signal)
        items = accumulator.fullobs["field-1000"]
        assert sorted(back) == [i for i, item in enumerate(items) if item[1] == comm.rank]
        for index, timestreams in back.items():  # the first sample is that of the scan before
            expected_scan = items[index][2].signal
            np.testing.assert_array_equal(np.array(timestreams)[:, 1:], expected_scan[:, 1:])


@pytest.mark.ranks(2, 3)
def test_any_number_of_ranks_writes_the_same_file(comm, shared_folder):
    frames = list(lossy_wafers())
    if comm.rank == 0:
        scans.write_files(shared_folder, frames[::2], 2, "wafer1")
        scans.write_files(shared_folder, frames[1::2], 2, "wafer2")
    comm.Barrier()
    options = {"flags": scans.FLAGS, "times": TIMES, **OPTIONS}
    one, many = shared_folder / "one.g3", shared_folder / "many.g3"
    told = stitch_files(str(shared_folder / "wafer*"), many, mpicomm=comm, **options)
    if comm.rank == 0:
        again = stitch_files(str(shared_folder / "wafer*"), one, mpicomm=OneProcess(), **options)
        assert told == again
        assert one.read_bytes() == many.read_bytes()
        assert (told[0].n_detectors, told[0].n_samples, told[0].n_scans) == (5, 37, 8)


@pytest.mark.ranks(5, one_node=True)
def test_toast_gets_detectors_of_files_with_calibrations_of_their_own(comm):
    toast_or_skip()
    head, _, *frames = observation(1, ["a", "b", "c", "d"])
    filler = g3reduce.TOASTFiller(comm, nets="NET")
    wafers = ("ab", "cd")
    for wafer, names in enumerate(wafers):
        if comm.rank % 2 == wafer:
            for frame in (head, calibration_frame(names, wafer)):
                filler.add(frame)
            for number, frame in enumerate(frames):
                if number % (3 - wafer) == comm.rank // 2:
                    filler.add(lostscans.of_detectors(frame, names))
    (ob,) = filler.finish().obs
    assert ob.all_detectors == ["a", "b", "c", "d"]
    assert len(ob.intervals["scanning"]) == len(frames)
    table = ob.telescope.focalplane.detector_data
    for wafer, names in enumerate(wafers):
        nets = calibration_frame(names, wafer)["NET"]
        for name in names:
            (row,) = table[table["name"] == name]
            assert row["psd_net"].value * 1000 * core.G3Units.s**0.5 == pytest.approx(nets[name])
    scanned = ob.intervals["scanning"]
    for span, frame in zip(scanned, frames, strict=True):
        for name in ob.local_detectors:
            signal = np.asarray(frame[SIGNAL][name]) / core.G3Units.K
            np.testing.assert_allclose(ob.detdata["signal"][name][span.first : span.last], signal)
            assert not ob.detdata["flags"][name].any()


@pytest.mark.ranks(5, one_node=True)
@pytest.mark.parametrize("distribution", ["detector", "time"])
def test_toast_gets_lost_samples_and_shared_ones_as_arrays_do(comm, distribution):
    toast_or_skip()
    frames = list(lossy_wafers())
    keys = {"flags": scans.FLAGS, "times": TIMES}
    alone = accumulate(OneProcess(), frames, [0] * len(frames), keys=keys)
    (expected,) = stitch(alone, **OPTIONS).values()
    filler = g3reduce.TOASTFiller(comm, distribution=distribution, **keys, overlap="drop")
    filler.add(calibration_frame(expected.detectors, 1))
    for number, frame in enumerate(frames):
        if number % comm.size == comm.rank:
            filler.add(frame)
    (ob,) = filler.finish().obs
    assert ob.n_all_samples == 37
    here = slice(ob.local_index_offset, ob.local_index_offset + ob.n_local_samples)
    np.testing.assert_array_equal(ob.shared["flags"], expected.flags[here])
    moments = expected.times[here] / core.G3Units.s
    np.testing.assert_allclose(ob.shared["times"], moments, rtol=0, atol=1e-6)
    for name in ob.local_detectors:
        row = expected.detectors.index(name)
        signal = expected.signal[row, here] / core.G3Units.K
        np.testing.assert_allclose(ob.detdata["signal"][name], signal)
        np.testing.assert_array_equal(ob.detdata["flags"][name], expected.detector_flags[row, here])
    spans = [(s.first, s.last) for s in ob.intervals["scanning"]]
    if distribution == "detector":
        assert spans == list(expected.timeline.spans)
