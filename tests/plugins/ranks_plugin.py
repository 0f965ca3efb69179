"""Tests that run on MPI ranks: ``@pytest.mark.ranks(1, 2, 3)``.

A test that is parametrized over ``n_ranks`` itself is marked ``@pytest.mark.ranks``. One that takes
long sets its own time limit: ``@pytest.mark.ranks(2, seconds=300)``. One that holds only where all
ranks share a node is left out on several hosts: ``@pytest.mark.ranks(2, one_node=True)``.

The process that pytest was started in has no MPI. For each number of ranks it starts one
``mpirun`` whose ranks run, in step, all tests that are marked with that number, and write down
how each went, while this process runs tests without ranks. Then these notes become the reports of
the tests: a failure names its rank, and a test that one rank cannot finish fails within a minute,
with the stacks of all ranks.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from rankplaces import on_several_hosts, place_of_ranks

NOTES = "G3REDUCE_TEST_NOTES"  # set on the ranks: the folder of their notes
# Ranks share cores, and the first test imports everything.
SECONDS_PER_TEST = int(os.environ.get("G3REDUCE_TEST_SECONDS", 180))
# More of them share two cores badly, and find little that fewer do not.
MOST_RANKS = 5 if "G3REDUCE_TEST_ALL" in os.environ else 3
MOST_RANKS = int(os.environ.get("G3REDUCE_TEST_RANKS", MOST_RANKS))
SECONDS_BEHIND = 60  # how long after one rank is done with a test the others may be


def on_a_rank() -> bool:
    return NOTES in os.environ


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        f"ranks(n, ..., seconds={SECONDS_PER_TEST}, one_node=False): run on n MPI ranks, for each "
        "n; after so many seconds the test fails; with one_node not on several hosts",
    )
    if on_a_rank():
        config.pluginmanager.register(Rank(Path(os.environ[NOTES])))
    else:
        config.pluginmanager.register(Launcher())


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("ranks")
    if marker and marker.args:
        if "n_ranks" not in metafunc.fixturenames:
            metafunc.fixturenames.append("n_ranks")
        metafunc.parametrize("n_ranks", marker.args, ids=lambda n: f"ranks{n}", scope="session")


@pytest.fixture(scope="session")
def comm():
    """The world of a test that is marked with its number of ranks."""
    from mpi4py import MPI

    return MPI.COMM_WORLD


@pytest.fixture
def shared_folder(comm, on_first):
    """A folder that all ranks of a test see."""
    # Ranks on several hosts have the folder of notes in common, and no other temporary one.
    folder = on_first(lambda: tempfile.mkdtemp(prefix="g3reduce-", dir=os.environ.get(NOTES)))
    yield Path(folder)
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)


@pytest.fixture
def on_first(comm):
    """Let the first rank do some work: what it returns is returned on all ranks."""
    return lambda work: comm.bcast(work() if comm.rank == 0 else None)


def ranks_of(item):
    """The number of ranks that run a test; 0 for those of this process."""
    return item.callspec.params["n_ranks"] if item.get_closest_marker("ranks") else 0


def seconds_of(item):
    """How long a test on ranks may take."""
    return item.get_closest_marker("ranks").kwargs.get("seconds", SECONDS_PER_TEST)


def why_left_out(item):
    """The reason why a test does not run on ranks here; none if it does."""
    marker = item.get_closest_marker("ranks")
    if marker and marker.kwargs.get("one_node") and on_several_hosts():
        return "holds for the ranks of one node"
    if ranks_of(item) > MOST_RANKS:
        return f"runs with G3REDUCE_TEST_RANKS={ranks_of(item)}"
    return ""


class Rank:
    """One of the ranks: runs the tests and notes down how they went."""

    def __init__(self, folder):
        import faulthandler

        from mpi4py import MPI

        self.comm = MPI.COMM_WORLD
        self.notes = open(folder / f"{self.comm.rank}.jsonl", "w", buffering=1)  # noqa: SIM115
        self.stack = open(folder / f"{self.comm.rank}.stack", "w")  # noqa: SIM115
        faulthandler.register(signal.SIGUSR1, file=self.stack, all_threads=True)
        self.note(pid=os.getpid(), host=os.uname().nodename)

    def note(self, **what):
        self.notes.write(json.dumps(what) + "\n")

    def pytest_runtest_logstart(self, nodeid):
        self.comm.Barrier()
        self.problems = []
        self.outcome = "passed"

    def pytest_runtest_logreport(self, report):
        if report.outcome != "passed":
            self.outcome = report.outcome
            self.problems.append(f"({report.when}) {report.longrepr}")
            print(f"On rank {self.comm.rank}: {self.problems[-1]}", file=self.stack, flush=True)

    def pytest_runtest_logfinish(self, nodeid):
        self.note(test=nodeid, outcome=self.outcome, text="\n".join(self.problems))


class Job:
    """One mpirun, for tests of one number of ranks."""

    def __init__(self, place, n_ranks, tests, root, folders):
        self.place = place
        self.n_ranks = n_ranks
        self.folder = Path(tempfile.mkdtemp(prefix=f"{n_ranks}-", dir=folders))
        self.folder.chmod(0o711)  # tests that become another user have their folders in it
        pytest_command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--maxfail=1000"]
        self.output = open(self.folder / "output", "w")  # noqa: SIM115
        self.process = place.start(
            n_ranks,
            [sys.executable, *pytest_command, *tests],
            env={NOTES: str(self.folder), "PRTE_MCA_prte_tmpdir_base": str(self.folder)},
            cwd=root,
            stdout=self.output,
            stderr=self.output,
        )
        self.read_to = [0] * n_ranks  # how far the notes of each rank were read
        self.results = [{} for _ in range(n_ranks)]
        self.processes = []  # what each rank has noted of its own

    def read_notes(self):
        """Learn what each rank has noted since: of tests, and of its process."""
        for rank in range(self.n_ranks):
            path = self.folder / f"{rank}.jsonl"
            if not path.exists():
                continue
            with path.open() as file:
                file.seek(self.read_to[rank])
                for line in iter(file.readline, ""):
                    if not line.endswith("\n"):  # it is being written
                        break
                    self.read_to[rank] = file.tell()
                    note = json.loads(line)
                    if "pid" in note:
                        self.processes.append(note)
                    else:
                        self.results[rank][note["test"]] = note

    def wait_for(self, test, seconds):
        """Outcome and text of a test on all ranks, which fails if it takes longer than this."""
        started, first_done = time.monotonic(), None
        while True:
            ended = self.process.poll() is not None
            self.read_notes()
            done = [result.get(test) for result in self.results]
            if all(done):
                return self.summary(done)
            now = time.monotonic()
            if any(done) and first_done is None:
                first_done = now
            behind = first_done is not None and now - first_done > SECONDS_BEHIND
            if ended or behind or now - started > seconds:
                why = "the job ended" if ended else "the ranks hang"
                return "failed", self.post_mortem(test, why, done)
            time.sleep(0.02)

    def summary(self, done):
        """The outcome on all ranks; those that do not agree, as on a skip, are a failure."""
        outcomes = {note["outcome"] for note in done}
        if outcomes == {"passed"} or outcomes == {"skipped"}:
            return done[0]["outcome"], done[0]["text"]
        lines = [
            f"On rank {rank}: {note['outcome']}\n{note['text']}".rstrip()
            for rank, note in enumerate(done)
            if note["outcome"] != "passed" or "failed" not in outcomes
        ]
        return "failed", "\n".join(lines)

    def post_mortem(self, test, why, done):
        self.place.ask_for_stacks(self.processes)
        time.sleep(1)
        self.end()
        lines = [f"On {self.n_ranks} ranks {why} before all had finished {test}."]
        for rank, note in enumerate(done):
            state = f"{note['outcome']}\n{note['text']}" if note else "did not finish"
            lines.append(f"Rank {rank}: {state}")
        for rank in range(self.n_ranks):
            path = self.folder / f"{rank}.stack"
            if path.exists():
                lines.append(f"Rank {rank} was here:\n{path.read_text()}")
        output = (self.folder / "output").read_text(errors="replace")
        return "\n".join([*lines, "Output of the ranks:", output[-8000:]])

    def end(self):
        self.place.end(self.process)
        self.output.close()


class Launcher:
    """The process without MPI: starts the ranks, and reports what they noted."""

    def __init__(self):
        self.jobs = {}
        self.first = {}  # by number of ranks, the first test; looked up once, there are thousands
        self.place = self.folders = None  # until a test needs ranks
        if threading.current_thread() is threading.main_thread():
            # A test run that is terminated must not leave its ranks behind.
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        atexit.register(self.pytest_sessionfinish)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        self.start_next_job()
        if not item.get_closest_marker("ranks") or why_left_out(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        start = time.time()
        outcome, text = self.job_for(item).wait_for(item.nodeid, seconds_of(item))
        if outcome == "skipped":
            text = (str(item.path), item.location[1], text)
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords=dict.fromkeys(item.keywords, 1),
            outcome=outcome,
            longrepr=text or None,
            when="call",
            duration=time.time() - start,
            start=start,
            stop=time.time(),
        )
        item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def start_next_job(self):
        """Start the ranks of the next tests, unless others are at work: the cores are few."""
        waiting = [n_ranks for n_ranks in self.first if n_ranks not in self.jobs]
        if waiting and all(job.process.poll() is not None for job in self.jobs.values()):
            self.start_job(self.first[waiting[0]])

    def job_for(self, item):
        job = self.jobs.get(ranks_of(item))
        if job is None:
            for other in self.jobs.values():
                other.process.wait()
        if job is None or job.output.closed:  # it broke down in an earlier test
            job = self.start_job(item)
        return job

    def start_job(self, item):
        """Start the ranks that run this test and all later ones of as many ranks."""
        n_ranks = ranks_of(item)
        same = [
            other.nodeid
            for other in item.session.items
            if ranks_of(other) == n_ranks and not why_left_out(other)
        ]
        todo = same[same.index(item.nodeid) :]
        if not self.place:
            self.place, self.folders = place_of_ranks(), tempfile.mkdtemp(prefix="g3reduce-ranks-")
            os.chmod(self.folders, 0o711)  # tests that become another user have folders in it
        job = Job(self.place, n_ranks, todo, item.config.rootpath, self.folders)
        self.jobs[n_ranks] = job
        return job

    def pytest_collection_modifyitems(self, items):
        for item in filter(why_left_out, items):
            item.add_marker(pytest.mark.skip(reason=why_left_out(item)))
        # Those of one number of ranks together, so that their job need not wait for others.
        items.sort(key=ranks_of)

    def pytest_collection_finish(self, session):
        for item in session.items:
            if ranks_of(item) and not why_left_out(item):
                self.first.setdefault(ranks_of(item), item)

    def pytest_sessionfinish(self):
        for job in self.jobs.values():
            if not job.output.closed:
                job.end()
        if self.place:
            self.place.close()
            shutil.rmtree(self.folders, ignore_errors=True)
