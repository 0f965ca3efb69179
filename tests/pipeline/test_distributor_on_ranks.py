"""MPIIODistributor: M readers, N workers, against a plain model of the rules.

Files of letters and digits: letters are metadata, digits are data.
"""

import contextlib
import random
import time

import numpy as np
import pytest
from choices import some_of
from spt3g import core

import g3reduce
from g3reduce.pipeline.ledger import unit_of

KINDS = (
    core.G3FrameType.Calibration,
    core.G3FrameType.Observation,
    core.G3FrameType.Wiring,
    core.G3FrameType.GcpSlow,
)
KIND_OF = {"M": 0, "N": 0, "P": 0, "Q": 0, "A": 0, "B": 1, "C": 2, "D": 3}


def write(folder, name, whats):
    """A file of frames. Each is named by what is in it: a digit at the beginning makes it data,
    a letter metadata of the type of that letter."""
    path = str(folder / f"{name}.g3")
    with core.G3Writer(path) as writer:
        for what in whats:
            data = what[0].isdigit()
            kind = core.G3FrameType.Scan if data else KINDS[KIND_OF[what[0]]]
            frame = core.G3Frame(kind)
            frame["What"] = what
            writer(frame)
    return path


def write_all(folder, structure):
    """Files of a structure: an entry that is a list of names makes a shared file, a list of such
    lists a parallel block."""
    files, number = [], 0
    for entry in structure:
        if entry and isinstance(entry[0], list):
            files.append([write(folder, f"{number}-{i}", w) for i, w in enumerate(entry)])
        else:
            files.append(write(folder, str(number), entry) if entry else [])
        number += bool(entry)
    return files


def distribute(comm, files, n_io=1, module=None, *, guarded=False, **options):
    """What this rank sees: names and units, and the progress that it told of."""
    seen, units, told = [], [], []
    on_progress = options.pop("on_progress", lambda progress: None)

    def tell(progress):
        told.append((progress.read, progress.sent, progress.received, progress.done))
        on_progress(progress)

    def look(frame):
        if "What" in frame:
            seen.append(frame["What"])
            units.append(unit_of(frame))
            if module:
                module(frame)

    pipe = core.G3Pipeline()
    pipe.Add(
        g3reduce.MPIIODistributor,
        mpicomm=comm,
        n_io=n_io,
        files=files,
        on_progress=tell,
        **options,
    )
    pipe.Add(look)
    with g3reduce.guard(comm) if guarded else contextlib.nullcontext():
        pipe.Run()
    return seen, units, told


def is_data(what):
    return what[0].isdigit()


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
    fewer=[(1, "readers"), (1, "all"), (2, "none"), (2, "all"), (3, "workers"), (3, "all")],
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
    _, _, told = distribute(comm, files, n_io)
    assert (np.diff(told, axis=0) >= 0).all(), "counts only grow"
    read, sent, received, done = np.sum(comm.allgather(told[-1]), axis=0)
    assert sent == received == done == 22
    # Merged leaders and shared files are seen by each reader.
    assert read == 21 + n_io * 3


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


def assert_fails_everywhere(comm, files, pattern, n_io=1, **options):
    with pytest.raises(g3reduce.G3ReduceError, match=pattern):
        distribute(comm, files, n_io, guarded=True, **options)


@pytest.mark.ranks(1, 2, 5)
def test_leaders_that_contradict_each_other_are_an_error(comm, shared_folder, on_first):
    structure = [[["A", "1"], ["B", "A", "2"], ["M", "3"]]]
    files = on_first(lambda: write_all(shared_folder, structure))
    text = (
        r"0-0\.g3, frame 0 and .*0-2\.g3, frame 0: each is Calibration frame number 1 of its file, "
        r"but they differ \(not the same in both: 'What'\).* one after another.* dataframetype"
    )
    assert_fails_everywhere(comm, files, text, n_io=min(2, comm.size - 1) or 1)
    # The ways out.
    seen, *_ = distribute(comm, files[0])
    workers = [whats for whats in comm.allgather(seen) if whats]
    assert all([w for w in whats if not is_data(w)] == list("ABAM") for whats in workers)
    types = [core.G3FrameType.Scan, core.G3FrameType.Calibration]
    seen, *_ = distribute(comm, files, dataframetype=types)
    assert sorted(w for whats in comm.allgather(seen) for w in whats if w != "B") == list("123AAM")


@pytest.mark.ranks(1, 2, 5)
def test_metadata_after_data_in_a_block_are_an_error(comm, shared_folder, on_first):
    structure = [[["A", "1"], ["A", "2", "3", "C", "4"]]]
    files = on_first(lambda: write_all(shared_folder, structure))
    text = (
        r"0-1\.g3, frame 3: a Wiring frame, which is metadata, comes after data in a file of a "
        r"parallel block.* by itself.* dataframetype"
    )
    assert_fails_everywhere(comm, files, text, n_io=min(2, comm.size - 1) or 1)


def leave_halted():
    def fail(frame):
        if frame.type == core.G3FrameType.EndProcessing:
            raise ZeroDivisionError
        core.G3Pipeline.halt_processing()

    pipe = core.G3Pipeline()
    pipe.Add(lambda frame: core.G3Frame(core.G3FrameType.Scan))
    pipe.Add(fail)
    pipe.Run()


def run_nothing():
    """After an exception at its end, a pipeline leaves it to the next one to be halted."""
    pipe = core.G3Pipeline()
    pipe.Add(lambda frame: [])
    pipe.Run()


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("where", ["a reader", "a worker", "a reader, before its first frame"])
def test_a_pipeline_that_is_halted_is_an_error_on_all_ranks(comm, shared_folder, on_first, where):
    """Ctrl-C lets a pipeline end as if all were well."""
    path = on_first(lambda: write(shared_folder, "file", [f"0.{i:03}" for i in range(60)]))
    halted = comm.size - 1 if where == "a worker" else 0
    halts = []

    def halt(progress):
        enough = max(progress.read, progress.received) >= 3
        if comm.rank == halted and enough and not halts:
            halts.append(progress)
            core.G3Pipeline.halt_processing()

    def work(frame):
        if comm.rank != halted:  # which so gets some frames, too
            time.sleep(0.005)

    if comm.rank == halted and "before" in where:
        with pytest.raises(ZeroDivisionError):
            leave_halted()

    text = "was halted before all" if comm.rank == halted else f"rank {halted}: .*was halted before"
    with pytest.raises(g3reduce.G3ReduceError, match=text):
        distribute(comm, [path], module=work, guarded=True, on_progress=halt)
    run_nothing()


@pytest.mark.ranks(2, 3)
def test_a_file_that_is_not_there_is_told_on_all_ranks(comm, shared_folder):
    with pytest.raises(g3reduce.G3ReduceError, match=r"nowhere\.g3"):
        distribute(comm, [str(shared_folder / "nowhere.g3")])


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("n_io", [0, -1, "all", "size", 1.5])
def test_a_number_of_readers_that_cannot_be(comm, n_io):
    n_io = comm.size if n_io == "size" else n_io
    with pytest.raises(g3reduce.UsageError, match=r"n_io is .*; expected how many of the \d ranks"):
        distribute(comm, [], n_io)


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
