"""Which launcher counts: a table of what launchers set, and a real one inside of another."""

import os
import subprocess
import sys

import pytest
from patience import HANGS_S

from g3reduce import UsageError
from g3reduce.mpi.communicators import OneProcess, resolve
from g3reduce.mpi.launch import is_open_mpi, mpirun_command, mpirun_environment
from g3reduce.mpi.launchers import check_world, launched, named, needs_under_srun, several

SLURM_JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4"}


def hydra(rank, size):
    return {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "PMI_FD": "9", "MPI_LOCALNRANKS": "4"}


def open_mpi(rank, size):
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(size),
        "PMIX_RANK": str(rank),
        "PMIX_NAMESPACE": "prterun-node-99@1",
    }


def srun(rank, size, mpi="none"):
    step = {"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": str(size), "SLURM_STEP_ID": "0"}
    kinds = {
        "none": {},
        "pmi2": {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "PMI_FD": "9"},
        "pmix": {"PMIX_RANK": str(rank), "PMIX_NAMESPACE": "slurm.pmix.7.0"},
    }
    return SLURM_JOB | step | kinds[mpi]


def prterun(rank):
    return {"PMIX_RANK": str(rank), "PMIX_NAMESPACE": "prterun-node-99@1"}


def flux(rank, size):
    return {"FLUX_TASK_RANK": str(rank), "FLUX_JOB_SIZE": str(size)} | hydra(rank, size)


