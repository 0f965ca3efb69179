"""Files that are broken in every way, for every way in: the right sum, or an error that names them.

    python tests/support/fuzz.py 20000 [--seed 1] [--first 0]

Each case has a number; the same seed and number make the same case. The cases run in a process of
their own with little memory and a limit in time, which is begun again behind a case that ends it.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import fuzzing
import numpy as np
import scans
import skies
from spt3g import core, maps

from g3reduce import G3ReduceError, MPIFileReader, MPIIODistributor, coadd_files
from g3reduce.g3files.frames import walk
from g3reduce.g3files.source import MemoryBytes
from g3reduce.stitching.files import stitch_files

MEMORY, SECONDS = 2**30, 20


class Case:
    """A file that something happens to, and a way to read it."""

    def __init__(self, seed, number, folder):
        self.rng = rng = np.random.default_rng([seed, number])
        self.folder = Path(folder)
        self.entry = rng.choice(["coadd", "coadd", "reader", "distributor", "stitch"])
        self.ending = rng.choice(["", "", ".gz", ".bz2", ".xz"])
        self.of_content, self.of_file = fuzzing.nothing, fuzzing.nothing
        self.meanwhile = None
        what = rng.random()
        if self.entry != "stitch" and what < 0.1:
            self.meanwhile = rng.choice(fuzzing.MEANWHILE)
        elif self.ending and what < 0.6:
            self.of_file = rng.choice(fuzzing.OF_FILES)
        else:
            self.of_content = rng.choice(fuzzing.OF_CONTENT)
        if self.entry == "stitch" or (self.entry != "coadd" and rng.random() < 0.5):
            self.kind = rng.choice(fuzzing.SCAN_KINDS)
            whole = fuzzing.scan_file(self.kind)
        else:
            self.kind = rng.choice(skies.KINDS), rng.choice(("polarized", "hits"))
            whole = fuzzing.map_file(*self.kind)
        self.file = str(self.folder / f"case.g3{self.ending}")
        self.data = fuzzing.packed(self.of_content(whole, rng), self.ending, rng)
        self.data = self.of_file(self.data, rng)
        Path(self.file).write_bytes(self.data)
        neighbour = {"coadd": fuzzing.map_file, "stitch": None}.get(self.entry)
        self.others = []
        if neighbour and rng.random() < 0.3:
            self.others = [str(self.folder / "good.g3")]
            Path(self.others[0]).write_bytes(whole)

    def __str__(self):
        happens = [self.of_content, self.of_file, self.meanwhile]
        happened = [what.__name__ for what in happens if what not in (None, fuzzing.nothing)]
        kind = self.kind if isinstance(self.kind, str) else " ".join(self.kind)
        with_another = ", beside a good file" if self.others else ""
        return f"{self.entry} of {kind} g3{self.ending}: {', '.join(happened)}{with_another}"

    def problem(self):
        """What is wrong with what comes of it; empty if nothing."""
        try:
            found = getattr(self, self.entry)(self.file, self._once())
        except G3ReduceError as error:
            return self._problem_of(str(error))
        except Exception as error:
            # The user's own code (here: that of this test) may stumble over a strange value.
            return f"{type(error).__name__}: {error}"
        return self._problem_with(found)

    def _once(self):
        """What happens meanwhile, once, when it is called for the second time."""
        calls = []

        def call():
            calls.append(1)
            if len(calls) == 2 and self.meanwhile is not None:
                self.meanwhile(self.file, self.rng)

        return call

    def _problem_of(self, text):
        if self.file not in text and os.path.basename(self.file) not in text:
            # Nothing is left of it: then none is to blame.
            return "" if text.startswith("There is no ") else f"the file is not named: {text}"
        # Lengths deep inside of values, under a right checksum, are left to spt3g.
        if "bad_alloc" in text and "in a value" not in self.of_content.__name__:
            return f"memory was taken on a claim: {text}"
        places = (
            ", frame ",
            " bytes of content",
            "the file was",
            "the file is empty",
            ": this is not a .g3 file",
        )
        if any(place in text for place in places) or "No such file" in text:
            return ""
        return f"no place is named: {text}"

    def _problem_with(self, found):
        """Compare a result with that of spt3g, of what Python decompresses."""
        data = self.data
        harmless = (None, *fuzzing.HARMLESS)
        if self.meanwhile not in harmless and Path(self.file).read_bytes() != data:
            return "that it was changed meanwhile was not noticed"
        content = fuzzing.unpacked(data, self.ending)
        if content is None:
            return "Python's own decompressor refuses it"
        plain = str(self.folder / "plain.g3")
        Path(plain).write_bytes(content)
        try:
            expected = getattr(self, f"{self.entry}_by_spt3g")(plain)
        except (RuntimeError, MemoryError, ValueError, AssertionError, KeyError) as error:
            return f"spt3g refuses it ({str(error)[:100]}), and there is a result"
        return "" if same(found, expected) else "the result is another"

    def coadd(self, file, meanwhile):
        """A coadd of each Id."""

        def assign(frame):
            meanwhile()
            name = frame.get("Id", None)
            return {name: 1} if isinstance(name, str) else None

        found = coadd_files([*self.others, file], assign=assign, on_duplicate="sum")
        return {name: skies.planes(frame) for name, frame in found.items()}

    def coadd_by_spt3g(self, file):
        """The same."""
        frames = [frame for name in [*self.others, file] for frame in core.G3File(name)]
        frames = [f for f in frames if f.type.name == "Map" and isinstance(f.get("Id"), str)]
        ids = dict.fromkeys(frame["Id"] for frame in frames)
        found = {}
        for name in ids:
            coadder = maps.CoaddMaps(ignore_missing_weights=True)
            for frame in frames:
                if frame["Id"] == name:
                    coadder(frame)
            found[name] = skies.planes(coadder.coadd_frame)
        return found

    def reader(self, file, meanwhile):
        """What there is in each frame."""
        found = []
        for frame in MPIFileReader(None, [file]):
            meanwhile()
            found.append(told(frame))
        return found

    def reader_by_spt3g(self, file):
        """The same."""
        return [told(frame) for frame in core.G3File(file)]

    def distributor(self, file, meanwhile):
        """What a pipeline is given, in which each value is looked at."""
        found = []

        def look(frame):
            if frame.type.name not in ("EndProcessing", "PipelineInfo"):
                meanwhile()
                found.append(told(frame))

        pipe = core.G3Pipeline()
        pipe.Add(MPIIODistributor, mpicomm=None, files=[[file]], dataframetype=_DATA)
        pipe.Add(look)
        pipe.Run()
        return found

    def distributor_by_spt3g(self, file):
        """The same."""
        return [told(f) for f in core.G3File(file) if f.type.name != "PipelineInfo"]

    def stitch(self, file, meanwhile):
        """What there is in the whole observation."""
        out, flagged = str(self.folder / "out.g3"), self.kind in fuzzing.HAVE_FLAGS
        flags = {"flags": scans.FLAGS, "detector_flags": scans.DETECTOR_FLAGS} if flagged else {}
        stitch_files(file, out, timestreams=scans.KEY, **flags)
        found = [written(frame) for frame in core.G3File(out)]
        for _, values in found:
            values.pop("ScanInputFiles", None)
        return found

    def stitch_by_spt3g(self, file):
        """The same of a file that spt3g read and wrote again."""
        again = str(self.folder / "again.g3")
        with core.G3Writer(again) as writer:
            for frame in core.G3File(file):
                writer(frame)
        return self.stitch(again, None)


_DATA = (core.G3FrameType.Map, core.G3FrameType.Scan)


def told(frame):
    """All that a frame has to say, after each of its values was looked at."""
    for key in frame.keys():  # noqa: SIM118 (no dictionary)
        assert frame[key] is not None
    return written(frame)


def written(frame):
    """All that a frame has to say, also where nobody can make sense of it."""
    (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
    return raw.type, {blob.name: raw.content(blob) for blob in raw.blobs}


def same(found, expected):
    """Whether two results are equal to the bit."""
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(
            same(found[name], expected[name]) for name in found
        )
    if isinstance(found, np.ndarray):
        return np.array_equal(skies.bits(found + 0.0), skies.bits(expected + 0.0))
    return found == expected


def work(seed, first, last):
    """Try cases, and say of each what became of it; for a process of its own."""
    logging.disable(logging.CRITICAL)
    core.set_log_level(core.G3LogLevel.LOG_FATAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(first, last):
        with tempfile.TemporaryDirectory(prefix="g3reduce-fuzz-") as folder:
            case = Case(seed, number, folder)
            print(f"{number}\t{case}\t", end="", flush=True)
            signal.alarm(SECONDS)
            try:
                text = case.problem()
            finally:
                signal.alarm(0)
            print(" ".join(text.split())[:500], flush=True)


def fuzz(n_cases, seed=1, first=0):
    """Try so many cases.

    Returns
    -------
    list of str
        The problems.
    """
    problems, last = [], first + n_cases
    while first < last:
        cases = [str(last - first), f"--seed={seed}", f"--first={first}"]
        done = subprocess.run(
            [sys.executable, __file__, *cases, "--here"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        lines = done.stdout.splitlines()
        if not lines:
            raise RuntimeError(f"the process of the cases does not begin: {done.stderr[-2000:]}")
        for line in lines:
            number, case, problem = line.split("\t")
            if line is lines[-1] and done.returncode:
                problem = f"the process ended ({done.returncode})"
            if problem:
                problems.append(f"case {number} of seed {seed}: {case}: {problem}")
        first = int(lines[-1].split("\t")[0]) + 1
    return problems


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("n_cases", type=int)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.here:
        work(given.seed, given.first, given.first + given.n_cases)
        sys.exit()
    found = fuzz(given.n_cases, given.seed, given.first)
    print("\n".join(found))
    print(f"{given.n_cases} cases, {len(found)} problems")
    sys.exit(1 if found else 0)
