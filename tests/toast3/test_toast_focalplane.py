"""From spt3g's conventions to TOAST's, against spt3g's own pointing and map binner."""

import logging
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spt3g import calibration, core, maps
from toastscans import (
    NETS,
    POINTING,
    RATE,
    U,
    calibration_frame,
    observation,
    rotation,
    toast_or_skip,
)

from g3reduce import UsageError
from g3reduce.errors import InputError
from g3reduce.toast3 import importing as toastimport
from g3reduce.toast3.bolometers import BolometerWatch
from g3reduce.toast3.focalplane import (
    boresight_quaternions,
    detector_quaternions,
    make_focalplane,
    posix_seconds,
    units_of,
)


@pytest.fixture(scope="module")
def toast():
    return toast_or_skip()


pytestmark = pytest.mark.usefixtures("toast")

UNIT = st.floats(-1, 1)


def bolometers(frame, nets=None):
    watch = BolometerWatch("BolometerProperties", nets)
    watch.look_at(frame)
    return watch.latest("the scan")


def vectors(alpha, delta):
    alpha, delta = np.asarray(alpha), np.asarray(delta)
    cosine = np.cos(delta)
    return np.stack([cosine * np.cos(alpha), cosine * np.sin(alpha), np.sin(delta)], axis=-1)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(UNIT, UNIT, UNIT, UNIT).filter(lambda q: np.dot(q, q) > 0.01), min_size=1),
    *(UNIT, UNIT, UNIT),
)
def test_pointing_and_polarization_are_those_of_spt3g(toast, quaternions, x, y, angle):
    """To 1e-12 rad, for any boresight, offsets up to 20 degrees, and any angle."""
    x, y, angle = 0.35 * x, 0.35 * y, np.pi * angle
    quaternions = np.array(quaternions)
    quaternions /= np.linalg.norm(quaternions, axis=1)[:, np.newaxis]
    boresight, known = boresight_quaternions(quaternions)
    assert known.all()
    detector = detector_quaternions(*np.array([[x], [y], [angle]]))
    pointing = toast.qarray.mult(boresight, np.repeat(detector, len(boresight), axis=0))
    pointing = pointing.reshape(-1, 4)

    transforms = core.G3VectorQuat(quaternions)
    alpha, delta = maps.get_detector_pointing(x, y, transforms, maps.MapCoordReference.Equatorial)
    line_of_sight = toast.qarray.rotate(pointing, [0.0, 0.0, 1.0]).reshape(-1, 3)
    expected = vectors(alpha, delta)
    # spt3g's declination is an arc sine, which knows a direction near the pole to 1e-8 only.
    far = np.abs(expected[:, 2]) < 0.999
    assert np.all(np.linalg.norm(line_of_sight - expected, axis=1)[far] < 1e-12)

    direction = toast.qarray.rotate(pointing, [1.0, 0.0, 0.0]).reshape(-1, 3)
    north = vectors(alpha, np.asarray(delta) + np.pi / 2)
    east = vectors(np.asarray(alpha) + np.pi / 2, np.zeros(len(alpha)))
    ours = np.arctan2(np.sum(direction * east, axis=1), np.sum(direction * north, axis=1))
    theirs = angle + np.array([rotation(x, y, q) for q in transforms])
    difference = (ours - theirs + np.pi / 2) % np.pi - np.pi / 2
    assert np.all(np.abs(difference)[far] < 1e-12)


def test_the_rotation_of_the_oracle_is_that_of_spt3g():
    transforms = observation(1, ["a1"], 1)[2][POINTING]
    for x, y in np.random.default_rng(1).uniform(-0.2, 0.2, (20, 2)):
        theirs = maps.get_rot_ang(maps.offsets_to_quat(x, y), transforms[3])
        assert abs(rotation(x, y, transforms[3]) - theirs) < 1e-7  # it is an arc cosine


