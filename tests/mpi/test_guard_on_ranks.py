"""Inside a guard an error on one rank reaches all, and the communicator works afterwards."""

import os
from pathlib import Path

import pytest
import skies
from choices import ALL
from guarded import FILES_PER_RANK, Failed, all_fail_together
from spt3g import core, maps

import g3reduce
from g3reduce.mpi import ownership, waiting


@pytest.fixture
def files(comm, shared_folder, on_first):
    """Two files for each rank, each with an Observation and two Map frames."""

    def write():
        return skies.write_files(
            shared_folder, FILES_PER_RANK * comm.size, "flat sparse", "polarized"
        )

    return on_first(write)


def run(comm, files, module=None, before=None, after=None, at_end=None, **options):
    """A pipeline in a guard, with faults here and there."""
    with g3reduce.guard(comm):
        if before:
            before()
        coadder = g3reduce.MPIMapCoadder(comm, collate=True, **options)
        pipe = core.G3Pipeline()
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule="static")
        if module:
            pipe.Add(module)
        pipe.Add(coadder)
        if at_end:
            pipe.Add(at_end)
        pipe.Run()
        if after:
            after()
    return coadder


def all_is_well(comm, files):
    """The same communicator still coadds all files."""
    coadder = run(comm, files)
    found = comm.bcast({k: list(v["InputFiles"]) for k, v in coadder.coadd_frames.items()})
    assert {key: len(ids) for key, ids in found.items()} == {
        "90GHz": len(files),
        "150GHz": len(files),
    }


