"""What a rank opens before the first byte of data: many ranks do it at once, on one file system."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tinyfiles import tiny_file

# Counted with Python 3.11 and numpy 2.4, and some for other versions. What is above is an import
# that a plain coadd does not need: let it be loaded where it is needed.
MOST_OPENED = 420  # 383; 438 before what is about splittings, formats and looks was loaded late
MOST_OF_OURS = 205  # 191

# Counts what Python opens until a file of maps is; a module once, whether it comes from its source
# or is compiled already. Libraries that the system's loader opens are not among them.
COUNTING = """
import re, sys
opened, told = set(), []
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        if arguments[0].endswith(".g3") and not told:
            ours = [name for name in sys.modules if name.split(".")[0] == "g3reduce"]
            told.append((len(opened), len(ours)))
        opened.add(re.sub(r"__pycache__/([^/.]+)[^/]*", r"\\1.py", arguments[0]))
sys.addaudithook(note)
from g3reduce.cli import main
code = main(sys.argv[1:])
print(code, *told[0])
print(*sys.modules)
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """The exit code, what was opened before the first file, how many of our modules, and all."""
    folder = tmp_path_factory.mktemp("startup")
    file = folder / "map.g3"
    tiny_file(file, "flat sparse")
    words = ["coadd", str(file), "-o", str(folder / "coadd.g3"), "-q"]
    run = subprocess.run(
        [sys.executable, "-c", COUNTING, *words], capture_output=True, text=True, check=True
    )
    counts, modules = run.stdout.splitlines()[-2:]
    return [*map(int, counts.split()), set(modules.split())]


def test_a_rank_opens_few_files_before_its_first_one(started):
    code, n_opened, n_ours, _ = started
    assert code == 0
    assert 100 < n_ours <= MOST_OF_OURS
    assert n_ours < n_opened <= MOST_OPENED


def test_what_a_plain_coadd_has_no_use_for_is_not_loaded(started):
    """Each of them comes with others, of the standard library or of packages."""
    loaded = started[3]
    assert "g3reduce.jobs.passes" in loaded
    late = ("splits.splitting", "formats.flatfits", "formats.hdf5reading", "jobs.checkpointfolder")
    late += ("jobs.majority", "jobs.previewing", "formats.atomic", "kernels.compiled")
    assert not {f"g3reduce.{name}" for name in late} & loaded
    assert not {"mpi4py.MPI", "numba", "healpy", "astropy", "h5py", "yaml", "matplotlib"} & loaded
