"""Scripts of the pages are submitted to a real Slurm as they stand, and what they make is right.

What a site differs in is given from outside: numbers of tasks by options of ``sbatch``, the MPI by
``SLURM_MPI_TYPE``, folders by ``SCRATCH`` and the folder in which the job is submitted.
"""

import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import season
import skies
from choices import among_all
from spt3g import core
from spt3gcoadds import by_spt3g

from g3reduce.mpi.launch import find_mpirun, is_open_mpi, mpirun_environment

ROOT = Path(__file__).parents[2]
HELD = ROOT / "tests" / "support" / "heldjob.py"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def mpi_of_srun():
    return "pmix" if is_open_mpi(find_mpirun()) else "pmi2"


def scripts(*pages):
    """Scripts of jobs in pages, by the names of their jobs."""
    texts = [text for page in pages for text in FENCE.findall((ROOT / "docs" / page).read_text())]
    named = {}
    for text in texts:
        if match := re.search(r"^#SBATCH --job-name=(\w+)$", text, re.MULTILINE):
            assert match[1] not in named
            named[match[1]] = text
    return named


SCRIPTS = scripts("cluster.md", "checkpoints.md", "slurm.md")


class Site:
    """A folder with an environment, input files, and scripts of jobs."""

    def __init__(self, slurm, folder):
        self.slurm = slurm
        self.folder = folder
        season.write_season(folder / "obs")
        (folder / "env" / "bin").mkdir(parents=True)
        self.held = folder / "held"  # while this file is there, jobs do not come to their end
        self.program("g3reduce", sys.executable, str(HELD), str(self.held))
        self.program("python", sys.executable)
        for name, text in SCRIPTS.items():
            (folder / f"{name}.sh").write_text(text)
        # By this network only; and ranks of Open MPI that wait leave the cores to those that work.
        self.environment = mpirun_environment() | {
            "SCRATCH": str(folder),
            "SLURM_MPI_TYPE": mpi_of_srun(),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": slurm.rig.private,
            "MPIR_CVAR_CH4_NETMOD": "ofi",  # see "Which MPI srun speaks to" in Jobs of Slurm
            "OMPI_MCA_pml": "ob1",
            "OMPI_MCA_btl": "tcp,self,sm",
            "OMPI_MCA_btl_tcp_if_include": "eth0",
            "OMPI_MCA_mpi_yield_when_idle": "1",
        }

    def program(self, name, *command):
        program = self.folder / "env" / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o755)

    def submit(self, name, *options):
        script = self.folder / f"{name}.sh"
        options = ["--mem-per-cpu=300M", *options]
        return self.slurm.sbatch(script, *options, cwd=str(self.folder), env=self.environment)

    def srun(self, *command, **environment):
        return self.slurm.run(
            ["srun", *command], cwd=str(self.folder), env=self.environment | environment
        )

    def output(self, job):
        path = self.folder / f"slurm-{job}.out"
        return path.read_text() if path.exists() else ""

    def has_ended_well(self, *jobs):
        for told in self.slurm.wait(*jobs):
            said = Path(told["StdOut"]).read_text()
            assert (told["JobState"], told["ExitCode"]) == ("COMPLETED", "0:0"), said

    def wait_for_checkpoint(self, job):
        """Wait until something of what was added is in a set that is committed."""
        self.slurm.wait_until(
            job,
            lambda _: any((self.folder / "checkpoints").glob("set-*.json")) or self.has_ended(job),
        )
        assert not self.has_ended(job), self.output(job)

    def has_ended(self, job):
        return self.slurm.jobs(job)[0]["JobState"] not in ("PENDING", "RUNNING")


@pytest.fixture
def site(slurm, tmp_path):
    return Site(slurm, tmp_path)


