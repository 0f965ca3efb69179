"""A coadd on any number of ranks is spt3g's serial coadd, to the bit.

The maps hold small integers, so that sums are exact in any order: nothing is excused by rounding.
All pairs of choices are covered; with ``G3REDUCE_TEST_ALL=1`` in the environment all combinations
of strategy, kind of map, weighting and number of ranks.
"""

import itertools

import covertable
import numpy as np
import pytest
import skies
from choices import ALL
from shards import assert_shards_of
from spt3g import core, maps
from ways import MEMORY, RANKS, SCHEDULES, WAYS

import g3reduce
from g3reduce import strategies
from g3reduce.jobs.mapopener import READ_WITH

DRIVERS = ("coadd_files", "coadd_files by spt3g", "pipeline")
ROOTS = ("first", "last")


def combinations():
    if not ALL:
        factors = [WAYS, skies.KINDS, skies.WEIGHTINGS, RANKS, DRIVERS, SCHEDULES, ROOTS, MEMORY]
        return covertable.make(factors)
    full = itertools.product(WAYS, skies.KINDS, skies.WEIGHTINGS, RANKS)
    rest = itertools.cycle(itertools.product(DRIVERS, SCHEDULES, ROOTS, MEMORY))
    return [(*case, *others) for case, others in zip(full, rest, strict=False)]


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("way", "kind", "weighting", "n_ranks", "driver", "schedule", "root", "how"),
    combinations(),
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_coadd_is_the_serial_one(
    comm,
    ways_of_memory,
    shared_folder,
    survey,
    monkeypatch,
    way,
    kind,
    weighting,
    n_ranks,
    driver,
    schedule,
    root,
    how,
):
    assert comm.size == n_ranks
    monkeypatch.setenv(READ_WITH, "spt3g" if driver == "coadd_files by spt3g" else "")
    comm = ways_of_memory(how)
    strategy, result = way
    root = 0 if root == "first" else comm.size - 1
    # Four files: of five ranks one has none.
    files = survey(4, kind, weighting)
    output = shared_folder / "coadd.g3" if result != "sharded" else None
    options = {"collate": True, "strategy": strategy, "result": result, "root": root}
    if driver != "pipeline":
        coadds = g3reduce.coadd_files(files, output, mpicomm=comm, schedule=schedule, **options)
    else:
        coadds = run_pipeline(comm, files, output, schedule, options)
    comm.Barrier()  # the output is there when all have come here

    expected = maps.coadd_map_files(files, collate=True)
    if result == "sharded":
        assert coadds == {}
        assert coadds.here
        assert_shards_of(comm, coadds.shards, expected)
        return
    assert coadds.shards == {}
    assert coadds.here == (comm.rank == root or result == "all")
    if coadds.here:
        assert list(coadds) == ["90GHz", "150GHz"]
        for map_id, frame in coadds.items():
            skies.assert_same_coadd(frame, expected[map_id])
    else:
        assert coadds == {}
    written = [frame for frame in core.G3File(str(output)) if frame.type == core.G3FrameType.Map]
    assert [frame["Id"] for frame in written] == ["Coadd90GHz", "Coadd150GHz"]
    for frame in written:
        skies.assert_same_coadd(frame, expected[frame["Id"].removeprefix("Coadd")])


def run_pipeline(comm, files, output, schedule, options):
    coadder = g3reduce.MPIMapCoadder(comm, drop_input_frames=True, **options)
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule=schedule)
    pipe.Add(coadder)
    if output and comm.rank == options["root"]:
        pipe.Add(core.G3Writer, filename=str(output))
    pipe.Run()
    assert coadder.result.statistics.ranks == comm.size
    assert coadder.coadd_frames is coadder.result
    return coadder.result


@pytest.mark.ranks(1, 2, 3, 5)
def test_sums_of_any_numbers_are_as_good_as_the_serial_ones(comm, shared_folder, on_first):
    """A sum of n numbers errs, in any order, by less than n - 1 units of the sum of their sizes."""

    def write():
        rng = np.random.default_rng(7)
        files = []
        for i in range(6):
            files.append(str(shared_folder / f"obs{i}.g3"))
            frame = skies.map_frame("flat sparse", "polarized", seed=i)
            skymap = frame.pop("T")
            values = np.asarray(skymap)
            values *= rng.normal(size=values.shape) * 10.0 ** rng.integers(-8, 8, values.shape)
            frame["T"] = skymap
            with core.G3Writer(files[-1]) as writer:
                writer(frame)
        return files

    files = on_first(write)
    coadd = g3reduce.coadd_files(files, mpicomm=comm, result="all").frame
    inputs = [np.asarray(frame["T"]) for file in files for frame in core.G3File(file)]
    exact = np.sum(np.array(inputs, dtype=np.longdouble), axis=0)
    bound = len(files) * 2.0**-53 * np.sum(np.abs(inputs), axis=0)
    assert np.all(np.abs(np.asarray(coadd["T"]) - exact) <= bound)
    assert np.count_nonzero(bound) > 100


