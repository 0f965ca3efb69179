"""MPIIODistributor: M readers, N workers, against a plain model of the rules.

Files of letters and digits: letters are metadata, digits are data.
"""

import itertools
import random
import time

import numpy as np
import pytest
from choices import some_of
from letterfiles import distribute, is_data, write, write_all
from spt3g import core

import g3reduce


def model(structure):
    """All metadata in order; and for each data frame, how many of them come before it."""
    metadata, before = [], {}
    for entry in structure:
        if entry and isinstance(entry[0], list):
            leaders = [what for file in entry for what in file if not is_data(what)]
            metadata += list(dict.fromkeys(leaders))
            before |= {what: len(metadata) for file in entry for what in file if is_data(what)}
        else:
            for what in entry:
                if is_data(what):
                    before[what] = len(metadata)
                else:
                    metadata.append(what)
    return metadata, before


def check(comm, structure, seen, units, n_io):
    """Every rule, on all ranks."""
    metadata, before = model(structure)
    everywhere = comm.allgather(seen)
    workers = everywhere[n_io:] if comm.size > 1 else everywhere
    assert not any(everywhere[:n_io]) or comm.size == 1, "readers see nothing"
    arrived = [what for whats in workers for what in whats if is_data(what)]
    assert sorted(arrived) == sorted(before), "each data frame on exactly one worker"
    for whats in workers:
        assert [what for what in whats if not is_data(what)] == metadata, "all metadata, in order"
        passed = 0
        for what in whats:
            if is_data(what):
                assert passed == before[what], f"{what} between other metadata than in the input"
            else:
                passed += 1
        files = dict.fromkeys(what.split(".")[0] for what in whats if is_data(what))
        for file in files:
            own = [what for what in whats if what.split(".")[0] == file]
            assert own == sorted(own), "own frames of a file in order"
    for what, unit in zip(seen, units, strict=True):
        if is_data(what):  # its name says where it is
            file, index = what.split(".")
            assert unit.file.endswith(f"/{file}.g3")
            assert unit.index == int(index)


def random_structure(rng):
    """A structure that keeps the rules for parallel blocks. Data are named <file>.<index>."""
    structure = []
    for number in range(rng.randint(1, 4)):
        if rng.random() < 0.4:
            whats = [rng.choice("ABCD1") for _ in range(rng.randint(1, 5))]
            structure.append(
                [
                    f"{number}.{i:03}" if w == "1" else f"{w}{number}.{i}"
                    for i, w in enumerate(whats)
                ]
            )
            continue
        block = []
        for i in range(rng.randint(1, 6)):
            # Of each type the first few, in any order between the types.
            types = [letter for letter in "ABCD" for _ in range(rng.choice((0, 0, 1, 2)))]
            rng.shuffle(types)
            file = [f"{t}{number}/{types[:at].count(t)}" for at, t in enumerate(types)]
            length = rng.choice((0, 1, 2, 3, 8))
            file += [f"{number}-{i}.{len(file) + j:03}" for j in range(length)]
            block.append(file or [f"{number}-{i}.000"])
        structure.append(block)
    if rng.random() < 0.2:
        structure.insert(rng.randint(0, len(structure)), [])
    return structure


READERS_AND_DELAYS = some_of(
    [1, 2, 3],
    ["none", "readers", "workers", "all"],
    fewer=[(1, "readers"), (2, "all"), (3, "workers")],
)


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("n_ranks", "n_io", "delays"),
    [
        (n_ranks, n_io, delays)
        for n_ranks in (1, 2, 3, 5)
        for n_io, delays in READERS_AND_DELAYS
        if n_io < max(n_ranks, 2)
    ],
)
def test_the_rules_hold_whatever_the_blocks(comm, shared_folder, on_first, n_ranks, n_io, delays):
    for seed in range(12):
        structure = random_structure(random.Random(1000 * n_io + seed))
        folder = shared_folder / str(seed)
        if comm.rank == 0:
            folder.mkdir()
        files = on_first(lambda s=structure, f=folder: write_all(f, s))
        rng = random.Random(seed * 100 + comm.rank)

        def sleep_sometimes(_, rng=rng):
            reads = comm.rank < n_io
            if delays in ("all", "readers" if reads else "workers") and rng.random() < 0.3:
                time.sleep(rng.choice((0.0005, 0.004)))

        seen, units, _ = distribute(comm, files, n_io, on_progress=sleep_sometimes)
        check(comm, structure, seen, units, n_io)


