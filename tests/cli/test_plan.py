"""``g3reduce plan`` as a user starts it, and the job that it writes."""

import contextlib
import json
import os
import subprocess
import sys

import pytest
import skies

from g3reduce import cli
from g3reduce.cli.plan import size
from g3reduce.mpi.launch import mpirun_command, mpirun_environment
from g3reduce.mpi.launchers import needs_under_srun, srun_speaks

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts processes")

# In place of Slurm's: what it is given is noted, and what follows its own options is run once.
SRUN = """#!/bin/sh
echo "srun $*" >> calls
while [ "${1#--}" != "$1" ]; do shift; done
[ -n "$FAKE_SET" ] && mkdir -p map_coadd.g3.checkpoints && touch map_coadd.g3.checkpoints/set-1.json
[ -n "$FAKE_CODE" ] && exit $FAKE_CODE
exec $FAKE_MPIRUN "$@"
"""
SCONTROL = """#!/bin/sh
echo "scontrol $*" >> calls
"""


@pytest.fixture
def planned(tmp_path, survey, monkeypatch, capsys):
    """Plan for some files, in their folder; returns the code and what was printed."""
    survey(3, "flat", "polarized")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def run(*words):
        code = cli.main(["plan", *words])
        return code, capsys.readouterr().out

    return run


