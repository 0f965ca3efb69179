"""Several threads, and processes that are forked off, each with work of its own.

With ``G3REDUCE_TEST_ALL=1`` in the environment pools coadd for ten seconds each.
"""

from __future__ import annotations

import functools
import multiprocessing
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from choices import ALL
from skies import write_files
from spt3g import maps

from g3reduce import coadd_files, digest

SECONDS = 10 if ALL else 0.6

# What a test process does upon SIGTERM, pools must not do when they are ended.
MORTAL = signal.signal, (signal.SIGTERM, signal.SIG_DFL)

KINDS = ("flat sparse", "flat dense", "healpix ring", "healpix indexed", "healpix dense")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """What each worker coadds: files, options, and the digest of spt3g's coadd of them."""
    made = []
    for number in range(8):
        folder = tmp_path_factory.mktemp(f"job{number}")
        weighting = "unweighted" if number == 5 else "polarized"
        files = write_files(folder, 4, KINDS[number % len(KINDS)], weighting, seed=number)
        options = {"collate": True, "reproducible": number % 2 == 1}
        expected = maps.coadd_map_files(files, collate=True)
        made.append((files, options, {name: digest(frame) for name, frame in expected.items()}))
    return made


@pytest.fixture
def hasty():
    """Threads take turns more often than they usually do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def coadd_repeatedly(job, seconds):
    """Coadd until the time is up: how often, and what went wrong."""
    files, options, expected = job
    done, faults = 0, []
    end = time.monotonic() + seconds
    while not done or time.monotonic() < end:
        done += 1
        try:
            coadds = coadd_files(files, **options)
            if {name: digest(frame) for name, frame in coadds.items()} != expected:
                faults.append(f"wrong: {files[0]}")
        except Exception as error:  # whatever it is, it must not be lost in a pool
            faults.append(f"{type(error).__name__}: {error}")
    return done, faults


def require_no_fault(outcomes):
    assert [fault for _, faults in outcomes for fault in faults[:3]] == []
    assert min(done for done, _ in outcomes) > 0


def test_eight_threads_coadd_right(jobs, hasty):
    with ThreadPoolExecutor(8) as pool:
        work = functools.partial(coadd_repeatedly, seconds=SECONDS)
        require_no_fault(list(pool.map(work, jobs)))


def test_four_forked_workers_coadd_right(jobs):
    for job in jobs:  # so that the parent has all scratch memory that there is
        coadd_repeatedly(job, 0)
    with multiprocessing.get_context("fork").Pool(4, *MORTAL) as pool:
        work = functools.partial(coadd_repeatedly, seconds=SECONDS)
        require_no_fault(pool.map(work, jobs[:4], chunksize=1))


def test_threads_of_forked_workers_coadd_right(jobs):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(functools.partial(coadd_repeatedly, seconds=0), jobs))
        with multiprocessing.get_context("fork").Pool(2, *MORTAL) as processes:
            outcomes = processes.map(coadd_in_threads, [jobs[:2], jobs[2:4]], chunksize=1)
    require_no_fault([one for some in outcomes for one in some])


def coadd_in_threads(jobs):
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(functools.partial(coadd_repeatedly, seconds=0.2), jobs))


def test_spawned_workers_coadd_right(jobs):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        work = functools.partial(coadd_repeatedly, seconds=0)
        require_no_fault(pool.map(work, jobs[:2]))