def test_a_boresight_that_is_not_known_is_flagged_and_still_one():
    quaternions = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [np.nan, 0, 0, 1], [0, 3.0, 0, 0]])
    boresight, known = boresight_quaternions(quaternions)
    assert known.tolist() == [True, False, False, True]
    np.testing.assert_allclose(np.linalg.norm(boresight, axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(boresight[1], boresight[0])


def test_every_unit_of_timestreams_is_known_to_toast():
    for name in core.G3TimestreamUnits.names:
        unit, size = units_of(name)
        if unit.is_equivalent("K") or unit.is_equivalent("m"):
            assert size == 1000
    assert [units_of(name)[0] for name in ("Tcmb", "Power", "Counts")] == ["K", "W", ""]
    with pytest.raises(UsageError, match=r"'Furlongs', which TOAST does not know.* Tcmb, "):
        units_of("Furlongs")


def test_times_keep_all_the_digits_that_a_float_has_room_for():
    ticks = core.G3Time("20260102_030405").time + np.arange(1000) * 12_345_671
    seconds = posix_seconds(ticks)
    exact = [int(tick) / 10**8 for tick in ticks]  # Python divides integers correctly rounded
    np.testing.assert_array_equal(seconds, exact)


def test_the_columns_of_the_focal_plane(toast):
    frame = calibration_frame(["b1", "a1"], 1)
    known = bolometers(frame, NETS).select(["b1", "a1"], "the test")
    focalplane, unusable = make_focalplane(known, RATE)
    assert focalplane.detectors == ["b1", "a1"]
    assert not unusable
    bolo = frame["BolometerProperties"]["a1"]
    row = focalplane["a1"]
    assert row["bandcenter"].to_value("GHz") == pytest.approx(150, rel=1e-15)
    assert row["bandwidth"] == 0
    # spt3g's maps have Q and U times e / (2 - e); TOAST's times what it calls the efficiency.
    efficiency = bolo.pol_efficiency
    assert row["pol_efficiency"] == pytest.approx(efficiency / (2 - efficiency), rel=1e-14)
    net = frame[NETS]["a1"] / (U.K * U.s**0.5)
    assert row["psd_net"].to_value("K s(1/2)") == pytest.approx(net, rel=1e-14)
    assert (row["wafer_id"], row["pixel_id"]) == ("w1", "a1")
    assert row["physical_name"] == "physical a1"
    assert focalplane.sample_rate.to_value("Hz") == pytest.approx(20, rel=1e-14)
    assert len(focalplane.detector_groups("pixel_id")) == 2
    # The columns that TOAST would have computed itself.
    table = focalplane.detector_data.copy()
    table.remove_columns(["uid", "pol_angle", "pol_efficiency"])
    again = toast.instrument.Focalplane(table, sample_rate=focalplane.sample_rate)
    np.testing.assert_array_equal(again.detector_data["uid"], focalplane.detector_data["uid"])
    np.testing.assert_allclose(
        again.detector_data["pol_angle"], focalplane.detector_data["pol_angle"], atol=1e-14
    )
    assert again.field_of_view.value == pytest.approx(focalplane.field_of_view.value, rel=1e-9)


def changed(frame, **columns):
    """A calibration frame in which all detectors have other values; None leaves one as it is."""
    properties = calibration.BolometerPropertiesMap()
    for number, (name, bolo) in enumerate(frame["BolometerProperties"].items()):
        properties[name] = other = calibration.BolometerProperties(bolo)
        for column, values in columns.items():
            if values[number] is not None:
                setattr(other, column, values[number])
        properties[name] = other
    new = core.G3Frame(core.G3FrameType.Calibration)
    new["BolometerProperties"] = properties
    return new


def test_detectors_of_which_too_little_is_known_are_flagged(caplog):
    frame = calibration_frame(["a1", "a2", "b1"], 1)
    frame = changed(
        frame, x_offset=[None, np.nan, None], pol_angle=[None, None, np.nan], band=[np.nan] * 3
    )
    frame[NETS] = core.G3MapDouble({"a2": 1.0, "b1": 1.0})
    with caplog.at_level(logging.WARNING):
        focalplane, unusable = make_focalplane(bolometers(frame, NETS), RATE)
    assert unusable == {"a1": 1, "a2": 1, "b1": 1}
    for what in ("pointing offset", "polarization angle or efficiency", "NET"):
        assert f"1 of 3 detectors have no {what} in the calibration frame" in caplog.text
    assert np.isfinite(focalplane.detector_data["quat"]).all()


def test_without_any_polarization_angle_detectors_are_unpolarized():
    frame = changed(calibration_frame(["a1", "a2"], 1), pol_angle=[np.nan, np.nan])
    focalplane, unusable = make_focalplane(bolometers(frame), RATE)
    assert not unusable
    assert list(focalplane.detector_data["pol_efficiency"]) == [0, 0]


def test_a_detector_that_is_on_the_boresight_has_a_field_of_view():
    frame = changed(calibration_frame(["a1"], 1), x_offset=[0.0], y_offset=[0.0])
    focalplane, _ = make_focalplane(bolometers(frame), RATE)
    assert focalplane.field_of_view.to_value("deg") == pytest.approx(1)


def test_detectors_that_the_calibration_lacks_are_named():
    known = bolometers(calibration_frame(["a1", "a2"], 1))
    with pytest.raises(InputError, match=r"2 of 3 detectors of the scan .*: z8, z9\. Remove them"):
        known.select(["a1", "z8", "z9"], "the scan")


def test_a_calibration_that_is_missing_or_something_else_says_so():
    watch = BolometerWatch("BolometerProperties", NETS)
    with pytest.raises(
        InputError, match="the scan came before any frame with 'BolometerProperties'"
    ):
        watch.latest("the scan")
    watch.look_at(changed(calibration_frame(["a1"], 1)))
    with pytest.raises(InputError, match=f"before any frame with '{NETS}'"):
        watch.latest("the scan")
    wrong = core.G3Frame(core.G3FrameType.Calibration)
    wrong[NETS] = core.G3String("none")
    with pytest.raises(InputError, match="is a str; expected a G3MapDouble"):
        watch.look_at(wrong)


def test_equal_calibrations_have_equal_digests():
    one, same, other = (bolometers(calibration_frame(["a1", "a2"], seed)) for seed in (1, 1, 2))
    assert one.digest == same.digest != other.digest
    assert one.digest != bolometers(calibration_frame(["a1", "a2"], 1), NETS).digest


def test_importing_toast_leaves_signals_to_those_who_had_them():
    """A guard, say, or Python's own handler of Ctrl-C; else TOAST's would exit with 0."""

    def ours(number, frame):
        raise AssertionError

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGINT, ours)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with toastimport._earlier_handlers_restored():
            for number in before:
                signal.signal(number, lambda number, frame: sys.exit(0))
        assert signal.getsignal(signal.SIGINT) is ours
        assert signal.getsignal(signal.SIGTERM) not in (ours, signal.SIG_DFL)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_another_hdf5_that_came_first_is_an_error_with_the_way_out():
    code = """
import g3reduce.toast3.importing
from spt3g import gcp
g3reduce.toast3.importing.load_toast()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if run.returncode == 0:
        pytest.skip("here spt3g and h5py use the same HDF5")
    assert "UsageError: TOAST cannot be imported any more" in run.stderr
    assert "spt3g.gcp" in run.stderr
    assert "put 'import toast' at the top of the script, before spt3g" in run.stderr


def test_what_is_called_toast_but_is_not_toast_3(monkeypatch):
    """A folder of that name, for example, where TOAST is not installed; or TOAST 2."""
    other = types.ModuleType("toast")
    other.__path__ = ["/home/me/toast"]
    monkeypatch.setitem(sys.modules, "toast", other)
    with pytest.raises(UsageError, match=r"it is not installed; what was found .* /home/me/toast:"):
        toastimport.load_toast()
    other.__version__ = "2.3"
    with pytest.raises(UsageError, match=r"TOAST 3 is needed, but toast 2\.3 is installed: pip"):
        toastimport.load_toast()