@pytest.mark.ranks(1, 2, 3)
def test_the_worked_example(comm, shared_folder, on_first):
    whole = "MN12345PQ67"
    path = on_first(lambda: write(shared_folder, "example", whole))
    seen, units, _ = distribute(comm, [path])
    everywhere = comm.allgather("".join(seen))
    if comm.size == 1:
        assert everywhere == [whole]
        return
    assert everywhere[0] == ""
    for text in everywhere[1:]:
        first, last = text.split("PQ")
        assert first[:2] == "MN"
        assert list(first[2:]) == sorted(set(first[2:]) & set("12345"))
        assert list(last) == sorted(set(last) & set("67"))
    assert sorted("".join(everywhere).translate({ord(c): None for c in "MNPQ"})) == list("1234567")
    assert [whole[unit.index] for unit in units] == seen


@pytest.mark.ranks(1, 2)
@pytest.mark.parametrize("suffix", [".g3", ".g3.gz"])
def test_frames_come_as_they_are_in_their_files(comm, shared_folder, on_first, suffix):
    """Those of plain files are not serialized again on their way."""

    def make():
        path = str(shared_folder / f"file{suffix}")
        with core.G3Writer(path) as writer:
            for i in range(5):
                frame = core.G3Frame(core.G3FrameType.Scan)
                frame["What"] = str(i)
                frame["Numbers"] = core.G3VectorDouble(np.full(1000 * i, float(i)))
                writer(frame)
        return path

    numbers = []
    path = on_first(make)
    distribute(comm, [[path]], module=lambda frame: numbers.append(np.array(frame["Numbers"])))
    expected = [np.full(1000 * i, float(i)) for i in range(5)]
    if comm.rank == comm.size - 1:
        assert all(np.array_equal(*pair) for pair in zip(numbers, expected, strict=True))


@pytest.mark.ranks(2, 3, 5)
def test_uneven_lengths_and_slow_workers(comm, shared_folder, on_first):
    """One long file and many short ones; the last rank takes its time."""
    structure = [
        [[f"0-0.{i:03}" for i in range(60)], *([f"0-{i}.000"] for i in range(1, 6))],
        ["A", "1.001", "B"],
        [["2-0.000"]],
    ]
    n_io = max(1, comm.size // 2)
    files = on_first(lambda: write_all(shared_folder, structure))
    slow = 0.02 if comm.rank == comm.size - 1 else 0.001
    seen, units, _ = distribute(comm, files, n_io, module=lambda frame: time.sleep(slow))
    check(comm, structure, seen, units, n_io)
    counts = comm.allgather(len(seen))
    if comm.size - n_io > 1:
        assert counts[-1] < max(counts[n_io:-1]) / 2, "it gets less to do"


@pytest.mark.ranks(1, 3, 5)
def test_more_readers_than_files_and_more_ranks_than_frames(comm, shared_folder, on_first):
    structure = [[["A0", "0-0.001"]]]
    files = on_first(lambda: write_all(shared_folder, structure))
    n_io = max(1, comm.size - 2)
    seen, units, _ = distribute(comm, files, n_io)
    check(comm, structure, seen, units, n_io)


@pytest.mark.ranks(1, 2, 5)
def test_files_without_data_and_blocks_without_files(comm, shared_folder, on_first):
    structure = [[], ["A", "B"], [["C1"], ["C1", "D1"]], []]
    files = on_first(lambda: write_all(shared_folder, structure))
    seen, units, _ = distribute(comm, files)
    check(comm, structure, seen, units, 1)
    assert distribute(comm, [])[0] == []


@pytest.mark.ranks(1, 3, 5)
def test_progress_adds_up(comm, shared_folder, on_first):
    structure = [["A", "0.001"], [["B", *(f"1-{j}.{i:03}" for i in range(1, 8))] for j in range(3)]]
    files = on_first(lambda: write_all(shared_folder, structure))
    n_io = 2 if comm.size > 3 else 1
    totals = []
    note = lambda progress: totals.append(progress.totals)  # noqa: E731
    _, _, told = distribute(comm, files, n_io, on_progress=note)
    assert (np.diff(told, axis=0) >= 0).all(), "counts only grow"
    read, sent, received, done = np.sum(comm.allgather(told[-1]), axis=0)
    assert sent == received == done == 22
    # Merged leaders and shared files are seen by each reader.
    assert read == 21 + n_io * 3
    if comm.rank == 0:
        n_files = len(list(shared_folder.glob("*.g3")))
        assert (totals[-1].files, totals[-1].n_files, totals[-1].frames) == (n_files, n_files, 24)
        assert all(one.frames <= two.frames for one, two in itertools.pairwise(totals))
        assert 0 < totals[-1].bytes <= totals[-1].n_bytes
    else:
        assert totals[-1] is None


@pytest.mark.ranks(2, 3)
def test_pipeline_info_is_joined_and_that_of_readers_left_out(comm, shared_folder, on_first):
    def make():
        for i in range(4):
            with core.G3Writer(str(shared_folder / f"{i}.g3")) as writer:
                frame = core.G3Frame(core.G3FrameType.PipelineInfo)
                frame[f"2020-01-0{i + 1}"] = core.G3String(f"pipeline {i}")
                frame["same key"] = core.G3String(f"of {min(i, 1)}")
                writer(frame)
                writer(core.G3Frame(core.G3FrameType.Scan))
        return [[str(shared_folder / f"{i}.g3") for i in range(4)]]

    found = []
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIIODistributor, mpicomm=comm, n_io=1, files=on_first(make))

    def look(frame):
        if frame.type == core.G3FrameType.PipelineInfo:
            found.append({key: frame[key] for key in frame})

    pipe.Add(look)
    pipe.Run()
    (info,) = found
    added = [key for key, value in info.items() if isinstance(value, core.G3PipelineInfo)]
    assert len(added) == 1, "what each rank's own pipeline adds"
    if comm.rank == 0:
        assert list(info) == added
        return
    assert {key: value for key, value in info.items() if key not in added} == {
        **{f"2020-01-0{i + 1}": f"pipeline {i}" for i in range(4)},
        "same key": "of 0",
        "same key (2)": "of 1",
    }


