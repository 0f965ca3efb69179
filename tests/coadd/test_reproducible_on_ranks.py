"""With reproducible=True a coadd is the same to the bit, however it came about.

Each case is compared with the coadd of one process, whose files are in another order.
"""

import random

import anynumbers
import covertable
import numpy as np
import pytest
import skies
from shards import assert_shards_of
from spt3g import core
from ways import MEMORY, RANKS, SCHEDULES, WAYS

import g3reduce
from g3reduce.jobs.mapopener import READ_WITH
from g3reduce.kernels import choice as kernels

WEIGHTINGS = ("polarized", "unweighted", "hits")
DRIVERS = ("coadd_files", "coadd_files by spt3g", "pipeline")
BOUNDS = {"none": None, "one": 2.0**21, "too low": 1.0, "by map": {"T": 2.0**22, "Wpol": 2.0**21}}
N_FILES = 7


def same_bits(mine, theirs):
    """Two coadds have the same maps and outcome, if not the same order of input."""
    assert sorted(mine.keys()) == sorted(theirs.keys())
    assert g3reduce.digest(mine) == g3reduce.digest(theirs)
    for key in ("InputMapIds", "InputFiles"):
        assert sorted(mine[key]) == sorted(theirs[key])
    for key in ("ExactLimbs", "ExactGrid", "ExactAddends"):
        assert dict(mine[key]) == dict(theirs[key])
    expected = skies.maps_by_plane(theirs)
    for name, skymap in skies.maps_by_plane(mine).items():
        skies.assert_same_map(skymap, expected[name], name)


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("way", "family", "weighting", "n_ranks", "driver", "schedule", "how", "bound"),
    covertable.make(
        [
            *(WAYS, tuple(anynumbers.FAMILIES), WEIGHTINGS, RANKS),
            *(DRIVERS, SCHEDULES, MEMORY, tuple(BOUNDS)),
        ]
    ),
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_coadd_is_the_same_to_the_bit(
    comm,
    ways_of_memory,
    shared_folder,
    on_first,
    monkeypatch,
    way,
    family,
    weighting,
    n_ranks,
    driver,
    schedule,
    how,
    bound,
):
    assert comm.size == n_ranks
    monkeypatch.setenv(READ_WITH, "spt3g" if driver == "coadd_files by spt3g" else "")
    comm = ways_of_memory(how)
    strategy, result = way
    files = on_first(lambda: anynumbers.write_files(shared_folder, N_FILES, family, weighting))
    how_to_sum = {"collate": True, "reproducible": True, "absmax": BOUNDS[bound]}
    expected = serial(comm, files, how_to_sum)

    files = random.Random(f"{way} {family} {driver}").sample(files, len(files))
    options = {"strategy": strategy, "result": result, **how_to_sum}
    if driver == "pipeline":
        coadder = g3reduce.MPIMapCoadder(comm, **options)
        pipe = core.G3Pipeline()
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule=schedule)
        pipe.Add(coadder)
        pipe.Run()
        coadds = coadder.result
    else:
        coadds = g3reduce.coadd_files(files, mpicomm=comm, schedule=schedule, **options)
    if result == "sharded":
        ordered = {name: coadds.shards[name] for name in ("90GHz", "150GHz")}
        assert_shards_of(comm, ordered, expected)
    elif comm.rank == 0 or result == "all":
        for map_id, frame in coadds.items():
            same_bits(frame, expected[map_id])


def serial(comm, files, options):
    """The coadds of one process, on each rank."""
    from mpi4py import MPI

    return g3reduce.coadd_files(files, mpicomm=MPI.COMM_SELF, **options)


@pytest.mark.ranks(1, 2, 3, 5)
def test_numbers_of_any_size_and_such_that_are_not_finite(comm, shared_folder, on_first):
    files = on_first(
        lambda: anynumbers.write_files(
            shared_folder, N_FILES, "flat", "polarized", anynumbers.of_any_size
        ),
    )
    expected = serial(comm, files, {"reproducible": True}).frame
    for seed in range(3):
        shuffled = random.Random(seed).sample(files, len(files))
        coadd = g3reduce.coadd_files(shuffled, mpicomm=comm, reproducible=True, result="all").frame
        same_bits(coadd, expected)
        values = skies.planes(coadd)["T"]
        assert np.isnan(values).any()
        assert np.isposinf(values).any()
        assert np.isneginf(values).any()


@pytest.mark.ranks(3)
def test_some_ranks_may_have_numba_and_others_not(comm, shared_folder, on_first, monkeypatch):
    pytest.importorskip("numba")
    files = on_first(lambda: anynumbers.write_files(shared_folder, N_FILES, "flat", "polarized"))
    monkeypatch.setenv(kernels.KERNELS, kernels.NUMPY)
    expected = serial(comm, files, {"reproducible": True}).frame
    monkeypatch.setenv(kernels.KERNELS, kernels.NUMPY if comm.rank == 0 else kernels.NUMBA)
    coadd = g3reduce.coadd_files(
        files, mpicomm=comm, reproducible=True, schedule="static", result="all"
    ).frame
    same_bits(coadd, expected)


@pytest.mark.ranks(2, 3)
def test_the_file_that_is_written_is_the_same_byte_for_byte(comm, shared_folder, on_first):
    files = on_first(
        lambda: anynumbers.write_files(shared_folder, N_FILES, "sparse healpix", "polarized")
    )
    outputs = [shared_folder / "one.g3", shared_folder / "many.g3"]
    if comm.rank == 0:
        from mpi4py import MPI

        g3reduce.coadd_files(files, outputs[0], mpicomm=MPI.COMM_SELF, reproducible=True)
    g3reduce.coadd_files(files, outputs[1], mpicomm=comm, reproducible=True)
    if comm.rank == 0:
        one, many = (output.read_bytes() for output in outputs)
        assert one == many


@pytest.mark.ranks(2, 3)
def test_too_many_addends_are_refused_on_all_ranks_before_they_overflow(
    comm, shared_folder, on_first, monkeypatch
):
    monkeypatch.setattr("g3reduce.arrays.exact.MOST_ADDENDS", 6)
    files = on_first(lambda: anynumbers.write_files(shared_folder, N_FILES, "flat", "polarized"))
    with pytest.raises(g3reduce.InputError, match=r"All ranks together: 7 maps .* too many"):
        g3reduce.coadd_files(
            files, mpicomm=comm, map_ids="90GHz", reproducible=True, schedule="static"
        )


@pytest.mark.ranks(2)
def test_ranks_must_ask_for_the_same(comm):
    with pytest.raises(g3reduce.UsageError, match="reproducible"):
        g3reduce.MPIMapCoadder(comm, reproducible=comm.rank == 0)
    with pytest.raises(g3reduce.UsageError, match="absmax"):
        g3reduce.MPIMapCoadder(comm, reproducible=True, absmax=1.0 + comm.rank)