def fail_at(comm, failing, which, error=Failed):
    """A module that fails on one rank: at the first, a middle, or the last frame, or the end."""
    seen = []
    n_maps = 2 * FILES_PER_RANK

    def module(frame):
        if comm.rank != failing:
            return
        if frame.type == core.G3FrameType.Map:
            seen.append(frame["Id"])
        place = {"first": 1, "middle": n_maps // 2 + 1, "last": n_maps}.get(which)
        if (len(seen) == place) if place else frame.type == core.G3FrameType.EndProcessing:
            raise error(f"wrong at {which}")

    return module


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("which", ["first", "middle", "last", "EndProcessing"])
def test_an_exception_in_a_module_reaches_all(comm, files, failing, which):
    module = fail_at(comm, failing, which)
    place = {"first": "frame 1", "middle": "frame 1", "last": "frame 2"}.get(which, "")
    number = failing if which == "first" else failing + comm.size
    file = f"obs_{number:03d}.g3, {place}"
    texts = [f"Failed: wrong at {which}", file]
    all_fail_together(comm, lambda: run(comm, files, module), failing, Failed, *texts)
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("place", ["before", "after"])
def test_an_exception_outside_of_the_pipeline_reaches_all(comm, files, failing, place):
    def fail():
        if comm.rank == failing:
            raise Failed(place)

    all_fail_together(comm, lambda: run(comm, files, **{place: fail}), failing, Failed, place)
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_in_the_constructor_of_a_module_reaches_all(comm, files, failing):
    class Module:
        def __init__(self):
            if comm.rank == failing:
                raise Failed("in the constructor")

        def __call__(self, frame):
            return None

    def work():
        with g3reduce.guard(comm):
            pipe = core.G3Pipeline()
            pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files])
            pipe.Add(Module)
            pipe.Add(g3reduce.MPIMapCoadder(comm))
            pipe.Run()

    all_fail_together(comm, work, failing, Failed, "in the constructor")
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError])
def test_what_is_no_ordinary_exception_reaches_all(comm, files, failing, error):
    module = fail_at(comm, failing, "middle", error)
    all_fail_together(comm, lambda: run(comm, files, module), failing, error, error.__name__)
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_after_the_coadder_reaches_all(comm, files, failing):
    """When the coadder has ended: its communicator is free already."""
    at_end = fail_at(comm, failing, "EndProcessing")
    all_fail_together(comm, lambda: run(comm, files, at_end=at_end), failing, Failed, "wrong at")
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_a_truncated_file_is_named(comm, files, failing):
    comm.Barrier()
    path = Path(files[failing])
    whole = path.read_bytes()
    comm.Barrier()
    if comm.rank == 0:
        os.truncate(path, len(whole) - 1000)
    comm.Barrier()
    text = f"obs_{failing:03d}.g3, frame 2, byte "
    all_fail_together(comm, lambda: run(comm, files), failing, g3reduce.InputError, text)
    if comm.rank == 0:
        path.write_bytes(whole)
    comm.Barrier()
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
def test_a_truncated_file_that_all_see_is_named(comm, files, shared_folder, on_first):
    def write():
        path = str(shared_folder / "cut.g3")
        with core.G3Writer(path) as writer:
            for i in range(4):
                frame = core.G3Frame(core.G3FrameType.Calibration)
                frame["Number"] = i
                writer(frame)
        os.truncate(path, os.path.getsize(path) - 10)
        return path

    path = on_first(write)

    def work():
        with g3reduce.guard(comm):
            pipe = core.G3Pipeline()
            pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[path, files])
            pipe.Add(g3reduce.MPIMapCoadder(comm))
            pipe.Run()

    all_fail_together(comm, work, 0, g3reduce.InputError, "cut.g3, frame 3, byte ")
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_others_are_woken_while_they_wait_for_a_file_that_all_see(comm, files, failing):
    """One rank fails at a frame of a file that is read for all of them."""

    def work():
        with g3reduce.guard(comm):
            pipe = core.G3Pipeline()
            pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=files)
            pipe.Add(fail_at(comm, failing, "middle"))
            pipe.Run()

    all_fail_together(comm, work, failing, Failed, "wrong at middle", "obs_001.g3, frame 1")
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_in_assign_reaches_all(comm, files, failing):
    def assign(frame):
        if comm.rank == failing:
            raise Failed("in assign")
        return {"all": 1}

    def work():
        with g3reduce.guard(comm):
            g3reduce.coadd_files(files, mpicomm=comm, assign=assign, schedule="static")

    all_fail_together(comm, work, failing, Failed, "in assign")
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_before_coadd_files_reaches_those_inside(comm, files, failing):
    def work():
        with g3reduce.guard(comm):
            if comm.rank == failing:
                raise Failed("never came")
            g3reduce.coadd_files(files, mpicomm=comm)

    all_fail_together(comm, work, failing, Failed, "never came")
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_of_a_cxx_module_reaches_all(comm, files, failing):
    class Spoil:
        def __call__(self, frame):
            if frame.type == core.G3FrameType.Map and comm.rank == failing:
                del frame["Wpol"]
                frame["Wpol"] = core.G3String("these are no weights")

    def work():
        with g3reduce.guard(comm):
            pipe = core.G3Pipeline()
            pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule="static")
            pipe.Add(Spoil())
            pipe.Add(maps.RemoveWeights)
            pipe.Add(g3reduce.MPIMapCoadder(comm))
            pipe.Run()

    all_fail_together(comm, work, failing, AttributeError, f"obs_{failing:03d}.g3, frame 1")
    all_is_well(comm, files)


@pytest.mark.ranks(2, 3)
def test_an_error_that_all_ranks_share_is_the_own_one_of_each(comm):
    with (
        pytest.raises(g3reduce.UsageError, match="root is 99; expected a rank"),
        g3reduce.guard(comm),
    ):
        g3reduce.MPIMapCoadder(comm, root=99)
    assert comm.allreduce(1) == comm.size


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("leaving", [0, 1])
def test_a_rank_that_leaves_out_collective_work_is_an_error(comm, leaving):
    """As where one rank's pipeline has no coadder."""

    def work():
        coadder = g3reduce.MPIMapCoadder(comm)
        with g3reduce.guard(comm):
            if comm.rank != leaving:
                coadder.finish()

    texts = [f"rank {leaving} is at the end of the guard, but rank", "waits for it at"]
    all_fail_together(comm, work, leaving, g3reduce.G3ReduceError, *texts)