def run_job(tmp_path, code="", new_set="", ranks=0):
    """Run job.sh by a shell, where srun and scontrol are the ones above; on ranks if told to."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    mpirun = " ".join(mpirun_command(ranks, [])) if ranks else ""
    environment = mpirun_environment() if ranks else dict(os.environ)
    environment |= {"FAKE_CODE": code, "FAKE_SET": new_set, "FAKE_MPIRUN": mpirun}
    environment["SLURM_JOB_ID"] = "77"
    environment["PATH"] = f"{folder}:{environment['PATH']}"
    return subprocess.run(
        ["bash", str(tmp_path / "job.sh")], env=environment, capture_output=True, text=True, cwd="/"
    )


def test_the_job_that_is_written_runs_as_it_stands(planned, tmp_path):
    options = ("-m", "90GHz", "150GHz", "--collate", "--nodes=2", "--cores-per-node=3")
    options += ("--mpi=none",)
    code, text = planned("*.g3", "-o", "sum of all.g3", "--write", "job.sh", *options)
    assert code == 0
    assert text.splitlines()[-1] == "Wrote job.sh, for sbatch."
    script = (tmp_path / "job.sh").read_text()
    for line in ("--nodes=2", "--signal=USR1@120", "--requeue", "--time=00:10:00"):
        assert f"#SBATCH {line}\n" in script
    done = run_job(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sum of all.g3.checkpoints" / "complete.json").exists()
    calls = (tmp_path / "calls").read_text()
    n_ranks = int(calls.split("--ntasks=")[1].split()[0])
    assert f"#SBATCH --ntasks-per-node={n_ranks // 2}\n" in script
    assert "scontrol" not in calls
    cli.main(["coadd", "*.g3", "-o", "direct.g3", "-q", *options[:4]])
    assert_same_maps("direct.g3", "sum of all.g3")


def assert_same_maps(*files):
    ours, theirs = (maps_in(file) for file in files)
    assert [frame["Id"] for frame in ours] == [frame["Id"] for frame in theirs]
    for mine, other in zip(map(skies.planes, ours), map(skies.planes, theirs), strict=True):
        assert mine.keys() == other.keys()
        assert all((mine[name] == other[name]).all() for name in mine)


@pytest.mark.parametrize("flags", [("--checkpoint=kept here",), ("--result=sharded",)])
def test_a_job_of_splits_and_sign_flips_runs_on_ranks_as_it_stands(planned, tmp_path, flags):
    (tmp_path / "a table.csv").write_text("obs_id,pwv,who's\n1000,1,a b\n1001,2,c\n1002,3,c\n")
    options = ["--split", "dry=pwv<3 & ~(pwv>2)", "--split", "all=all", "--split", "c=who's=c*"]
    options += ["--table", "a table.csv", "--table-key=obs_id", "--collate", "--bundles=1"]
    options += ["--bundle-by=number", "--signflips=2", "--seed=0", "--reproducible"]
    code, text = planned("obs_00?.g3", "-o", "ours.g3", *options, *flags, "--write=job.sh")
    assert code == 0
    assert "Coadds:      6 and 12 sign flips of them: 90GHz_dry_bundle* of 2 maps, " in text
    script = (tmp_path / "job.sh").read_text()
    sharded = flags == ("--result=sharded",)
    assert ("requeue" in script, "# This job has no checkpoints" in script) == (
        (not sharded, sharded)
    )
    done = run_job(tmp_path, ranks=2)
    assert done.returncode == 0, done.stderr
    assert " on 2 ranks" in done.stdout
    assert (tmp_path / "kept here").exists() != sharded
    assert cli.main(["coadd", "obs_00?.g3", "-o", "direct.g3", "-q", *options]) == 0
    assert_same_maps("direct.g3", "ours.g3")


def maps_in(file):
    from spt3g import core

    return [frame for frame in core.G3File(file) if frame.type == core.G3FrameType.Map]


@pytest.mark.parametrize(
    ("code", "new_set", "goes_on"),
    [(75, "", True), (1, "1", False), (14, "1", True), (137, "", False)],
)
def test_a_job_that_can_go_on_goes_into_the_queue_again(planned, tmp_path, code, new_set, goes_on):
    planned("*.g3", "--write", "job.sh", "-q")
    done = run_job(tmp_path, code=str(code), new_set=new_set)
    assert done.returncode == code
    assert ("scontrol requeue 77" in (tmp_path / "calls").read_text()) == goes_on


def test_options_go_to_the_job(planned, tmp_path):
    flags = ["--pol-conv=IAU", "--reproducible", "--nonfinite=skip", "--strategy=tree"]
    planned("*.g3", "--write", "job.sh", *flags, "--sbatch=--partition=long", "--mpi=pmix")
    script = (tmp_path / "job.sh").read_text()
    assert all(flag in script for flag in flags)
    assert "#SBATCH --partition=long\n" in script
    assert "srun --mpi=pmix " in script
    planned("*.g3", "--write", "job.sh", "--mpi=none")
    assert "--mpi" not in (tmp_path / "job.sh").read_text()


def test_srun_speaks_what_the_library_understands(planned, tmp_path):
    code = "from mpi4py import MPI; print(MPI.Get_library_version())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    spoken = srun_speaks(told.stdout)
    assert spoken in ("pmi2", "pmix")
    planned("*.g3", "--write", "job.sh")
    script = (tmp_path / "job.sh").read_text()
    assert f"srun --mpi={spoken} " in script
    for name, value in needs_under_srun(told.stdout).items():
        assert f"\nexport {name}={value}\n" in script


def test_json_has_the_same(planned):
    code, text = planned("*.g3", "--json", "--nodes=3", "--files-total=400")
    told = json.loads(text)
    assert code == 0
    assert told["files"] == 400
    assert told["plan"]["nodes"] == 3
    assert [one["nodes"] for one in told["fewer_nodes"]] == [1, 2]


def test_sizes_are_numbers_with_units(capsys):
    assert [size(word) for word in ("256G", "1.5TB", "5e9", "20 kB")] == [256e9, 1.5e12, 5e9, 2e4]
    with pytest.raises(SystemExit):
        cli.main(["plan", "x.g3", "--memory-per-node", "lots"])
    assert "'lots' is not valid; expected a size above 0, as 256G" in capsys.readouterr().err


def test_an_output_that_cannot_have_checkpoints_is_refused(planned, tmp_path, capsys):
    assert cli.main(["plan", "*.g3", "-o", "sum.fits", "--write", "job.sh"]) == 2
    assert "the output must be a .g3 file" in capsys.readouterr().err
    assert not (tmp_path / "job.sh").exists()


def test_what_contradicts_is_refused_as_the_coadd_refuses_it(planned, capsys):
    def said(*words):
        with contextlib.suppress(SystemExit):
            assert cli.main([*words]) == 2
        return capsys.readouterr().err.split("error: ")[1].partition("\n")[0]

    for options in (
        ("--table", "x.csv"),
        ("--seed=0",),
        ("--jackknife",),
        ("--bundles=2", "--bundle-days=3"),
        ("--bundles=2", "-m", "90GHz"),
        ("--bundles=1", "--jackknife"),
        ("--split", "dry=pwv<1"),
        ("--split", "a=all", "--split", "a=parity=odd"),
        ("--result=sharded", "--checkpoint=kept", "-o", "out.g3"),
        ("--result=sharded", "--strategy=gather"),
    ):
        assert said("plan", "*.g3", *options) == said("coadd", "*.g3", *options)
    assert "output must be a .g3 file" in said("plan", "*.g3", "-o=x.fits", "--write", "-")
    assert cli.main(["plan", "*.g3", "-o=x.fits", "--no-checkpoints", "--write", "-"]) == 0
    assert "not allowed with" in said("plan", "*.g3", "--no-checkpoints", "--checkpoint=kept")


def test_a_job_that_would_end_at_once_is_refused(planned, capsys):
    assert cli.main(["plan", "*.g3", "-o", "obs_001.g3", "--write", "job.sh"]) == 1
    assert "obs_001.g3: the output is also an input" in capsys.readouterr().err
    assert cli.main(["plan", "*.g3", "-o", "no/sum.g3", "--write", "job.sh"]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_json_and_a_job_are_not_printed_together(planned, capsys):
    assert cli.main(["plan", "*.g3", "--json", "--write", "-"]) == 2
    assert capsys.readouterr().out == ""


def test_a_job_for_odd_names_in_a_folder_with_any_bytes_runs(planned, tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"it's\xff here")
    folder.mkdir()
    os.rename("obs_000.g3", folder / 'it\'s $HOME "é".g3')
    monkeypatch.chdir(folder)
    assert planned("*.g3", "--write", "../job.sh", "--mpi=none")[0] == 0
    done = run_job(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (folder / "map_coadd.g3").exists()
