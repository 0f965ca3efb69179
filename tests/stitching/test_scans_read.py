"""What is taken from Scan frames: samples, boresight, flags of all kinds; and what is refused."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import scans
from hypothesis import given, settings
from spt3g import core

import g3reduce
from g3reduce.pipeline.ledger import Unit, set_unit
from g3reduce.stitching.scans import ScanExtractor, ScanKeys

fewer = settings(max_examples=40)
DETECTORS = ("b", "a", "c")
KEYS = {
    "boresight": scans.BORESIGHT,
    "flags": scans.FLAGS,
    "detector_flags": scans.DETECTOR_FLAGS,
}


def keys_of(frame):
    """The keys of all that a frame of `scans` has."""
    return ScanKeys(scans.KEY, **{k: key if key in frame else None for k, key in KEYS.items()})


def a_frame(**changes):
    """A scan of three detectors and 6 samples, with other keys."""
    frame = scans.make_scan(np.random.default_rng(1), DETECTORS, 6)
    for key, value in changes.items():
        frame[key] = value
    return frame


def same_bits(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(scans.bits(found), scans.bits(expected))


def assert_read(scan, frame):
    expected = scans.concatenated([frame])
    header, timestreams = scan.header, frame[scans.KEY]
    assert header.detectors == expected.detectors
    assert (header.start, header.stop) == (timestreams.start.time, timestreams.stop.time)
    assert header.shape == expected.signal.shape
    assert header.dtype == expected.signal.dtype
    assert header.units == timestreams.units.name
    there = ["signal"]
    for name in ("boresight", "flags", "detector_flags"):
        if getattr(expected, name) is None:
            assert getattr(scan, name) is None
        else:
            there.append(name)
            same_bits(getattr(scan, name), getattr(expected, name))
    assert header.arrays == set(there)
    assert header.fields == tuple(name for name in there if name == "signal" or KEYS[name] in frame)
    every = slice(0, len(header.detectors)), slice(0, header.n_samples)
    same_bits(scan.block(*every), expected.signal)
    same_bits(scan.block(slice(0, 1), slice(1, 2)), expected.signal[:1, 1:2])
    if expected.boresight is None:
        assert header.ends is None
    else:
        same_bits(np.array(header.ends), expected.boresight[[0, -1]])


@fewer
@given(scans.observations(max_scans=1))
def test_all_that_a_scan_has_is_read_to_the_bit(frames):
    (frame,) = frames
    scan = keys_of(frame).read(frame, "somewhere")
    assert scan.header.where == "somewhere"
    assert_read(scan, frame)
    assert_read(scan.detached(), frame)
    assert pickle.loads(pickle.dumps(scan.header))[:8] == scan.header[:8]


@pytest.mark.parametrize("dtype", scans.DTYPES)
def test_scans_from_files_are_read_to_the_bit(tmp_path, dtype):
    rng = np.random.default_rng(3)
    flags = {"flags": "bool", "detector_flags": "bool"}
    frames = scans.an_observation(rng, dtype=dtype, **flags)
    for file in scans.write_files(tmp_path, frames, n_files=1):
        back = [frame for frame in core.G3File(file) if frame.type == core.G3FrameType.Scan]
    assert len(back) == len(frames)
    for frame, expected in zip(back, frames, strict=True):
        assert_read(keys_of(frame).read(frame, ""), expected)


def test_a_detached_scan_shares_no_memory_with_its_frame():
    frame = scans.make_scan(np.random.default_rng(1), flags="int", detector_flags="timestreams")
    scan = keys_of(frame).read(frame, "").detached()
    theirs = [np.asarray(row) for row in frame[scans.KEY].values()]
    theirs += [np.asarray(row) for row in frame[scans.DETECTOR_FLAGS].values()]
    theirs += [np.asarray(frame[scans.BORESIGHT]), np.asarray(frame[scans.FLAGS])]
    mine = [scan.signal, scan.boresight, scan.flags, scan.detector_flags, *scan.header.ends]
    assert not any(np.shares_memory(a, b) for a in mine for b in theirs)
    # What all ranks are told keeps no samples alive.
    assert all(end.base is None for end in scan.header.ends)


LETTING_GO = """
import mmap, sys
import numpy as np
from spt3g import core
from g3reduce.stitching.scans import ScanKeys

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * mmap.PAGESIZE

