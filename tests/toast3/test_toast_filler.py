"""The TOAST filler in one process without MPI: what comes out, and what cannot go in."""

import gc
import logging
import weakref

import numpy as np
import pytest
from spt3g import core
from toastfill import NAMES, assert_filled, fill
from toastscans import NETS, POINTING, SIGNAL, U, observation, toast_or_skip

import g3reduce
from g3reduce import InputError, MismatchError, UsageError
from g3reduce.mpi.communicators import OneProcess

DETECTORS = ("a1", "a2", "b1")


@pytest.fixture(scope="module")
def toast():
    return toast_or_skip()


pytestmark = pytest.mark.usefixtures("toast")


class Alone(OneProcess):
    def allreduce(self, value):
        return value


def test_every_sample_is_in_its_place_and_maps_are_those_of_spt3g(toast):
    assert_filled(Alone(), [toast.Comm()])


def test_frames_go_down_the_pipeline_as_they_came():
    frames, came = observation(1, DETECTORS), []
    filler = g3reduce.TOASTFiller()
    with pytest.raises(UsageError, match="no result before the end of processing"):
        _ = filler.result
    source = iter(frames)
    pipe = core.G3Pipeline()
    pipe.Add(lambda _: next(source, []))
    pipe.Add(filler)
    pipe.Add(lambda frame: came.append(frame.type))
    pipe.Run()
    wanted = [frame.type for frame in frames]
    assert [kind for kind in came if kind in wanted] == wanted
    (ob,) = filler.result.obs
    assert (ob.telescope.name, ob.name) == ("telescope", "field-1")
    assert ob.session.start.timestamp() == pytest.approx(ob.shared["times"][0], abs=1e-5)
    with pytest.raises(UsageError, match="has ended"):
        filler.finish()


@pytest.mark.parametrize(
    ("dtype", "units", "expected"),
    [("f4", "Tcmb", "f4"), ("i4", "Counts", "f8"), ("i8", "Tcmb", "f8"), ("f8", "Power", "f8")],
)
def test_kinds_of_numbers_and_units(dtype, units, expected):
    head, calibration, scan, *_ = observation(1, DETECTORS, 1)
    old = scan.pop(SIGNAL)
    values = np.arange(3 * old.n_samples).reshape(3, -1).astype(dtype)
    scan[SIGNAL] = core.G3TimestreamMap(
        list(DETECTORS),
        values,
        start=old.start,
        stop=old.stop,
        units=getattr(core.G3TimestreamUnits, units),
    )
    data = fill([head, calibration, scan]).result  # which clears its observations when it goes
    (ob,) = data.obs
    signal = ob.detdata["signal"]
    assert signal.dtype == np.dtype(expected)
    assert signal.units == {"Tcmb": "K", "Counts": "", "Power": "W"}[units]
    size = U.K if units == "Tcmb" else 1
    np.testing.assert_array_equal(signal.data, (values / size).astype(expected))


def test_flags_keep_their_bits_and_gaps_are_what_is_asked_for():
    frames = observation(1, DETECTORS, 2)
    for frame in frames[2:]:
        n_samples = frame[SIGNAL].n_samples
        frame["Flags"] = core.G3VectorInt([4] * 3 + [0] * (n_samples - 3))
        flags = core.G3MapVectorInt()
        flags["b1"] = [0] * (n_samples - 2) + [16] * 2
        frame["DetectorFlags"] = flags
    lengths = [frame[SIGNAL].n_samples for frame in frames[2:]]
    options = {"flags": "Flags", "detector_flags": "DetectorFlags"}
    data = fill(frames, gaps="keep", **options).result
    (ob,) = data.obs
    assert ob.n_all_samples == sum(lengths)
    flags = np.array(ob.shared["flags"])
    assert np.flatnonzero(flags == 4).tolist() == [0, 1, 2, *range(lengths[0], lengths[0] + 3)]
    assert not np.any(ob.detdata["flags"]["a1"])
    assert ob.detdata["flags"]["b1"][lengths[0] - 2 : lengths[0]].tolist() == [16, 16]
    data = fill(frames, **options).result
    (ob,) = data.obs
    assert ob.n_all_samples == sum(lengths) + 7
    steps = np.diff(ob.shared["times"])
    np.testing.assert_allclose(steps, 0.05, atol=1e-6)
    quaternions = np.array(ob.shared["boresight_radec"])
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1)
    with pytest.raises(InputError, match="gaps='keep'"):
        fill(frames, gaps="refuse")


def test_samples_without_pointing_are_flagged():
    frames = observation(1, DETECTORS, 1)
    quaternions = np.array(frames[2].pop(POINTING))
    quaternions[5:8] = np.nan
    frames[2][POINTING] = core.G3VectorQuat(quaternions)
    data = fill(frames).result
    (ob,) = data.obs
    assert np.flatnonzero(ob.shared["flags"]).tolist() == [5, 6, 7]
    assert np.isfinite(ob.shared["boresight_radec"]).all()


