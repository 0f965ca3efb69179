"""MPIAccumulator on any number of ranks: all know the same, and fail together."""

import pickle
from typing import NamedTuple

import numpy as np
import pytest
import scans
from spt3g import core

import g3reduce
from g3reduce import MPIAccumulator
from g3reduce.mpi import waiting


class Failed(Exception):
    """The user's own error."""


class Name(NamedTuple):
    source: str
    number: int


def a_scan(number):
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["Number"] = number
    return frame


def by_thirds(frame):
    """Groups of different kinds, of which each rank has some."""
    number = frame["Number"]
    groups = (Name("a", 1), ("b", None), frozenset([1]))
    return groups[number % 3], {"number": number, "list": [1, 2.5]}, ("data", number)


def accumulate(comm, numbers, extract=by_thirds, sorter=None, **options):
    """Each rank adds the frames of its numbers."""
    accumulator = MPIAccumulator(comm, extract, sorter, **options)
    for number in numbers:
        accumulator.add(a_scan(number))
    accumulator.finish()
    return accumulator


def dealt(comm, n=10, seed=0):
    """Numbers dealt to ranks at random, in a random order; the last rank has none."""
    rng = np.random.default_rng(seed)
    owners = rng.integers(0, max(1, comm.size - 1), n)
    return [[int(i) for i in rng.permutation(n) if owners[i] == rank] for rank in range(comm.size)]


@pytest.mark.ranks(1, 2, 3, 5)
def test_all_ranks_know_the_same_and_data_stay_where_they_were_accumulated(comm):
    for seed in range(3):
        everywhere = dealt(comm, seed=seed)
        accumulator = accumulate(comm, everywhere[comm.rank])
        expected = {}
        for rank, numbers in enumerate(everywhere):
            for number in numbers:
                group, metadata, data = by_thirds(a_scan(number))
                data = data if rank == comm.rank else None
                expected.setdefault(group, []).append((metadata, rank, data))
        assert accumulator.fullobs == expected
        order = comm.allgather(list(accumulator.fullobs))
        assert order == [order[0]] * comm.size


@pytest.mark.ranks(1, 2, 3, 5)
def test_the_sorter_puts_the_groups_of_all_ranks_in_order(comm):
    asked = []

    def sorter(item):
        _, rank, data = item
        assert rank == comm.rank  # where the data are
        asked.append(data[1])
        return -data[1]

    everywhere = dealt(comm, seed=5)
    accumulator = accumulate(comm, everywhere[comm.rank], sorter=sorter)
    assert sorted(asked) == sorted(everywhere[comm.rank])
    for items in accumulator.fullobs.values():
        numbers = [metadata["number"] for metadata, _, _ in items]
        assert numbers == sorted(numbers, reverse=True)
        for metadata, rank, data in items:
            assert metadata["number"] in everywhere[rank]
            assert data == (("data", metadata["number"]) if rank == comm.rank else None)


@pytest.mark.ranks(2, 3)
def test_only_metadata_are_sent(comm):
    class Unsendable:
        def __reduce__(self):
            raise AssertionError("data are never pickled")

    data = Unsendable()
    accumulator = accumulate(comm, [comm.rank], lambda frame: ("g", frame["Number"], data))
    assert accumulator.fullobs == {
        "g": [(rank, rank, data if rank == comm.rank else None) for rank in range(comm.size)]
    }
    accumulator.drop("g")
    assert accumulator.fullobs == {"g": [(rank, rank, None) for rank in range(comm.size)]}


@pytest.mark.ranks(2, 3)
def test_no_frames_on_any_rank_give_no_groups(comm):
    assert accumulate(comm, ()).fullobs == {}


class ByIdentity:
    """Equal to nothing but itself."""


def nowhere():
    raise Failed("so it is")


class Unmakable:
    """What can be pickled, but not unpickled."""

    def __reduce__(self):
        return nowhere, ()