*_, frame = core.G3File(sys.argv[1])
keys = ScanKeys("Large", boresight=None)
scan = keys.read(frame, "")
before = resident()
keys.let_go_of_bytes(frame)
print(before - resident())
rows = [np.asarray(row) for row in frame["Large"].values()]
assert all(np.shares_memory(a, b) for a, b in zip(scan.signal, rows, strict=True))
assert np.array_equal(scan.signal, np.arange(4_500_000.0).reshape(3, -1))
"""


def test_a_frame_that_lets_go_of_its_bytes_keeps_its_samples_once(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("there is no /proc")
    values = np.arange(4_500_000.0).reshape(3, -1)  # so many that their memory is given back
    frame = a_frame(Large=core.G3TimestreamMap(DETECTORS, values))
    (file,) = scans.write_files(tmp_path, [frame], n_files=1)
    # In a process of its own: what others have freed before decides what goes back to the system.
    command = [sys.executable, "-c", LETTING_GO, file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0.9 * values.nbytes


def test_a_scan_that_is_read_looks_into_its_frame():
    frame = a_frame()
    scan = ScanKeys().read(frame, "")
    assert all(
        np.shares_memory(row, np.asarray(timestream))
        for row, timestream in zip(scan.signal, frame[scans.KEY].values(), strict=True)
    )
    assert np.shares_memory(scan.boresight, np.asarray(frame[scans.BORESIGHT]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (core.G3VectorBool([False, True, True, False, False, True]), [0, 1, 1, 0, 0, 1]),
        (core.G3VectorUnsignedChar([0, 255, 128, 1, 2, 3]), [0, 255, 128, 1, 2, 3]),
        (core.G3VectorInt([0, 255, 128, 1, 2, 3]), [0, 255, 128, 1, 2, 3]),
        (core.G3VectorDouble([0, 255, 128, 1, 2, 3.0]), [0, 255, 128, 1, 2, 3]),
        (core.G3Timestream(np.array([0, 4, 0, 0, 0, 1])), [0, 4, 0, 0, 0, 1]),
        (core.G3Timestream(np.array([0, 4, 0, 0, 0, 1.0])), [0, 4, 0, 0, 0, 1]),
    ],
)
def test_flags_of_samples_of_any_kind(value, expected):
    scan = ScanKeys(flags="F").read(a_frame(F=value), "")
    same_bits(scan.flags, np.array(expected, np.uint8))
    by_name = reasons(core.G3MapFrameObject, a=value)
    found = ScanKeys(detector_flags="D").read(a_frame(D=by_name), "").detector_flags
    same_bits(found, np.array([[0] * 6, expected, [0] * 6], np.uint8))


def reasons(kind, **by_name):
    found = kind()
    for name, value in by_name.items():
        found[name] = value
    return found


@pytest.mark.parametrize(
    ("value", "flagged"),
    [
        (core.G3VectorString(["a", "unknown"]), [0, 1, 0]),
        (core.G3VectorString([]), [0, 0, 0]),
        (reasons(core.G3MapVectorString, c=["glitch", "jump"], b=[], z=["x"]), [0, 0, 1]),
        (reasons(core.G3MapVectorString), [0, 0, 0]),
        (reasons(core.G3MapString, b="latched", a=""), [1, 0, 0]),
    ],
)
def test_detectors_that_are_flagged_are_so_in_the_whole_scan(value, flagged):
    scan = ScanKeys(detector_flags="D").read(a_frame(D=value), "")
    same_bits(scan.detector_flags, np.repeat(np.array(flagged, np.uint8)[:, None], 6, axis=1))


def test_detectors_that_a_map_of_flags_does_not_name_are_good():
    value = reasons(core.G3MapVectorBool, a=[True] * 6, z=[True] * 6)
    scan = ScanKeys(detector_flags="D").read(a_frame(D=value), "")
    assert scan.detector_flags.sum(axis=1).tolist() == [0, 6, 0]
    none = ScanKeys(detector_flags="D").read(a_frame(D=core.G3MapVectorInt()), "")
    assert none.detector_flags.shape == (3, 6)
    assert not none.detector_flags.any()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0, 1, 2, 3, 4, -1], "flags from -1 to 4; expected integers from 0 to 255"),
        ([0, 1, 2, 3, 4, 256], "flags from 0 to 256"),
        ([0, 1, 2, 3, 4, 2**31 - 1], "flags from 0 to 2147483647"),
        ([0, 1, 2, 3, 4, 0.5], r"flags from 0\.0 to 4\.0"),
        ([0, 1, 2, 3, 4, np.nan], "flags from nan to nan"),
        ([0, 1, 2], "'F' has 3 samples; expected 6, as the timestreams have"),
        ([], "'F' has 0 samples; expected 6, as the timestreams have"),
    ],
)
def test_flags_that_are_no_small_integers_or_of_another_length_are_refused(values, text):
    kind = core.G3VectorInt if all(isinstance(v, int) for v in values) else core.G3VectorDouble
    with pytest.raises(g3reduce.InputError, match=f"^here: 'F' has.*{text.split('has ')[-1]}"):
        ScanKeys(flags="F").read(a_frame(F=kind(values)), "here")
    value = reasons(getattr(core, f"G3Map{kind.__name__[2:]}"), a=values)
    with pytest.raises(g3reduce.InputError, match=r"^here: \"D\['a'\]\" has "):
        ScanKeys(detector_flags="D").read(a_frame(D=value), "here")


@pytest.mark.parametrize(
    ("argument", "value", "text"),
    [
        ("timestreams", core.G3VectorDouble([1.0] * 6), "is a G3VectorDouble; expected a G3Timest"),
        ("timestreams", core.G3Timestream(np.zeros(6)), "is a G3Timestream; expected a G3Times"),
        ("boresight", core.G3VectorDouble([1.0] * 6), "expected a G3VectorQuat or a G3Timestream"),
        ("boresight", core.G3VectorQuat(np.ones((5, 4))), "has 5 samples; expected 6, as the t"),
        ("flags", core.G3VectorString(["x"] * 6), "is a G3VectorString; expected a vector of b"),
        ("flags", core.G3Int(1), "is a int; expected a vector of booleans or small integers"),
        ("flags", core.G3VectorQuat(np.ones((6, 4))), "is a G3VectorQuat; expected a vector of"),
        ("flags", core.G3VectorComplexDouble([1j] * 6), "expected a vector of booleans"),
        ("detector_flags", core.G3VectorInt([1] * 6), "is a G3VectorInt; expected a map by det"),
        ("detector_flags", core.G3String("a"), "is a str; expected a map by detector, or a"),
        ("detector_flags", reasons(core.G3MapInt, a=1), "is a int; expected a vector of boole"),
    ],
)
def test_keys_of_other_types_are_refused(argument, value, text):
    with pytest.raises(g3reduce.InputError, match=r"^here: .X") as caught:
        ScanKeys(**{argument: "X"}).read(a_frame(X=value), "here")
    assert text in str(caught.value)


@pytest.mark.parametrize("argument", ["timestreams", "boresight", "flags", "detector_flags"])
def test_a_key_that_is_missing_is_told_with_those_there_are(argument):
    with pytest.raises(g3reduce.InputError) as caught:
        ScanKeys(**{argument: "Nowhere"}).read(a_frame(), "obs.g3, frame 3")
    text = str(caught.value)
    for part in ("obs.g3, frame 3 has no 'Nowhere'", "CalTimestreams", f"{argument}="):
        assert part in text
    with pytest.raises(g3reduce.InputError, match="it has no keys at all"):
        ScanKeys().read(core.G3Frame(core.G3FrameType.Scan), "here")


def misaligned_frame(how):
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame[scans.KEY] = scans.misaligned(how)
    return frame


@pytest.mark.parametrize("how", [how for how in scans.MISALIGNED if how != "type"])
def test_timestreams_that_are_not_aligned_are_refused(how):
    with pytest.raises(g3reduce.InputError, match=r"^here: the timestreams of 'CalTimestreams' d"):
        ScanKeys(boresight=None).read(misaligned_frame(how), "here")


def test_timestreams_of_other_types_are_joined():
    scan = ScanKeys(boresight=None).read(misaligned_frame("type"), "here")
    assert scan.header.dtype == np.float64
    np.testing.assert_array_equal(scan.block(slice(0, 2), slice(3, 5)), [[3, 4]] * 2)
    np.testing.assert_array_equal(scan.detached().signal, [np.arange(9)] * 2)


def test_detectors_in_units_of_their_own_are_refused():
    timestreams = core.G3TimestreamMap()
    for name in "ab":
        timestreams[name] = core.G3Timestream(np.zeros(3))
        timestreams[name].units = scans.UNITS.Tcmb if name == "a" else scans.UNITS.Power
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame[scans.KEY] = timestreams
    with pytest.raises(g3reduce.InputError, match="or units; expected the same for all"):
        ScanKeys(boresight=None).read(frame, "here")


@pytest.mark.parametrize("detectors", [(), ("a", "b")])
def test_scans_without_detectors_or_samples_are_read_as_empty(detectors):
    frame = scans.make_scan(np.random.default_rng(1), ("a", "b"), 0, flags="bool")
    if not detectors:
        frame[scans.KEY + "2"] = core.G3TimestreamMap()
    keys = ScanKeys(scans.KEY if detectors else scans.KEY + "2", flags=scans.FLAGS)
    for scan in (keys.read(frame, ""), keys.read(frame, "").detached()):
        assert scan.header.shape == (len(detectors), 0)
        assert scan.header.ends is None


@pytest.mark.parametrize(
    "arguments", [{"timestreams": None}, {"timestreams": 3}, {"flags": ["a"]}, {"boresight": b"x"}]
)
def test_names_of_keys_are_texts(arguments):
    (name,) = arguments
    with pytest.raises(g3reduce.UsageError, match=f"{name} is .*expected the name of a key"):
        ScanKeys(**arguments)
    with pytest.raises(g3reduce.UsageError, match=f"{name} is "):
        ScanExtractor(**arguments)


def test_the_extractor_gives_the_name_the_start_and_the_samples_of_scans():
    extract = ScanExtractor()
    frame = a_frame()
    del frame["SourceName"], frame["ObservationID"]
    with pytest.raises(g3reduce.InputError, match="made in the pipeline has no SourceName, and"):
        extract(frame)
    assert extract(scans.observation_frame(7, "other")) is None
    unit = Unit("obs.g3", 4)
    set_unit(frame, unit)
    group, start, scan = extract(frame)
    assert (group, start, scan.header.where) == ("other-7", scans.START, "obs.g3, frame 4")
    frame["ObservationID"] = 8  # a frame's own name is the one that counts
    assert extract(frame)[0] == "other-8"
    extract(core.G3Frame(core.G3FrameType.Observation))
    del frame["ObservationID"]
    with pytest.raises(g3reduce.InputError, match=r"obs\.g3, frame 4 has no SourceName"):
        extract(frame)
