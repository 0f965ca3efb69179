"""What is told of a coadd while it is made: the same of any number of ranks."""

import os
import time
from collections import Counter

import pytest
import skies

import g3reduce
from g3reduce import coadd_files
from g3reduce.progress import FileDone, JSONLog, SetAside, read_log
from g3reduce.progress.timing import STAGES

N_FILES = 7


@pytest.fixture
def files(comm, shared_folder):
    if comm.rank == 0:
        skies.write_files(shared_folder, N_FILES, "flat sparse", "hits")
    comm.Barrier()
    return sorted(str(file) for file in shared_folder.glob("*.g3"))


def told_of(comm, files, **options):
    """The events, on rank 0, and the coadds."""
    events = []
    observer = events.append if comm.rank == 0 else None
    coadds = coadd_files(files, mpicomm=comm, progress=observer, collate=True, **options)
    assert bool(events) == (comm.rank == 0)
    return events, coadds


def of_kind(events, kind):
    return [event for event in events if event.kind == kind]


@pytest.mark.ranks(1, 3)
def test_each_file_is_done_once_by_the_rank_that_read_it(comm, files, shared_folder):
    output = shared_folder / "coadd.g3"
    for _ in range(2):  # the board is used again
        events, coadds = told_of(comm, files, output_file=output)
        read = {unit.file: comm.rank for unit in coadds.ledger.units()} if comm.rank == 0 else {}
        if comm.rank:
            continue
        kinds = [event.kind for event in events if not event.kind.startswith("file")]
        assert kinds == ["begun", *["stage"] * 3, "joined", "stage", "written", "summary", "ended"]
        done = of_kind(events, "file done")
        assert sorted(event.file for event in done) == files
        assert set(read) == set(files)
        assert {event.rank for event in done} <= set(range(comm.size))
        for event in done:
            assert event.n_bytes == os.path.getsize(event.file)
            assert event.n_frames == 3
            assert event.began <= event.time
            assert event.sound
        totals = events[-1].totals
        n_bytes = sum(map(os.path.getsize, files))
        assert (totals.files, totals.n_files, totals.frames) == (N_FILES, N_FILES, 3 * N_FILES)
        assert totals.bytes == totals.n_bytes == n_bytes
        assert totals.fraction == 1.0
        assert [event.totals.files for event in done] == list(range(1, N_FILES + 1))
        assert of_kind(events, "written")[0].n_bytes == output.stat().st_size
        assert (events[0].n_ranks, events[-1].outcome) == (comm.size, "done")


@pytest.mark.ranks(1, 3)
def test_a_failure_is_not_told_as_joining(comm, files):
    if comm.rank == 0:
        os.truncate(files[3], os.path.getsize(files[3]) - 40)
    comm.Barrier()
    events = []
    with pytest.raises(g3reduce.G3ReduceError):
        coadd_files(files, mpicomm=comm, progress=events.append, collate=True)
    if comm.rank == 0:
        assert [event.stage for event in of_kind(events, "stage")] == ["looking", "reading"]
        assert (events[-1].kind, events[-1].outcome) == ("ended", "failed")