def all_raise(comm, work, kinds, *parts):
    """Every rank raises one of these, with these parts in its message."""
    with pytest.raises((*kinds, g3reduce.RemoteError)) as caught:
        work()
    stories = comm.allgather((type(caught.value), str(caught.value)))
    assert {kind for kind, _ in stories} <= {*kinds, g3reduce.RemoteError}, stories
    assert {kind for kind, _ in stories} != {g3reduce.RemoteError}, stories
    assert all(part in text for part in parts for _, text in stories), stories
    assert not waiting.open_guards()


@pytest.mark.ranks(2, 3)
def test_what_cannot_be_sent_or_known_again_is_refused_on_all_with_its_group(comm):
    last = comm.rank == comm.size - 1
    whose = "The group 'mine', its metadata, or the keys of its sorter cannot be sent to other"
    for bad, key, text in (
        ((ByIdentity(), 1), 0, "(ByIdentity) is not equal to a copy of itself"),
        ((("a", float("nan")), 1), 0, "The group ('a', nan) (tuple) is not equal to a copy"),
        ((lambda: 1, 1), 0, "cannot be sent to other ranks"),
        (("mine", lambda: 1), 0, whose),
        (("mine", Unmakable()), 0, f"{whose} ranks: so it is"),
        (("mine", 1), lambda: 1, whose),
    ):
        all_raise(
            comm,
            lambda bad=bad, key=key: accumulate(
                comm,
                [0],
                lambda frame: (*(bad if last else ("usual", 1)), None),
                lambda item: key if last else 0,
            ),
            [g3reduce.ReductionError],
            text,
        )
    assert len(accumulate(comm, [comm.rank]).fullobs) == comm.size


@pytest.mark.ranks(2, 3)
def test_keys_that_cannot_be_compared_between_ranks_are_refused_on_all_with_the_group(comm):
    all_raise(
        comm,
        lambda: accumulate(
            comm,
            [comm.rank],
            lambda frame: ("all", frame["Number"], None),
            lambda item: "text" if comm.rank else 1,
        ),
        [g3reduce.ReductionError],
        "The group 'all' cannot be put in order",
        "'<' not supported between instances of 'str' and 'int'",
    )


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_a_sorter_that_fails_on_one_rank_is_an_error_on_all(comm, failing):
    def sorter(item):
        if comm.rank == failing:
            raise Failed("so it is")

    all_raise(
        comm,
        lambda: accumulate(comm, [0], sorter=sorter),
        [g3reduce.ReductionError],
        "sorter of MPIAccumulator failed: Failed: so it is (at a Scan frame made in the pipeline "
        f"on rank {failing})",
    )


@pytest.mark.ranks(2, 3)
def test_arguments_that_differ_or_cannot_be_used_are_refused_on_all(comm):
    first = comm.rank == 0
    scan, timepoint = core.G3FrameType.Scan, core.G3FrameType.Timepoint
    for arguments, text in (
        ({"sorter": repr if first else None}, "must be the same on all ranks"),
        ({"extractfunc": repr if first else None}, "must be the same on all ranks"),
        ({"on_duplicate": "sum" if first else "error"}, "must be the same on all ranks"),
        ({"dataframes": [scan if first else timepoint]}, "must be the same on all ranks"),
        ({"dataframes": [scan] if first else None}, "dataframes is None; expected types"),
        ({"sorter": 3 if first else None}, "sorter is 3"),
    ):
        with pytest.raises(g3reduce.G3ReduceError, match=text):
            MPIAccumulator(comm, **arguments)


@pytest.fixture
def files(comm, shared_folder):
    """Two observations of two files each, with six scans."""

    def write():
        rng = np.random.default_rng(2)
        found = []
        for obs in (2000, 1000):
            frames = scans.an_observation(rng, [3, 4, 2, 3, 5, 2], obs=obs)
            found += scans.write_files(shared_folder, frames, name=f"obs_{obs}")
        return found

    return comm.bcast(write() if comm.rank == 0 else None)


def run(comm, files, accumulator, how="reader", *, behind=None, guarded=False):
    pipe = core.G3Pipeline()
    if how == "reader":
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files])
    else:
        # Parallel blocks: of files whose metadata agree.
        blocks = [files[:2], files[2:]]
        pipe.Add(g3reduce.MPIIODistributor, mpicomm=comm, n_io=1, files=blocks)
    pipe.Add(accumulator)
    if behind:
        pipe.Add(behind, pipe=pipe)
    if guarded:
        with g3reduce.guard(comm):
            pipe.Run()
    else:
        pipe.Run()
    return accumulator