@pytest.mark.ranks(2, 3)
def test_an_error_that_is_caught_inside_the_guard_is_over(comm, files):
    missing = [*files, "none.g3"]
    with g3reduce.guard(comm):
        with pytest.raises(g3reduce.G3ReduceError, match=r"none\.g3"):
            g3reduce.coadd_files(missing, mpicomm=comm)
        coadds = g3reduce.coadd_files(files, mpicomm=comm, collate=True)
    assert len(coadds) == (2 if comm.rank == 0 else 0)


@pytest.mark.ranks(3)
def test_ranks_count_files_together_after_an_error_that_only_some_met_in_a_coadd(comm, files):
    def work():
        with g3reduce.guard(comm):
            if comm.rank == 0:
                raise Failed("before the coadd")
            g3reduce.coadd_files(files, mpicomm=comm)

    all_fail_together(comm, work, 0, Failed, "before the coadd")
    g3reduce.coadd_files(files, mpicomm=comm, collate=True)  # would refuse what came twice


@pytest.mark.ranks(2, 3)
def test_an_alarm_that_is_caught_inside_the_guard_comes_again(comm):
    def work():
        with g3reduce.guard(comm):
            if comm.rank == 0:
                raise Failed("once")
            for _ in range(2):
                with pytest.raises(g3reduce.RemoteError, match="once"):
                    waiting.wait(lambda: False, "an alarm")

    all_fail_together(comm, work, 0, Failed, "once")


@pytest.mark.ranks(3)
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_a_part_of_the_ranks_stays_there(comm, failing):
    """Ranks 0 and 1 have a guard of their own inside that of all."""
    part = comm.Split(comm.rank // 2, comm.rank)
    caught = []
    with g3reduce.guard(comm):
        try:
            with g3reduce.guard(part):
                if comm.rank == failing:
                    raise Failed("in a part")
        except (Failed, g3reduce.RemoteError) as error:
            caught.append(error)
        coadder = g3reduce.MPIMapCoadder(comm)
        coadder.finish()
    part.Free()
    assert len(caught) == (comm.rank // 2 == failing // 2)


@pytest.mark.ranks(3)
@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_outside_reaches_those_in_an_inner_guard(comm, failing):
    part = comm.Split(comm.rank // 2, comm.rank)

    def work():
        with g3reduce.guard(comm):
            if comm.rank == failing:
                raise Failed("outside")
            with g3reduce.guard(part):
                waiting.wait(lambda: False, "what never comes")

    all_fail_together(comm, work, failing, Failed, "outside")
    part.Free()


@pytest.mark.ranks(*((2, 3) if ALL else (3,)))
def test_communicators_are_not_used_up_by_errors(comm, survey):
    """MPICH has 2048 of them; each round makes three and a window."""
    files = survey(2, "flat sparse", "hits")
    rounds = 400 if ALL else 60
    before = len(ownership._held) + len(ownership._forgotten)
    for number in range(rounds):
        coadder = g3reduce.MPIMapCoadder(comm)
        pipe = core.G3Pipeline()
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files])
        failing = number % comm.size

        def module(frame, failing=failing):
            if comm.rank == failing:
                raise Failed("again")

        pipe.Add(module)
        pipe.Add(coadder)
        with pytest.raises((Failed, g3reduce.RemoteError)), g3reduce.guard(comm):
            pipe.Run()
    alive = len(ownership._held) + len(ownership._forgotten) - before
    # Cyclic garbage is collected late; without any care there would be three for each round.
    assert alive < rounds + 40, f"{alive} communicators are still there after {rounds} errors"


@pytest.mark.ranks(1)
def test_one_process_in_a_guard(comm, files):
    all_is_well(comm, files)
    with pytest.raises(Failed, match="wrong at middle"):
        run(comm, files, fail_at(comm, 0, "middle"))
    with pytest.raises(Failed), g3reduce.guard(None):
        raise Failed("alone")
    with pytest.raises(SystemExit), g3reduce.guard(comm, stall=10):
        raise SystemExit(3)
    all_is_well(comm, files)
