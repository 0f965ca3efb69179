"""``g3reduce coadd --ranks``: ranks that it starts, and jobs that it starts again."""

import os
import signal
import subprocess
import sys
import time

import pytest
import skies
from choices import among_all
from patience import HANGS_S
from spt3g import core

from g3reduce.mpi.launch import mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

N_FILES = 8

# Python runs this when it starts: the ranks take their time, and one dies as often as a file says.
CUSTOM = """
import os, signal, time

if os.environ.keys() & {"PMI_RANK", "OMPI_COMM_WORLD_RANK"}:
    import g3reduce.cli as cli

    def main(real=cli.main):
        from g3reduce.jobs import checkpoints, mapopener

        checkpoints._COST = 0
        frames = mapopener.MapOpener.frames

        def slowly(self, file, piece):
            open(f"begun-{os.getpid()}", "a").close()
            time.sleep(float(os.environ["SLOW"]))
            left = int(open("deaths").read())
            if left and file.endswith("obs_005.g3"):
                open("deaths", "w").write(str(left - 1))
                os.kill(os.getpid(), signal.SIGKILL)
            return frames(self, file, piece)

        mapopener.MapOpener.frames = slowly
        return real()

    cli.main = main
"""


@pytest.fixture
def place(tmp_path):
    skies.write_files(tmp_path, N_FILES, "flat sparse", "polarized")
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "sitecustomize.py").write_text(CUSTOM)
    return tmp_path


def start(place, *words, deaths=0, slow=0.03):
    (place / "deaths").write_text(str(deaths))
    paths = [str(place / "custom"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "g3reduce",
            "coadd",
            "obs_*.g3",
            "-o",
            "out.g3",
            "--collate",
            *words,
        ],
        cwd=place,
        env=mpirun_environment() | {"PYTHONPATH": os.pathsep.join(paths), "SLOW": str(slow)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(place, *words, **how):
    process = start(place, *words, **how)
    out, said = process.communicate(timeout=HANGS_S)
    return process.returncode, out, said


def assert_whole(place):
    frames = list(core.G3File(str(place / "out.g3")))
    assert [len(frame["InputFiles"]) for frame in frames] == [N_FILES, N_FILES]


CHECKPOINTS = ["--checkpoint", "ck", "--checkpoint-every", "0.001"]


def test_a_job_that_dies_goes_on(place):
    code, out, said = run(place, "--ranks", "2", "--retries", "3", *CHECKPOINTS, deaths=1)
    assert code == 0, said
    assert "g3reduce coadd: the job on 2 ranks died (" in said
    assert "; retry 1 of 3 on " in said
    assert "Wrote out.g3" in out
    assert_whole(place)
    assert sorted(os.listdir(place / "ck")) == ["complete.json", "lock"]


@among_all
def test_a_job_that_always_dies_has_an_end(place):
    code, _, said = run(place, "--ranks", "4", "--retries", "2", *CHECKPOINTS, deaths=99)
    assert code == 1
    assert said.count("the job on ") == 3
    assert "; --resume goes on from " in said
    assert not (place / "out.g3").exists()
    code, _, said = run(place, "--ranks", "1", "--retries", "1", *CHECKPOINTS)
    assert code == 0, said
    assert_whole(place)


@among_all
def test_an_error_that_the_job_tells_is_final(place):
    code, _, said = run(place, "none.g3", "--ranks", "2", "--retries", "2", *CHECKPOINTS)
    assert code == 1
    assert said.count("none.g3: No such file or directory") == 1
    assert "died" not in said


@among_all
def test_ranks_alone(place):
    code, out, said = run(place, "--ranks", "2")
    assert code == 0, said
    assert "on 2 ranks." in out
    assert_whole(place)


@among_all
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_are_passed_on(place, number):
    process = start(place, "--ranks", "2", "--retries", "1", *CHECKPOINTS, slow=0.3)
    end = time.monotonic() + HANGS_S
    while len(list(place.glob("begun-*"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == 75, said
    assert f" of {N_FILES} files; go on with --resume." in said
    code, _, said = run(place, "--ranks", "3", "--retries", "1", *CHECKPOINTS)
    assert code == 0, said
    assert_whole(place)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--retries", "2"], "--retries needs --ranks"),
        (["--ranks", "2", "--retries", "2"], "--retries needs --checkpoint"),
        (["--ranks", "0"], "'0' is not valid"),
    ],
)
def test_usage(place, words, message):
    code, _, said = run(place, *words)
    assert code == 2
    assert message in said
