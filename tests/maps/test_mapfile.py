"""Map frames whose pixels stay in the file: like spt3g's frames, and with the same results."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from anymaps import STEPS, in_steps_of
from choices import some_of
from skies import (
    KINDS,
    WEIGHTINGS,
    add_maps,
    assert_same_coadd,
    assert_same_map,
    bits,
    frame_of,
    map_frame,
    maps_by_plane,
    planes,
    storage,
)
from spt3g import core, maps

from g3reduce import InputError, MismatchError, coadd_files
from g3reduce.g3files import archive
from g3reduce.g3files.frames import Unrecognised, walk
from g3reduce.g3files.source import FileBytes, MemoryBytes
from g3reduce.jobs.mapopener import READ_WITH
from g3reduce.limits import LIMITS
from g3reduce.maps import mapframe
from g3reduce.maps.mapfile import (
    frames_of,
    planes_of,
    write_map_frame,
)
from g3reduce.maps.mapframe import to_frame
from g3reduce.maps.mapsum import MapSum
from g3reduce.maps.storedframe import StoredFrame, verified_on_error, verify

pytestmark = pytest.mark.usefixtures("compiled_kernels")  # both with G3REDUCE_TEST_ALL=1

# Each kind and each weighting at least once.
SOME = [(kind, WEIGHTINGS[n % len(WEIGHTINGS)]) for n, kind in enumerate(KINDS)]
PAIRS = some_of(list(KINDS), list(WEIGHTINGS), fewer=SOME)


def write(file, *frames):
    with core.G3Writer(str(file)) as writer:
        for frame in frames:
            writer(frame)
    return str(file)


def stored_frame(file):
    (raw,) = walk(FileBytes(file))
    return StoredFrame(raw)


def rich_frame(kind="flat sparse", weighting="polarized"):
    """A Map frame with more in it than maps; some of it is large."""
    frame = map_frame(kind, weighting, 0)
    frame["Number"], frame["Yes"], frame["Ratio"] = 7, True, 0.5
    frame["Large"] = core.G3VectorDouble(np.arange(200_000.0))
    frame["Other"] = frame["T"]
    return frame


@pytest.mark.parametrize(("kind", "weighting"), PAIRS)
def test_a_stored_frame_is_read_like_a_frame(kind, weighting, tmp_path):
    theirs = rich_frame(kind, weighting)
    mine = stored_frame(write(tmp_path / "map.g3", theirs))
    assert mine.type == theirs.type
    assert sorted(mine) == sorted(mine.keys()) == sorted(theirs.keys())
    assert len(mine) == len(theirs)
    for key in (*theirs.keys(), "T", "Gone", ""):
        assert (key in mine) == (key in theirs)
    for key in ("Id", "Number", "Yes", "Ratio"):
        assert mine[key] == mine.get(key) == theirs[key]
        assert type(mine[key]) is type(theirs[key])
    assert list(mine["Large"]) == list(theirs["Large"])
    assert_same_map(mine["Other"], theirs["Other"])
    assert mine.get("Gone") is None
    assert mine.get("Gone", 5) == 5
    with pytest.raises(KeyError):
        mine["Gone"]
    for key in maps_by_plane(theirs):
        if "." not in key:
            assert_same_map(mine[key], theirs[key], key)
    for key in ("Wpol", "Wunpol"):
        if key in theirs:
            assert sorted(mine[key].keys()) == sorted(theirs[key].keys())
            for name in theirs[key].keys():  # noqa: SIM118
                assert_same_map(mine[key][name], theirs[key][name], name)
    mine.verify()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_its_planes_are_those_of_the_frame(kind, weighting, tmp_path):
    theirs = map_frame(kind, weighting, 0)
    mine = stored_frame(write(tmp_path / "map.g3", theirs))
    found, expected = planes_of(mine, "mine"), planes_of(theirs, "theirs")
    assert found.keys() == expected.keys()
    for name, plane in found.items():
        assert plane.storage == expected[name].storage
        assert plane.overflow == expected[name].overflow
        assert_same_map(plane.stub, expected[name].stub, name)
    read = mapframe.read(found, "mine", weighted=False)
    total = MapSum.of(read)
    add_maps(total, read)
    assert_same_coadd(to_frame("150GHz", total.to_maps()), theirs)
    mine.verify()


def test_maps_are_not_made_as_long_as_nobody_asks_for_one(tmp_path, monkeypatch):
    mine = stored_frame(write(tmp_path / "map.g3", map_frame("flat dense", "polarized", 0)))
    monkeypatch.setattr("g3reduce.maps.storedframe.decoded", None)
    assert mine["Id"] == "150GHz"
    assert {storage(plane.stub) for plane in mine.planes("mine").values()} == {"empty"}


def test_a_function_that_assigns_sees_real_maps(survey):
    """And sees them before anything is added."""
    files = survey(3, "healpix ring", "hits")
    seen = []

    def assign(frame):
        weight = float(np.asarray(frame["Wunpol"].TT.clone(True)).sum())
        seen.append((frame["Id"], weight, float(np.asarray(frame["T"].clone(True)).sum())))
        return {"heavy" if weight > 600 else "light": 1, "all": -1}

    mine = coadd_files(files, assign=assign)
    frames = [frame for file in files for frame in core.G3File(file) if "T" in frame]
    expected = []
    for frame in frames:
        sums = (np.array(m.clone(True)).sum() for m in (frame["Wunpol"].TT, frame["T"]))
        expected.append((frame["Id"], *sums))
    assert seen == expected
    totals = {
        name: sum(total for _, total in [(weight, t) for _, weight, t in seen if take(weight)])
        for name, take in (("heavy", lambda w: w > 600), ("light", lambda w: w <= 600))
    }
    for name, total in totals.items():
        if name in mine:
            assert np.array(mine[name]["T"].clone(True)).sum() == total
    assert np.array(mine["all"]["T"].clone(True)).sum() == -sum(totals.values())


def test_frames_of_a_file_come_in_order_with_what_is_no_map(survey):
    (file,) = survey(1, "flat sparse", "hits")
    mine, theirs = list(frames_of(file)), list(core.G3File(file))
    assert [frame.type for frame in mine] == [frame.type for frame in theirs]
    assert [isinstance(frame, StoredFrame) for frame in mine] == [
        frame.type == core.G3FrameType.Map for frame in theirs
    ]
    assert mine[0]["ObservationID"] == theirs[0]["ObservationID"]


def test_a_map_that_is_something_else_is_no_stored_frame(tmp_path):
    frame = map_frame("flat sparse", "hits", 0)
    del frame["T"]
    frame["T"] = 5
    with pytest.raises(Unrecognised):
        stored_frame(write(tmp_path / "map.g3", frame))


def test_what_looks_odd_in_a_broken_file_is_not_what_is_told(tmp_path, limits):
    limits(small_frame=0)  # a small one is compared before it is looked at
    file = write(tmp_path / "map.g3", map_frame("flat sparse", "hits", 0))
    data = bytearray((tmp_path / "map.g3").read_bytes())
    data[-100] ^= 1
    (tmp_path / "map.g3").write_bytes(data)
    frame = stored_frame(file)
    with pytest.raises(InputError, match="the content has the checksum"), verified_on_error(frame):
        raise ZeroDivisionError
    with pytest.raises(InputError, match="the content has the checksum"):
        verify(map_frame("flat sparse", "hits", 0), frame)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_written_as_spt3g_writes_it(kind, weighting, tmp_path):
    """Only pixels that are 0 at the ends of runs may be left out."""
    frame = map_frame(kind, weighting, 0)
    read = mapframe.read(planes_of(frame, "it"), "it", weighted=False)
    total = MapSum.of(read)
    add_maps(total, read)
    if not total.storable:
        pytest.skip("spt3g writes such a map in another way")
    with open(tmp_path / "made.g3", "wb") as file:
        write_map_frame(file, to_frame("150GHz", total.outlines()), total.contents())
    (again,) = core.G3File(str(tmp_path / "made.g3"))
    assert_same_coadd(again, frame)
    assert_same_coadd(again, to_frame("150GHz", total.to_maps()))


# With and without spt3g as the reader


def scaled(frame, rng):
    """Any numbers instead of integers, in the same pixels and storage."""
    made = {}
    for name, skymap in maps_by_plane(frame).items():
        copy = skymap.clone(False)
        copy._cereal_loads(skymap._cereal_dumps())
        copy *= abs(rng.normal()) * 10.0 ** rng.integers(-9, 9) + 1e-12
        copy.overflow = rng.normal()
        made[name] = copy
    return frame_of(frame["Id"], made)


def both_ways(files, folder, monkeypatch, **options):
    """The same result and the same file, whoever reads; and whether frames count as small."""
    results, contents = [], []
    for reader, small in (("", 2**17), ("", 0), ("spt3g", 2**17)):
        monkeypatch.setenv(READ_WITH, reader)
        monkeypatch.setattr(LIMITS, "small_frame", small)
        output = os.path.join(folder, f"coadd-{reader}-{small}.g3")
        results.append(coadd_files(files, output, collate=True, **options))
        with open(output, "rb") as file:
            contents.append(file.read())
    mine, *others = results
    for theirs, content in zip(others, contents[1:], strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert_same_coadd(mine[name], theirs[name])
        assert content == contents[0]
    return mine


@pytest.mark.parametrize(("kind", "weighting"), PAIRS)
def test_the_result_is_the_same_to_the_bit_whoever_reads(
    kind, weighting, tmp_path, survey, monkeypatch
):
    files = survey(3, kind, weighting, seed=1)
    mine = both_ways(files, tmp_path, monkeypatch)
    theirs = maps.coadd_map_files(files, collate=True)
    for name, frame in mine.items():
        assert_same_coadd(frame, theirs[name])


@pytest.mark.parametrize("kind", KINDS)
def test_sums_of_any_numbers_are_the_same_to_the_bit_whoever_reads(kind, tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    files = [
        write(tmp_path / f"{i}.g3", scaled(map_frame(kind, "polarized", i), rng)) for i in range(3)
    ]
    mine = both_ways(files, tmp_path, monkeypatch)["150GHz"]
    assert_same_pixels(mine, maps.coadd_map_files(files))


MIXED = [
    *itertools.permutations(("flat sparse", "flat dense")),
    *itertools.permutations(("healpix ring", "healpix indexed", "healpix dense")),
    *itertools.permutations(("healpix ring shifted", "healpix indexed", "healpix ring")),
    *itertools.permutations(("healpix nested indexed", "healpix nested dense")),
]


@pytest.mark.parametrize("numbers", some_of(["integers", "any"], fewer=["any"]))
@pytest.mark.parametrize("mixture", MIXED, ids=" + ".join)
def test_mixtures_are_the_same_to_the_bit_whoever_reads(mixture, numbers, tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    files = []
    for number, kind in enumerate([*mixture, mixture[0]]):
        frame = map_frame(kind, "polarized", number)
        frame = scaled(frame, rng) if numbers == "any" else frame
        files.append(write(tmp_path / f"{number}.g3", frame))
    mine = both_ways(files, tmp_path, monkeypatch)["150GHz"]
    assert_same_pixels(mine, maps.coadd_map_files(files))


@pytest.mark.parametrize("mixture", [*MIXED[::3], *zip(KINDS, KINDS, strict=True)], ids=" + ".join)
def test_maps_that_are_read_in_small_parts_are_added_in_the_same_order(
    mixture, tmp_path, monkeypatch
):
    """Frames are added several at a time, part by part, but in each pixel in their order."""
    rng = np.random.default_rng(5)
    files = []
    for number, kind in enumerate([*mixture, *mixture]):
        frame = scaled(map_frame(kind, "no weights", number), rng)
        files.append(write(tmp_path / f"{number}.g3", frame))
    with in_steps_of(STEPS[1]):
        mine = both_ways(files, tmp_path, monkeypatch)["150GHz"]
    assert_same_pixels(mine, maps.coadd_map_files(files))


@pytest.mark.parametrize("step", [9, 17, 64])
@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring", "healpix ring shifted"])
def test_steps_need_not_end_where_headers_and_values_of_runs_do(kind, step, tmp_path, monkeypatch):
    rng = np.random.default_rng(6)
    frames = [scaled(map_frame(kind, "polarized", number), rng) for number in range(4)]
    files = [write(tmp_path / f"{number}.g3", frame) for number, frame in enumerate(frames)]
    with in_steps_of(step):
        mine = both_ways(files, tmp_path, monkeypatch)["150GHz"]
    assert_same_pixels(mine, maps.coadd_map_files(files))


def assert_same_pixels(mine, theirs):
    """Whatever the storage, and what fell outside, which spt3g does not sum."""
    mine, theirs = planes(mine), planes(theirs)
    assert mine.keys() == theirs.keys()
    for name, values in theirs.items():
        assert bits(mine[name]).tolist() == bits(values).tolist(), name


def test_frames_in_which_planes_are_stored_differently_are_the_same(tmp_path, monkeypatch):
    files = []
    for number in range(3):
        frame = map_frame("flat sparse", "unweighted", number)
        dense = frame.pop("TQU"[number])
        dense.sparse = False
        frame["TQU"[number]] = dense
        files.append(write(tmp_path / f"{number}.g3", frame))
    both_ways(files, tmp_path, monkeypatch)
    both_ways(files, tmp_path, monkeypatch, weighted=False)


def test_runs_in_common_for_a_while_are_the_same(tmp_path, monkeypatch):
    """First one layout, then another of the same size, then the first again."""
    one, other = (map_frame("flat sparse", "no weights", seed)["T"] for seed in (0, 1))
    files = []
    for number, skymap in enumerate((one, one, other, one)):
        files.append(write(tmp_path / f"{number}.g3", frame_of("x", {"T": skymap})))
    both_ways(files, tmp_path, monkeypatch, on_duplicate="sum")


def test_empty_maps_are_the_same(tmp_path, monkeypatch):
    blank = map_frame("flat sparse", "no weights", 0)["T"].clone(False)
    full = map_frame("flat sparse", "no weights", 0)["T"]
    for number, order in enumerate(itertools.product((blank, full), repeat=2)):
        files = [
            write(tmp_path / f"{number}-{i}.g3", frame_of("x", {"T": skymap}))
            for i, skymap in enumerate(order)
        ]
        same = {"on_duplicate": "sum"} if order[0] is order[1] is full else {}
        both_ways(files, tmp_path, monkeypatch, **same)


def test_a_frame_in_memory_is_walked_like_one_in_a_file():
    frame = map_frame("healpix ring", "hits", 0)
    (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
    mine = StoredFrame(raw)
    assert mine["Id"] == "150GHz"
    assert_same_map(mine["T"], frame["T"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_map_without_pixels_does_not_shift_the_others(tmp_path, order):
    """Not even if it counts the places on its rings in another way."""
    hit = maps.HealpixSkyMap(16, weighted=False)
    hit[1000], hit[1001] = 1.0, 2.0
    hit.ringsparse = True
    files = []
    for number, skymap in enumerate((hit, maps.HealpixSkyMap(16, weighted=False, shift_ra=True))):
        frame = core.G3Frame(core.G3FrameType.Map)
        frame["Id"], frame["T"] = f"obs{number}", skymap
        files.append(str(tmp_path / f"obs{number}.g3"))
        with core.G3Writer(files[-1]) as writer:
            writer(frame)
    files = [files[i] for i in order]
    output = str(tmp_path / "coadd.g3")
    coadd = coadd_files(files, output, weighted=False).frame
    expected = maps.coadd_map_files(files, weighted=False)
    for frame in (coadd, next(iter(core.G3File(output)))):
        assert np.array_equal(np.asarray(frame["T"]), np.asarray(expected["T"]))


def test_a_newer_spt3g_writes_and_makes_maps_itself(tmp_path, survey, monkeypatch):
    files = survey(3, "healpix ring", "polarized")
    output = str(tmp_path / "coadd.g3")
    monkeypatch.setitem(archive.VERSIONS, "G3SkyMap", 2)
    coadd = coadd_files(files, output).frame
    expected = maps.coadd_map_files(files)
    assert_same_coadd(coadd, expected)
    assert_same_coadd(next(iter(core.G3File(output))), expected)


@pytest.mark.parametrize("kind", ["flat dense", "flat sparse", "healpix ring", "healpix indexed"])
def test_small_frames_that_differ_in_little_are_told_apart(tmp_path, kind):
    """What the frame before was like is only taken where every byte but the pixels says so."""
    file, frames = str(tmp_path / "many.g3"), []
    for number in range(40):
        frame = map_frame(kind, "polarized", number % 3, map_id=f"{number % 2}0GHz")
        skymap = frame.pop("T")
        skymap.overflow = float(number % 5)
        frame["T"] = skymap
        if number % 7 == 0 or number > 30:  # from there on maps come again
            frame["Note"] = "x" * number
        frames.append(frame)
    with core.G3Writer(file) as writer:
        for number, frame in enumerate(frames):
            writer(frame)
            if number % 9 == 0:
                writer(core.G3Frame(core.G3FrameType.Housekeeping))
    coadds, theirs = coadd_files(file, collate=True), maps.coadd_map_files([file], collate=True)
    assert list(coadds) == list(theirs)
    for name, coadd in coadds.items():
        skymap = coadd.pop("T")
        assert skymap.overflow == sum(n % 5 for n in range(40) if f"{n % 2}0GHz" == name)
        skymap.overflow = 0  # spt3g does not sum it
        coadd["T"] = skymap
        assert_same_coadd(coadd, theirs[name])
    with core.G3Writer(file) as writer:
        for number, frame in enumerate(frames):
            writer(changed(frame) if number == 19 else frame)
    with pytest.raises(MismatchError, match=r"many.g3, frame 19 .*[Uu]nits"):
        coadd_files(file)


def changed(frame):
    for key in "TQU":
        skymap = frame.pop(key)
        skymap.units = core.G3TimestreamUnits.Power
        frame[key] = skymap
    return frame
