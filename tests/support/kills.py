"""Jobs that are killed, resumed on other ranks, and must come to the same sum; with figures.

    python tests/support/kills.py 100 [--seed 1] [--other PYTHON]

Each trial is one coadd with checkpoints. It is killed up to three times, each time at a stage, in
a moment and with a victim that are drawn by lot, and resumed with another number of ranks, and, if
``--other`` names the Python of an environment with the other MPI, with either of them. The coadd
must be that of spt3g, if it is reproducible the same file as that of an undisturbed job; its ledger
must have each frame once; and nothing may be left behind. Some of the coadds are of files of which
some are bad, and left out. Trials go on until so many jobs were killed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import faultyseason
import numpy as np
import skies
from killedjob import STAGES
from patience import HANGS_S
from spt3g import core
from spt3gcoadds import by_spt3g

from g3reduce.mpi.launch import is_open_mpi, mpirun_environment

N_FILES, N_IDS = 14, 2
SCRIPT = Path(__file__).parent / "killedjob.py"
SECONDS = 90
FAULTY = ("flat sparse", "with faults")
KINDS = (
    ("flat sparse", "polarized"),
    ("healpix ring", "polarized"),
    ("flat dense", "hits"),
    FAULTY,
)


@dataclass
class Figures:
    """What has happened in all trials."""

    killed: Counter[str] = field(default_factory=Counter)
    victims: Counter[str] = field(default_factory=Counter)
    trials: int = 0
    jobs: int = 0
    inputs: int = 0
    frames: int = 0
    lost: int = 0
    doubled: int = 0

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{sum(self.killed.values())} kills survived in {self.trials} coadds, "
                f"{self.jobs} jobs: "
                + ", ".join(f"{self.killed[stage]} while {stage}" for stage in STAGES),
                "killed: " + ", ".join(f"{who} {n}" for who, n in self.victims.most_common()),
                f"{self.inputs} inputs tried, {self.frames} frames; frames lost: "
                f"{self.lost}, frames doubled: {self.doubled}",
            ]
        )


class Season:
    """Files of one kind, and what their coadd must be."""

    def __init__(self, folder, kind):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.bad, self.words, self.code = {}, ["--collate"], 0
        if kind == FAULTY:
            season = faultyseason.make(self.folder, 2 * N_FILES, 5, share=0.5)
            self.files, self.bad = season.files, season.bad
            self.words += ["--skip-bad", "--nonfinite", "error"]
            self.code = 3
            good = [file for file in season.good if file not in season.without_maps]
        else:
            self.files = good = skies.write_files(self.folder, N_FILES, *kind)
        coadder, _ = by_spt3g(good, collate=True, output_map_id="Coadd")
        self.expected = {frame["Id"]: frame for frame in coadder.coadd_frames.values()}
        self.undisturbed = self.folder / "undisturbed.g3"
        words = ["coadd", *self.files, "-o", str(self.undisturbed), *self.words, "--reproducible"]
        done = subprocess.run([sys.executable, "-m", "g3reduce", *words], capture_output=True)
        assert done.returncode == self.code, done.stderr.decode()


class Trial:
    """One coadd, killed and resumed until it is done."""

    def __init__(self, season, folder, rng, pythons, figures):
        self.season = season
        self.rng = rng
        self.pythons = pythons
        self.figures = figures
        self.folder = Path(folder)
        self.folder.mkdir()
        self.output = self.folder / "out.g3"
        self.checkpoints = self.folder / "checkpoints"
        self.reproducible = bool(rng.random() < 0.5)
        self.story = []

    def run(self):
        for stage in self.rng.permutation(list(STAGES))[: self.rng.integers(1, 4)]:
            self.job(str(stage))
        code, said = self.job("undisturbed")
        self.figures.trials += 1
        self.figures.inputs += len(self.season.files)
        try:
            assert code == self.season.code, f"code {code}"
            self.check()
        except AssertionError as error:
            story = "\n".join(map(str, self.story))
            raise AssertionError(f"{error}\n{story}\n{said}") from error

    def job(self, stage):
        """Run a job that is to be killed at a stage, and count whether it was."""
        python = str(self.rng.choice(self.pythons))
        ranks = int(self.rng.choice([0, 1, 2, 3, 4]))
        rank = int(self.rng.integers(max(1, ranks)))
        if stage in ("committing", "writing"):
            rank = 0
        places = STAGES.get(stage, [(None, "", True, 1)])
        place = int(self.rng.integers(len(places)))
        number = int(self.rng.integers(places[place][3])) + 1
        victim = str(self.rng.choice(["a rank", "all", "launcher"] if ranks else ["a rank"]))
        notes = Path(tempfile.mkdtemp(dir=self.folder))
        words = [str(SCRIPT), str(notes), stage, str(place), str(number), str(rank), victim]
        words += ["coadd", *self.season.files, "-o", str(self.output), *self.season.words]
        words += ["--resume"]
        words += ["--checkpoint", str(self.checkpoints), "--checkpoint-every", "0.001"]
        words += ["--reproducible"] if self.reproducible else []
        command = [python, *words]
        if ranks:
            mpirun = str(Path(python).parent / "mpirun")
            more = ["--oversubscribe"] if is_open_mpi(mpirun) else []
            command = [mpirun, *more, "-n", str(ranks), *command]
        with subprocess.Popen(
            command,
            env=mpirun_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            (notes / "launching").write_text(str(process.pid))
            (notes / "launching").rename(notes / "launcher")
            try:
                said = process.communicate(timeout=SECONDS)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said = f"(it hung)\n{process.communicate()[0]}"
        self.end_ranks(notes)
        killed = (notes / "killed").exists()
        self.figures.jobs += 1
        self.figures.killed[stage] += killed
        self.figures.victims[victim] += killed
        self.story.append((stage, place, number, rank, victim, ranks, python, killed, said[-600:]))
        return process.returncode, said

    def end_ranks(self, notes):
        """Wait for ranks that outlive their launcher."""
        end = time.monotonic() + HANGS_S
        for path in notes.glob("pid-*"):
            pid = int(path.name[4:])
            while is_there(pid):
                if time.monotonic() > end:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    raise AssertionError(f"a rank hung after the kill: {self.story}")
                time.sleep(0.01)

    def check(self):
        frames = [f for f in core.G3File(str(self.output)) if f.type == core.G3FrameType.Map]
        assert [frame["Id"] for frame in frames] == list(self.season.expected)
        for frame in frames:
            expected = self.season.expected[frame["Id"]]
            came, due = Counter(frame["Ledger"]["file"]), Counter(expected["InputFiles"])
            self.figures.frames += sum(came.values())
            self.figures.lost += sum((due - came).values())
            self.figures.doubled += sum((came - due).values())
            left_out = frame["LeftOut"]["file"] if "LeftOut" in frame else ()
            assert sorted(left_out) == sorted(self.season.bad)
            for key in ("InputFiles", "InputMapIds"):
                assert list(frame[key]) == list(expected[key])
            planes = skies.maps_by_plane(frame)
            assert sorted(planes) == sorted(skies.maps_by_plane(expected))
            for name, theirs in skies.maps_by_plane(expected).items():
                np.testing.assert_array_equal(
                    skies.pixels(planes[name]), skies.pixels(theirs), name
                )
        if self.reproducible:
            assert self.output.read_bytes() == self.season.undisturbed.read_bytes(), "other bytes"
        left = sorted(os.listdir(self.checkpoints))
        assert left == ["complete.json", "lock"], f"left behind: {left}"


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def try_kills(n_kills, seed, pythons, folder, report=lambda figures: None):
    """Run trials until so many jobs were killed; return the figures."""
    folder = Path(folder)
    figures, trial = Figures(), 0
    seasons = {}
    while sum(figures.killed.values()) < n_kills:
        rng = np.random.default_rng([seed, trial])
        kind = KINDS[int(rng.integers(len(KINDS)))]
        if kind not in seasons:
            seasons[kind] = Season(folder / f"season{len(seasons)}", kind)
        place = folder / f"trial{trial}"
        Trial(seasons[kind], place, rng, pythons, figures).run()
        shutil.rmtree(place)
        trial += 1
        report(figures)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--other", help="the Python of an environment with the other MPI")
    options = parser.parse_args()
    pythons = [sys.executable, *([options.other] if options.other else [])]
    with tempfile.TemporaryDirectory(prefix="g3reduce-kills-") as folder:
        begin = time.monotonic()
        figures = try_kills(
            *(options.kills, options.seed, pythons, folder),
            lambda figures: print(f"{sum(figures.killed.values())} kills", end="\r", flush=True),
        )
        print(f"{figures}\n({time.monotonic() - begin:.0f} s)")


if __name__ == "__main__":
    main()
