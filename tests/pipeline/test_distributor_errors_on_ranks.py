"""What MPIIODistributor refuses, on all ranks."""

import time

import pytest
from letterfiles import distribute, is_data, write, write_all
from spt3g import core

import g3reduce


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