# What is in the environment; rank and size of the innermost (None: not told); sizes of MPI's world
# that agree with it, of 1, 2, 3 and 4.
TABLE = {
    "none": ({}, None, {1, 2, 3, 4}),
    "a batch script": (SLURM_JOB | {"SLURM_PROCID": "0"}, None, {1, 2, 3, 4}),
    "MPICH or Intel": (hydra(2, 4), (2, 4), {4}),
    "Open MPI": (open_mpi(2, 4), (2, 4), {4}),
    "MVAPICH2": ({"MV2_COMM_WORLD_RANK": "2", "MV2_COMM_WORLD_SIZE": "4"}, (2, 4), {4}),
    "PALS": ({"PALS_RANKID": "2", "PALS_SIZE": "4"}, (2, 4), {4}),
    "older PALS": ({"PALS_RANKID": "2"}, (2, None), {3, 4}),
    "older PALS with PMI": ({"PALS_RANKID": "2"} | hydra(2, 4), (2, 4), {4}),
    "Flux": (flux(2, 4), (2, 4), {4}),
    "prterun": (prterun(2), (2, None), {3, 4}),
    "srun": (srun(2, 4), (2, 4), {4}),
    "srun, pmi2": (srun(2, 4, "pmi2"), (2, 4), {4}),
    "srun, pmix": (srun(2, 4, "pmix"), (2, 4), {4}),
    "srun, steps of one world": (srun(1, 2) | {"SLURM_HET_SIZE": "2"}, (1, None), {2, 3, 4}),
    "one process by srun, pmi2": (srun(0, 1, "pmi2"), (0, 1), {1, 2, 3, 4}),
    "one process by srun, pmix": (srun(0, 1, "pmix"), (0, 1), {1, 2, 3, 4}),
    "one process by MPICH": (hydra(0, 1), (0, 1), {1, 2, 3, 4}),
    # One launcher in another
    "Open MPI in a shell by srun, pmi2": (srun(0, 1, "pmi2") | open_mpi(2, 3), (2, 3), {3}),
    "Open MPI in a shell by srun, pmix": (srun(0, 1, "pmix") | open_mpi(2, 3), (2, 3), {3}),
    "MPICH in a shell by srun, pmi2": (srun(0, 1, "pmi2") | hydra(2, 3), (2, 3), {3}),
    "MPICH in a shell by srun, pmix": (srun(0, 1, "pmix") | hydra(2, 3), (2, 3), {3}),
    "prterun in a shell by srun": (srun(0, 1, "pmix") | prterun(2), (0, 1), {3, 4}),
    "MPICH whose daemons srun started": (srun(1, 2) | hydra(3, 4), (3, 4), {2, 4}),
    "Open MPI whose daemons srun started": (srun(1, 2) | open_mpi(3, 4), (3, 4), {2, 4}),
    "mpirun of one inside of srun": (srun(2, 4) | hydra(0, 1), (2, 4), {4}),
    # What makes no sense is nobody's word
    "empty": ({"PMI_RANK": "", "PMI_SIZE": "", "PMIX_RANK": ""}, None, {1, 2, 3, 4}),
    "half": ({"PMI_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}, None, {1, 2, 3, 4}),
    "no number beside a good one": (hydra(0, 4) | {"SLURM_PROCID": "x"}, (0, 4), {4}),
}

SENSELESS = {
    "no number": {"PMI_RANK": "0", "PMI_SIZE": "abc"},
    "a negative number": {"PMI_RANK": "0", "PMI_SIZE": "-4"},
    "a fraction": {"PMI_RANK": "0", "PMI_SIZE": "4.0"},
    "no such rank": {"PMI_RANK": "4", "PMI_SIZE": "4"},
    "none": {"PMI_RANK": "0", "PMI_SIZE": "0"},
}


@pytest.mark.parametrize("case", TABLE)
def test_the_innermost_launcher_counts(case):
    environment, expected, worlds = TABLE[case]
    told = launched(environment)
    assert (told and told[:2]) == expected
    alone = expected is None or (expected[1] == 1 and "prterun" not in case)
    assert several(environment) == (not alone)
    for size in range(1, 5):
        if size in worlds:
            check_world(size, "Some MPI", environment)
        else:
            said = r"started [34] processes|made this process rank [12] of several"
            with pytest.raises(UsageError, match=rf"The launcher ({said}) .*Some MPI"):
                check_world(size, "Some MPI", environment)


@pytest.mark.parametrize("case", TABLE)
def test_the_word_of_the_user_counts_more(case):
    for chosen in ("0", "1"):
        environment = TABLE[case][0] | {"G3REDUCE_MPI": chosen}
        assert several(environment) == (chosen == "1")
        for size in range(1, 5):
            check_world(size, "Some MPI", environment)
    with pytest.raises(UsageError, match=r"G3REDUCE_MPI='yes' .*; expected 0 "):
        several(TABLE[case][0] | {"G3REDUCE_MPI": "yes"})


@pytest.mark.parametrize("case", SENSELESS)
def test_what_makes_no_sense_is_an_error_that_names_it_and_the_way_out(case):
    environment = SENSELESS[case]
    assert launched(environment) is None
    assert several(environment | {"G3REDUCE_MPI": "1"})
    assert not several(environment | {"G3REDUCE_MPI": "0"})
    check_world(1, "Some MPI", environment)
    with pytest.raises(UsageError, match=r"PMI_SIZE=.* in the environment.*G3REDUCE_MPI=0.*=1"):
        several(environment)


def test_an_error_names_the_way_out():
    with pytest.raises(UsageError, match=r"G3REDUCE_MPI=0 .* alone, with G3REDUCE_MPI=1 "):
        check_world(1, "Some MPI", hydra(0, 4))


MPICH, OPEN_MPI = "MPICH Version:      5.0.2", "Open MPI v5.0.11, package: Open MPI"


@pytest.mark.parametrize(
    ("library", "given", "remedy"),
    [
        (MPICH, "none", "srun spoke --mpi=none .* by srun --mpi=pmi2, which this library"),
        (OPEN_MPI, "none", "srun spoke --mpi=none .* by srun --mpi=pmix, which this library"),
        (OPEN_MPI, "pmi2", "srun spoke --mpi=pmi2 .* by srun --mpi=pmix, which this library"),
        (MPICH, "pmi2", "srun spoke --mpi=pmi2 .* by srun --mpi=TYPE with a TYPE that this"),
        ("MPI VERSION : CRAY MPICH version 8", "none", "by srun --mpi=cray_shasta, which"),
        ("Some MPI", "none", "by srun --mpi=TYPE with a TYPE that this"),
    ],
)
def test_under_srun_an_error_says_what_srun_has_to_speak(library, given, remedy):
    environment = srun(0, 4, given)
    if given != "none":
        environment["SLURM_MPI_TYPE"] = given
    with pytest.raises(UsageError, match=remedy) as told:
        check_world(1, library, environment)
    assert library in str(told.value)
    assert "srun --mpi=list" in str(told.value)


def test_a_library_has_a_name_that_fits_into_a_sentence():
    assert (
        named("MPICH Version:      5.0.2\nMPICH Device:       ch4:ucx ofi\n")
        == "MPICH Version: 5.0.2"
    )
    told = "Open MPI v5.0.11, package: Open MPI a@b Distribution, repo rev: v5.0.11rc1, 2026\x00"
    assert named(told) == "Open MPI v5.0.11"
    assert named("Some MPI\x00") == "Some MPI"


@pytest.mark.parametrize(
    ("device", "needs"),
    [("ch4:ucx ofi", {"MPIR_CVAR_CH4_NETMOD": "ofi"}), ("ch4:ucx", {}), ("ch4:ofi", {})],
)
def test_what_a_library_needs_to_be_started_by_srun(device, needs):
    told = f"MPICH Version:      5.0.2\nMPICH Device:       {device}\nMPICH CC:  cc\n"
    assert needs_under_srun(told) == needs


@pytest.mark.parametrize("case", [name for name in TABLE if name.startswith(("none", "one"))])
def test_one_process_needs_no_mpi(case, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("PMI", "OMPI", "SLURM"))]:
        monkeypatch.delenv(name)
    for name, value in TABLE[case][0].items():
        monkeypatch.setenv(name, value)
    assert isinstance(resolve(None), OneProcess)


INSIDE = {
    "MPICH": [srun(0, 1, "pmi2"), srun(0, 1, "pmix"), open_mpi(0, 1), flux(0, 1)],
    "Open MPI": [srun(0, 1, "pmi2"), hydra(0, 1), flux(0, 1)],
}


@pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")
def test_mpirun_inside_of_a_launcher_of_one(tmp_path, survey):
    """In the shell of an interactive job of one process: each rank once did the whole work."""
    files = survey(3, "flat sparse", "polarized")
    arguments = [sys.executable, "-m", "g3reduce", "coadd", *files, "-o"]
    command = mpirun_command(2, [*arguments, str(tmp_path / "out.g3")])
    mpi = "Open MPI" if is_open_mpi(command[0]) else "MPICH"
    tried = INSIDE[mpi] if os.environ.get("G3REDUCE_TEST_ALL") else INSIDE[mpi][:1]
    for outer in tried:
        environment = mpirun_environment() | outer
        for name in ("PMI_FD", "PMIX_NAMESPACE"):  # these would be followed
            environment.pop(name, None)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=HANGS_S, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Wrote ") == 1, done.stdout