def assert_right(file, files, **arguments):
    """The coadds are those of spt3g, and each frame is in their ledgers once."""
    coadder, _ = by_spt3g(files, **arguments)
    frames = [frame for frame in core.G3File(str(file)) if frame.type == core.G3FrameType.Map]
    expected = coadder.coadd_frames.values()
    assert [frame["Id"] for frame in frames] == [frame["Id"] for frame in expected]
    for mine, theirs in zip(frames, expected, strict=True):
        assert Counter(mine["Ledger"]["file"]) == Counter(files)
        for name, skymap in skies.maps_by_plane(theirs).items():
            np.testing.assert_array_equal(
                skies.pixels(skies.maps_by_plane(mine)[name]), skies.pixels(skymap), name
            )


def inputs(site):
    return sorted(map(str, (site.folder / "obs").glob("*.g3")))


def test_ranks_started_by_srun_are_of_one_world(site):
    text = (ROOT / "docs" / "cluster.md").read_text()
    (command,) = [code for code in FENCE.findall(text) if code.startswith("srun -n 2 ")]
    done = site.slurm.run(["bash", "-c", command], cwd=str(site.folder), env=site.environment)
    lines = sorted(done.stdout.splitlines())
    library = "Open MPI" if mpi_of_srun() == "pmix" else "MPICH"
    assert [line.startswith(f"{rank} 2 {library}") for rank, line in enumerate(lines)] == [True] * 2


def test_ranks_start_whatever_is_in_their_memory(site):
    code = (
        "import os; kept = [os.urandom(n) for n in range(600, 1400) for _ in range(40)];"
        "del kept[::2]; from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1))"
    )
    done = site.srun("-n4", "-N2", "-t1", "timeout", "20", "env/bin/python", "-c", code)
    assert done.stdout.split() == ["4"] * 4, done.stderr


@among_all
def test_a_job(site):
    job = site.submit("coadd", "--ntasks=6")
    site.has_ended_well(job)
    assert " on 6 ranks." in site.output(job)
    assert_right(site.folder / "coadd.g3", inputs(site), collate=True, output_map_id="Coadd")


@among_all
def test_mpirun_in_place_of_srun(site):
    script = site.folder / "coadd.sh"
    text = re.sub(r"^srun .*? env/", f"{find_mpirun()} env/", SCRIPTS["coadd"], flags=re.MULTILINE)
    script.write_text(text)
    job = site.submit("coadd", "--ntasks=4")
    site.has_ended_well(job)
    assert " on 4 ranks." in site.output(job)


def test_processes_that_are_each_alone_are_refused_with_the_remedy(site):
    command = ["-n3", "-K0", "env/bin/g3reduce", "coadd", "obs/*.g3", "-o", "coadd.g3", "--collate"]
    done = site.srun(*command, SLURM_MPI_TYPE="none")
    assert done.returncode == 2
    assert done.stderr.count(f"Start them by srun --mpi={mpi_of_srun()}, which this library") == 3
    assert not (site.folder / "coadd.g3").exists()
    assert site.srun(*command).returncode == 0


def test_a_job_for_each_band_and_one_that_joins_them(site):
    page = (ROOT / "docs" / "slurm.md").read_text()
    (submission,) = [code for code in FENCE.findall(page) if code.startswith("bands=$(sbatch")]
    # What the site is too small for.
    site.program("sbatch", "/usr/bin/env", f"PATH={sbatch_folder()}", "sbatch", "--ntasks=2")
    environment = site.environment | {"PATH": f"{site.folder}/env/bin:{site.environment['PATH']}"}
    done = site.slurm.run(["bash", "-ec", submission], cwd=str(site.folder), env=environment)
    assert done.returncode == 0, done.stderr
    join = done.stdout.split()[-1]
    site.has_ended_well(join)
    told = [path.read_text() for path in sorted(site.folder.glob("slurm-*_[01].out"))]
    assert [" on 2 ranks." in text for text in told] == [True, True]
    assert_right(site.folder / "coadd.g3", inputs(site), collate=True, output_map_id="Coadd")


def sbatch_folder():
    found = subprocess.run(["bash", "-c", "command -v sbatch"], capture_output=True, text=True)
    return f"{Path(found.stdout.strip()).parent}:/usr/bin:/bin"