def test_detectors_that_cannot_be_used_are_flagged_as_a_whole(caplog):
    frames = observation(1, DETECTORS, 1)
    properties = frames[1].pop("BolometerProperties")
    bolo = properties["a2"]
    bolo.x_offset = np.nan
    properties["a2"] = bolo
    frames[1]["BolometerProperties"] = properties
    with caplog.at_level(logging.WARNING):
        data = fill(frames).result
        (ob,) = data.obs
    assert ob.local_detector_flags == {"a1": 0, "a2": 1, "b1": 0}
    assert ob.select_local_detectors(flagmask=1) == ["a1", "b1"]
    assert "1 of 3 detectors have no pointing offset" in caplog.text


def test_it_survives_hdf5_as_the_documentation_says(toast, tmp_path):
    import toast.ops

    data = fill(observation(1, DETECTORS), nets=NETS).result
    (ob,) = data.obs
    del ob.telescope.focalplane.detector_data["pol_efficiency"]
    toast.ops.SaveHDF5(volume=str(tmp_path / "saved")).apply(data)
    again = toast.Data(data.comm)
    toast.ops.LoadHDF5(volume=str(tmp_path / "saved")).apply(again)
    (loaded,) = again.obs
    np.testing.assert_array_equal(loaded.detdata["signal"].data, ob.detdata["signal"].data)
    assert len(loaded.intervals["scanning"]) == 3
    table = loaded.telescope.focalplane.detector_data
    efficiency = 1 - table["pol_leakage"]
    np.testing.assert_allclose(table["pol_efficiency"], efficiency / (2 - efficiency))


def test_what_cannot_go_in_says_so():
    head, calibration, *scans = observation(1, DETECTORS)
    other = observation(2, DETECTORS)[1]
    with pytest.raises(MismatchError, match=r"came with another calibration of .* than"):
        fill([head, calibration, scans[0], other, *scans[1:]])
    with pytest.raises(
        InputError, match=r"Scan frame .* before any frame with 'BolometerProperties'"
    ):
        fill([head, *scans])
    with pytest.raises(InputError, match="before any frame with 'Sensitivity'"):
        fill([head, calibration, *scans], nets="Sensitivity")
    with pytest.raises(InputError, match=r"has no 'Offline'.*boresight="):
        fill([head, calibration, *scans], boresight="Offline")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"distribution": "root"}, "distribution is 'root'; expected one of detector, time"),
        ({"gaps": "ignore"}, "gaps is 'ignore'; expected one of keep, fill, refuse"),
        ({"toastcomm": 4}, r"toastcomm is 4 \(int\); expected a toast.Comm"),
        ({"telescope": None}, "telescope is None; expected its name"),
        ({"site": "Pole"}, "site is 'Pole'; expected a toast.instrument.Site"),
        ({"boresight": None}, "boresight is None; expected the name of a key"),
        ({"nets": 3}, "nets is 3; expected the name of a key"),
    ],
)
def test_arguments_that_cannot_be_used_say_so(options, text):
    with pytest.raises(UsageError, match=text):
        g3reduce.TOASTFiller(**options)


def test_arguments_and_results_of_the_filler_for_toast_2_say_what_replaces_them():
    for arguments, options in (((OneProcess(),), {"wiring": "W"}),):
        with pytest.raises(UsageError, match=r"for TOAST 2.*bolometer_properties=.*\.result"):
            g3reduce.TOASTFiller(*arguments, **options)
    filler = g3reduce.TOASTFiller(OneProcess())
    with pytest.raises(UsageError, match=r"For TOAST 3 use result.* result\.obs"):
        filler.toastobses  # noqa: B018


def test_a_calibration_counts_for_its_own_file_whichever_this_rank_reads_next(tmp_path):
    """On several ranks, that one is chance; one that all ranks read counts for all."""
    head, calibration, *scans = observation(1, DETECTORS)
    *other_head, scan = observation(2, DETECTORS, 1)

    def file(name, *frames):
        with core.G3Writer(str(tmp_path / name)) as writer:
            for frame in frames:
                writer(frame)
        return str(tmp_path / name)

    first = file("a.g3", head, calibration, *scans)
    second = file("b.g3", other_head[0], scan)

    def filled(*files):
        filler = g3reduce.TOASTFiller(OneProcess(), nets=NETS)
        for frame in g3reduce.MPIFileReader(OneProcess(), [*files]):
            filler.add(frame)
        data = filler.finish()
        assert data is filler.result
        return data

    with pytest.raises(InputError, match=r"b\.g3, frame 1 came before any frame with 'Bolo"):
        filled([first, second])
    data = filled(file("c.g3", other_head[1]), [first, second])
    nets = [ob.telescope.focalplane.detector_data["psd_net"][0].value for ob in data.obs]
    expected = [some[NETS][DETECTORS[0]] for some in (calibration, other_head[1])]
    assert nets[0] != nets[1]
    np.testing.assert_allclose(np.array(nets) * 1000 * U.s**0.5, expected)


def test_a_filler_that_is_done_with_is_freed_at_once(toast):
    """It is in no cycle, so that its data do not wait for the garbage collector."""
    filler = g3reduce.TOASTFiller(OneProcess(), nets=NETS)
    for frame in observation(1, NAMES[1]):
        filler.add(frame)
    alive, data = weakref.ref(filler), weakref.ref(filler.finish())
    gc.disable()
    try:
        del filler
        assert alive() is None
        assert data() is None
    finally:
        gc.enable()