@pytest.mark.ranks(1, 2, 3)
def test_maps_as_data_are_summed_once(comm, survey):
    files = survey(4, "flat sparse", "polarized")
    expected = g3reduce.coadd_files(files, mpicomm=comm, collate=True)
    coadder = g3reduce.MPIMapCoadder(comm, collate=True)
    pipe = core.G3Pipeline()
    pipe.Add(
        g3reduce.MPIIODistributor,
        mpicomm=comm,
        n_io=1,
        files=[files[0], files[1:]],
        # Each file leads with an observation of its own.
        dataframetype=[core.G3FrameType.Map, core.G3FrameType.Observation],
    )
    pipe.Add(coadder)
    pipe.Run()
    assert coadder.coadd_frames.keys() == expected.keys()
    for name, frame in coadder.coadd_frames.items():
        assert list(frame["InputFiles"]) == files
        assert list(frame["InputMapIds"]) == list(expected[name]["InputMapIds"])
        for key in ("T", "Q", "U"):
            np.testing.assert_allclose(np.asarray(frame[key]), np.asarray(expected[name][key]))


@pytest.mark.ranks(1, 2, 5)
def test_the_number_of_readers_by_itself(comm, shared_folder, on_first):
    structure = [["A"], [[f"1-{i}.000"] for i in range(4)]]
    files = on_first(lambda: write_all(shared_folder, structure))
    seen, units, _ = distribute(comm, files, n_io=None)
    check(comm, structure, seen, units, 1)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("named", [True, False], ids=["our reader", "spt3g's reader"])
def test_a_parallelizer_in_a_pipeline_of_ones_own(comm, shared_folder, on_first, named):
    path = on_first(lambda: write(shared_folder, "file", "MN123PQ45"))
    readers = comm.Split(0 if comm.rank == 0 else 1, comm.rank)
    parallelizer = g3reduce.MPIFrameParallelizer(readers if comm.rank == 0 else None, comm, 1)
    pipe, seen = core.G3Pipeline(), []
    if comm.rank == 0:
        if named:
            pipe.Add(g3reduce.MPIFileReader, mpicomm=readers, files=[path])
        else:
            pipe.Add(core.G3Reader, filename=path)
    pipe.Add(parallelizer)
    pipe.Add(lambda frame: seen.append(frame["What"]) if "What" in frame else None)
    pipe.Run()
    readers.Free()
    everywhere = comm.allgather("".join(seen))
    assert all([c for c in text if c.isalpha()] == list("MNPQ") for text in everywhere[1:])
    assert sorted(c for text in everywhere for c in text if c.isdigit()) == list("12345")


def resident():
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


@pytest.mark.ranks(2, 3)
def test_memory_is_bounded_when_readers_are_fast(comm, shared_folder, on_first):
    """120 MB pass through; workers are slow."""

    def make():
        path = str(shared_folder / "large.g3")
        with core.G3Writer(path) as writer:
            for _ in range(60):
                frame = core.G3Frame(core.G3FrameType.Scan)
                frame["What"] = "1"
                frame["Numbers"] = core.G3VectorDouble(np.zeros(250_000))
                writer(frame)
        return path

    path = on_first(make)
    distribute(comm, [path])  # what libraries and allocators take, once
    before, most = resident(), [0]

    def measure(progress):
        most[0] = max(most[0], resident())

    distribute(comm, [path], module=lambda frame: time.sleep(0.01), on_progress=measure)
    growth = (most[0] - before) / 2e6
    assert growth < 20, f"{growth:.1f} frames in memory on rank {comm.rank}"