@pytest.mark.ranks(2, 3)
def test_maps_of_one_rank_only(comm, survey):
    files = survey(1, "healpix ring", "polarized")
    for strategy in ("gather", "tree", "allreduce"):
        coadd = g3reduce.coadd_files(files, mpicomm=comm, strategy=strategy, map_ids="90GHz").frame
        if comm.rank == 0:
            skies.assert_same_coadd(coadd, maps.coadd_map_files(files, map_ids=["90GHz"]))
        else:
            assert coadd is None


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring shifted"])
def test_maps_that_have_all_the_same_runs(comm, shared_folder, on_first, kind, alike):
    """On all ranks or only on each of them; of three ranks one has no map."""

    def write():
        files = []
        for number in range(2):
            frame = skies.map_frame(kind, "no weights", 0 if alike else number)
            skymap = frame["T"]
            skymap *= float(number + 1)
            files.append(str(shared_folder / f"obs{number}.g3"))
            with core.G3Writer(files[-1]) as writer:
                for map_id in "ab":
                    frame = core.G3Frame(core.G3FrameType.Map)
                    frame["Id"], frame["T"] = map_id, skymap
                    writer(frame)
        return files

    files = on_first(write)
    expected = maps.coadd_map_files(files)
    for strategy in strategies.names("all"):
        coadd = g3reduce.coadd_files(
            files, mpicomm=comm, strategy=strategy, result="all", schedule="static"
        ).frame
        skies.assert_same_coadd(coadd, expected)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize(
    "kinds", [("flat sparse", "flat dense"), ("healpix ring", "healpix dense")]
)
def test_storages_that_mix_over_ranks_make_the_fullest(comm, shared_folder, on_first, kinds):
    def write():
        return [
            *skies.write_files(shared_folder, 2, kinds[0], "polarized"),
            *skies.write_files(shared_folder, 2, kinds[1], "polarized", start=2),
        ]

    files = on_first(write)
    expected = maps.coadd_map_files(files, map_ids=["150GHz"])
    coadd = g3reduce.coadd_files(
        files, mpicomm=comm, map_ids="150GHz", result="all", schedule="static"
    ).frame
    mine, theirs = skies.planes(coadd), skies.planes(expected)
    assert mine.keys() == theirs.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], theirs[name])
    assert coadd["T"].sparse is False if "flat" in kinds[0] else coadd["T"].dense


@pytest.mark.ranks(1, 3)
def test_several_coadders_and_splits_in_one_pipeline(comm, shared_folder, survey):
    files = survey(5, "flat sparse", "polarized")

    def halves(frame):
        odd = files.index(g3reduce.unit_of(frame).file) % 2
        return {"even" if not odd else "odd": 1, "difference": -1 if odd else 1}

    by_id = g3reduce.MPIMapCoadder(comm, collate=True)
    splits = g3reduce.MPIMapCoadder(comm, assign=halves, strategy="allreduce", result="all")
    everything = g3reduce.MPIMapCoadder(comm, output_map_id="All", keep_outputs=False)
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files])
    for coadder in (by_id, splits, everything):
        pipe.Add(coadder)
    output = shared_folder / "all.g3"
    if comm.rank == 0:
        pipe.Add(lambda frame: "InputMapIds" in frame or frame.type != core.G3FrameType.Map)
        pipe.Add(core.G3Writer, filename=str(output))
    pipe.Run()
    comm.Barrier()

    assert everything.coadd_frame is None
    even = maps.coadd_map_files(files[0::2], output_map_id="even")
    odd = maps.coadd_map_files(files[1::2], output_map_id="odd")
    assert set(splits.coadd_frames) == {"even", "odd", "difference"}
    skies.assert_same_coadd(splits.coadd_frames["even"], even)
    skies.assert_same_coadd(splits.coadd_frames["odd"], odd)
    difference = skies.planes(splits.coadd_frames["difference"])
    for name, plane in difference.items():
        a, b = skies.planes(even)[name], skies.planes(odd)[name]
        np.testing.assert_array_equal(plane, a - b if name in "TQU" else a + b)
    if comm.rank == 0:
        frames = {
            frame["Id"]: frame
            for frame in core.G3File(str(output))
            if frame.type == core.G3FrameType.Map
        }
        assert set(frames) == {"Coadd90GHz", "Coadd150GHz", "even", "odd", "difference", "All"}
        skies.assert_same_coadd(frames["All"], maps.coadd_map_files(files, output_map_id="All"))


@pytest.mark.ranks(2, 3)
def test_observations_are_recorded_by_file_not_by_what_a_rank_read_before(
    comm, shared_folder, on_first
):
    def write():
        files = skies.write_files(shared_folder, 5, "flat sparse", "polarized")
        bare = str(shared_folder / "no_observation.g3")
        with core.G3Writer(bare) as writer:
            writer(skies.map_frame("flat sparse", "polarized", seed=99, map_id="90GHz"))
        return [*files, bare]

    files = on_first(write)
    coadd = g3reduce.coadd_files(
        files, mpicomm=comm, map_ids="90GHz", record_obs_id=True, result="all"
    ).frame
    serial = maps.coadd_map_files(files[:5], map_ids=["90GHz"], record_obs_id=True)
    assert list(coadd["InputMapIds"]) == [*serial["InputMapIds"], "90GHz"]
    assert list(coadd["InputFiles"]) == files