@pytest.mark.ranks(1, 3)
def test_stages_of_all_ranks_are_told_and_add_up(comm, files, shared_folder):
    def slow(frame):
        time.sleep(0.01 * (comm.rank + 1))
        return {frame["Id"]: 1}

    log = JSONLog(shared_folder / "run.jsonl") if comm.rank == 0 else None
    coadds = coadd_files(
        *(files, shared_folder / "coadd.g3"),
        mpicomm=comm,
        assign=slow,
        schedule="static",
        strategy="tree",
        progress=log,
    )
    timing = coadds.timing
    assert timing.ranks == comm.bcast(timing.ranks, 0)
    assert [one.rank for one in timing.ranks] == list(range(comm.size))
    for one in timing.ranks:
        stages = [getattr(one, stage) for stage in STAGES]
        assert min(stages) >= 0.0
        assert sum(stages) <= one.seconds + 1e-6
        assert (one.writing > 0) == (one.rank == 0)
        assert 1e7 < one.peak_memory < 1e11
    # Files are dealt out; each has two maps or more.
    least = [0.02 * (rank + 1) * len(files[rank :: comm.size]) for rank in range(comm.size)]
    for one, seconds in zip(timing.ranks, least, strict=True):
        assert one.reading >= seconds
    first, last = timing.ranks[0], timing.ranks[-1]
    assert first.reading + first.waiting >= last.reading - 0.02
    assert timing.longest("reading") >= timing.mean("reading") > 0
    assert 0 < timing.balance <= 1
    (moved,) = {comm.allreduce(coadds.statistics.bytes_sent + coadds.statistics.bytes_direct)}
    assert timing.bytes_moved == moved
    assert bool(moved) == (comm.size > 1)
    if comm.rank == 0:
        (told,) = of_kind(read_log(shared_folder / "run.jsonl"), "summary")
        strategies = {1: "none", 3: coadds.statistics.strategy}
        assert (told.strategy, told.why) == (strategies[comm.size], coadds.statistics.why)
        assert told.bytes_moved == moved
        assert [one.reading for one in told.ranks] == [
            round(one.reading, 6) for one in timing.ranks
        ]
        assert told.ranks[0].host == timing.ranks[0].host


@pytest.mark.ranks(1, 3)
def test_bad_files_are_set_aside_with_their_reason(comm, files):
    if comm.rank == 0:
        with open(files[2], "r+b") as stream:
            stream.truncate(os.path.getsize(files[2]) - 100)
    comm.Barrier()
    events, coadds = told_of(comm, files, on_error="skip")
    if comm.rank == 0:
        aside = [event for event in events if isinstance(event, SetAside)]
        assert [(one.file, one.reason) for one in aside] == [
            (one.file, one.reason) for one in coadds.left_out
        ]
        assert len(aside) == 1
        assert events[-1].totals.set_aside == 1
        assert events[-1].totals.files == N_FILES


@pytest.mark.ranks(3)
def test_a_file_in_pieces_is_done_when_all_of_them_are(comm, files, limits):
    limits(smallest_piece=1000)
    events, _ = told_of(comm, files[:1])
    if comm.rank == 0:
        done = [event for event in events if isinstance(event, FileDone)]
        assert len({event.part for event in done}) == len(done) > 3
        assert sum(event.n_bytes for event in done) == os.path.getsize(files[0])
        assert [event.totals.files for event in done] == [0] * (len(done) - 1) + [1]
        assert events[-1].totals.frames == 3


@pytest.mark.ranks(1, 3)
def test_an_error_and_a_failing_observer(comm, files, caplog):
    def fails(event):
        raise KeyError("of the user")

    expected = coadd_files(files, mpicomm=comm, collate=True, result="all")
    made = coadd_files(files, mpicomm=comm, collate=True, result="all", progress=fails)
    for name in expected:
        skies.assert_same_coadd(made[name], expected[name])
    assert caplog.text.count("of the user") == (comm.rank == 0)
    events = []
    with pytest.raises(g3reduce.G3ReduceError):
        coadd_files([*files, "nowhere.g3"], mpicomm=comm, progress=events.append)
    with pytest.raises(g3reduce.G3ReduceError):
        coadd_files(files, mpicomm=comm, map_ids=["no such Id"], progress=events.append)
    if comm.rank == 0:
        assert events[-1].outcome == "failed"
        assert "no such Id" in events[-1].reason or "RemoteError" in events[-1].reason


@pytest.mark.ranks(1, 3)
def test_a_log_holds_the_events(comm, files, shared_folder):
    log = shared_folder / "run.jsonl"
    coadd_files(files, mpicomm=comm, progress=JSONLog(log) if comm.rank == 0 else None)
    if comm.rank == 0:
        events = read_log(log)
        counts = Counter(event.kind for event in events)
        assert counts["file done"] == N_FILES
        assert (events[0].kind, events[-1].outcome) == ("begun", "done")
        assert events[-1].totals.files == N_FILES