@among_all
def test_warned_before_the_end_of_its_time_a_job_goes_back_into_the_queue(site):
    site.held.touch()
    job = site.submit("season", "--ntasks=2", "--time=30")
    site.wait_for_checkpoint(job)
    # Now so short that it is time for the warning. Slurm looks twice a minute.
    site.slurm.update(job, "TimeLimit=2")
    site.slurm.wait_until(job, lambda told: told["Restarts"] == "1" or site.has_ended(job))
    told = f"{site.output(job)}\n{site.slurm.log()}"
    assert re.search(r"g3reduce coadd: stopped at \d of 8 files; go on with --resume", told), told
    site.held.unlink()
    site.slurm.update(job, "TimeLimit=30")
    site.has_ended_well(job)
    assert "going on from set" in site.output(job)
    assert_right(site.folder / "coadd.g3", inputs(site), collate=True, output_map_id="Coadd")


@pytest.mark.parametrize("which", ["another", pytest.param("first", marks=among_all)])
def test_a_node_that_dies(site, which):
    site.held.touch()
    job = site.submit("season", "--ntasks=4")
    site.wait_for_checkpoint(job)
    batch = site.slurm.jobs(job)[0]["BatchHost"]
    nodes = site.slurm.nodes_of(job)
    assert len(nodes) == 2
    dies = batch if which == "first" else next(node for node in nodes if node != batch)
    site.slurm.rig.kill_all(dies)
    site.slurm.wait_until(job, lambda told: told["Restarts"] == "1" or site.has_ended(job))
    site.held.unlink()
    site.has_ended_well(job)
    assert dies not in site.slurm.nodes_of(job)
    said = site.output(job)
    assert "going on from set" in said
    assert " on 4 ranks." in said
    assert_right(site.folder / "coadd.g3", inputs(site), collate=True, output_map_id="Coadd")


@among_all
def test_a_job_of_which_a_rank_is_killed_goes_back_into_the_queue(site):
    site.held.touch()
    job = site.submit("season", "--ntasks=2")
    site.wait_for_checkpoint(job)
    (host,) = site.slurm.nodes_of(job)
    ranks = site.slurm.rig.run(["pgrep", "-f", HELD.name], host=host).stdout.split()
    site.slurm.rig.run(["kill", "-9", ranks[-1]], host=host)
    site.slurm.wait_until(job, lambda told: told["Restarts"] == "1" or site.has_ended(job))
    site.held.unlink()
    site.has_ended_well(job)
    assert "going on from set" in site.output(job)
    assert_right(site.folder / "coadd.g3", inputs(site), collate=True, output_map_id="Coadd")


@among_all
def test_a_job_that_dies_without_a_checkpoint_does_not_begin_again(site):
    site.program("g3reduce", "/bin/sh", "-c", "kill -9 $$")
    (told,) = site.slurm.wait(site.submit("season", "--ntasks=2"))
    assert (told["JobState"], told["Restarts"]) == ("FAILED", "0")


def test_the_job_that_a_plan_has_written(site):
    site.program("g3reduce", sys.executable, "-m", "g3reduce")  # not one that can be held
    words = [
        f"{site.folder}/obs/*.g3",
        "--collate",
        "-o",
        "coadd.g3",
        "--nodes=3",
        "--cores-per-node=2",
    ]
    words += ["--memory-per-node=1.9G", "--write", "job.sh"]
    done = site.slurm.run(
        ["env/bin/g3reduce", "plan", *words], cwd=str(site.folder), env=site.environment
    )
    assert done.returncode == 0, done.stderr
    environment = site.environment | {"SLURM_MPI_TYPE": "none"}  # the script says which
    job = site.slurm.sbatch(site.folder / "job.sh", cwd=str(site.folder), env=environment)
    site.has_ended_well(job)
    ranks = re.search(r"srun --mpi=\w+ --ntasks=(\d+)", (site.folder / "job.sh").read_text())[1]
    assert f" on {ranks} ranks." in site.output(job)
    assert_right(site.folder / "coadd.g3", inputs(site), collate=True, output_map_id="Coadd")