def start_of(item):
    return item[2][scans.KEY].start.time


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize("how", ["reader", "distributor"])
def test_pipelines_of_files_give_each_scan_once_to_one_rank(comm, files, how):
    def spoil(frame, pipe):
        if scans.KEY in frame:
            del frame[scans.KEY]

    accumulator = run(comm, files, MPIAccumulator(comm, sorter=start_of), how, behind=spoil)
    # In the order of the files that were read, not of the names.
    assert list(accumulator.fullobs) == ["field-2000", "field-1000"]
    starts = [scans.START + round(first / scans.RATE) for first in (0, 3, 7, 9, 12, 17)]
    for items in accumulator.fullobs.values():
        assert len(items) == 6
        assert all((frame is not None) == (rank == comm.rank) for _, rank, frame in items)
        mine = [
            None if frame is None else (frame[scans.KEY].start.time, frame[scans.KEY].n_samples)
            for _, _, frame in items
        ]
        everywhere = comm.allgather(mine)
        told = [[some for some in column if some] for column in zip(*everywhere, strict=True)]
        assert all(len(owners) == 1 for owners in told)
        assert [n for ((_, n),) in told] == [3, 4, 2, 3, 5, 2]
        assert [start for ((start, _),) in told] == starts


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_an_extractor_that_fails_on_one_rank_ends_all_in_a_guard(comm, files, failing):
    def extract(frame):
        # Each rank has a file of its own to fail with.
        if comm.rank == failing:
            raise Failed("so it is")
        return None

    own = [files[rank % len(files)] for rank in range(comm.size)]
    own[-1] = files[-1]

    def work():
        accumulator = MPIAccumulator(comm, extract)
        pipe = core.G3Pipeline()
        pipe.Add(core.G3Reader, filename=own[comm.rank])
        pipe.Add(accumulator)
        with g3reduce.guard(comm):
            pipe.Run()

    all_raise(
        comm,
        work,
        [g3reduce.ReductionError],
        "extractfunc of MPIAccumulator failed: Failed: so it is",
        f"on rank {failing})",
    )


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("guarded", [False, True])
def test_a_halted_pipeline_is_an_error_on_all(comm, files, guarded):
    def halt(frame, pipe):
        if frame.type == core.G3FrameType.Scan:
            pipe.halt_processing()

    all_raise(
        comm,
        lambda: run(comm, files, MPIAccumulator(comm), behind=halt, guarded=guarded),
        [g3reduce.InputError],
        "was halted before all files were read",
    )
    pipe = core.G3Pipeline()  # spt3g ends the next pipeline before it has begun
    pipe.Add(lambda frame: [])
    pipe.Run()


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("on_duplicate", ["error", "sum"])
def test_files_that_every_rank_reads_are_refused_unless_they_should_be_kept_twice(
    comm, files, on_duplicate
):
    def work():
        accumulator = MPIAccumulator(comm, on_duplicate=on_duplicate)
        pipe = core.G3Pipeline()
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=files)
        pipe.Add(accumulator)
        pipe.Run()
        return accumulator

    if on_duplicate == "sum":
        assert [len(items) for items in work().fullobs.values()] == [6 * comm.size] * 2
    else:
        all_raise(
            comm, work, [g3reduce.DuplicateError], "obs_2000_00.g3, frame 2", "rank 0 and on rank 1"
        )


@pytest.mark.ranks(2, 3)
def test_two_accumulators_in_one_pipeline_do_not_disturb_each_other(comm, files):
    whole = MPIAccumulator(comm, sorter=start_of)
    times = MPIAccumulator(
        comm, lambda f: ("t", f[scans.KEY].start.time, None) if scans.KEY in f else None
    )
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files])
    pipe.Add(whole)
    pipe.Add(times)
    pipe.Run()
    assert [len(items) for items in whole.fullobs.values()] == [6, 6]
    assert len(times.fullobs["t"]) == 12
    assert pickle.dumps(times.fullobs)  # nothing but metadata
