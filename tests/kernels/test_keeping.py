"""Compiled code in files: processes of many kinds share them, and sums are right whatever is there.

Real processes, with folders of their own.
"""

import errno
import hashlib
import os
import pickle
import stat
import subprocess
import sys

import pytest
from choices import among_all
from patience import HANGS_S

from g3reduce.kernels import choice

pytestmark = [
    pytest.mark.skipif(choice._load()[0] is None, reason=f"no numba: {choice._load()[1]}"),
    pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts processes itself"),
]

PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
logging.getLogger("numba").setLevel(logging.WARNING)
import numpy
from g3reduce.arrays import exact
from g3reduce.limits import LIMITS
LIMITS.worth_compiling = 0
LIMITS.claim_wait_s = 1000.0
values = numpy.linspace(-1, 1, 999) / 3
for n_limbs in (2, 3):
    limbs = [numpy.zeros(999, numpy.int64) for _ in range(n_limbs)]
    exact.deposit(limbs, values, 42)
    print(exact.largest(values), [int((limb * range(999)).sum()) for limb in limbs])
print("scipy.linalg" in sys.modules, file=sys.stderr)
"""
COMPILED = "Loops that numba compiled add the maps."
OTHER_CPU = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}


def started(folder, **environment):
    """A process that adds by compiled loops, with files in this folder."""
    ours = {choice.KERNELS, "NUMBA_CACHE_DIR"}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=inherited | {"XDG_CACHE_HOME": str(folder), "TMPDIR": str(folder)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process):
    """The sums, and what was logged."""
    sums, log = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, log
    return sums, log


def run(folder, **environment):
    return outcome(started(folder, **environment))


@pytest.fixture(scope="module")
def by_numpy(tmp_path_factory):
    sums, log = run(tmp_path_factory.mktemp("none"), **{choice.KERNELS: choice.NUMPY})
    assert COMPILED not in log
    return sums


def kept(folder):
    """Names and inodes of what is in a folder."""
    return {path.name: path.stat().st_ino for path in (folder / "g3reduce").iterdir()}


def assert_compiled(by_numpy, *outcomes):
    for sums, log in outcomes:
        assert sums == by_numpy
        assert COMPILED in log


@among_all
def test_processors_of_two_kinds_share_a_folder(tmp_path, by_numpy):
    both = [started(tmp_path), started(tmp_path, **OTHER_CPU)]
    assert_compiled(by_numpy, *map(outcome, both))
    files = kept(tmp_path)
    assert len(files) == 2 * len({name.split("-")[0] for name in files})
    again = [outcome(started(tmp_path)), outcome(started(tmp_path, **OTHER_CPU))]
    assert_compiled(by_numpy, *again)
    assert kept(tmp_path) == files, "compiled again"
    path = tmp_path / "g3reduce"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


@among_all
def test_many_processes_find_no_files_at_once(tmp_path, by_numpy):
    outcomes = list(map(outcome, [started(tmp_path) for _ in range(8)]))
    assert_compiled(by_numpy, *outcomes)
    files = kept(tmp_path)
    # One process compiles a loop, and the others wait for it.
    assert sum(log.count("is being compiled") for _, log in outcomes) == len(files)
    assert len(files) == len({name.split("-")[0] for name in files}), "something is left over"
    assert_compiled(by_numpy, run(tmp_path))
    assert kept(tmp_path) == files


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def emptied(path):
    os.truncate(path, 0)


def with_a_hole(path):
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


@among_all
@pytest.mark.parametrize("harm", [cut, emptied, with_a_hole, replaced_by_a_folder])
def test_files_that_are_broken_are_compiled_anew(tmp_path, by_numpy, harm):
    assert_compiled(by_numpy, run(tmp_path))
    for path in (tmp_path / "g3reduce").iterdir():
        harm(path)
    sums, log = run(tmp_path)
    assert_compiled(by_numpy, (sums, log))
    assert "cannot be used" in log
    files = kept(tmp_path)
    assert_compiled(by_numpy, run(tmp_path))
    if harm is not replaced_by_a_folder:
        assert kept(tmp_path) == files


@among_all
def test_code_that_needs_a_symbol_that_is_not_there_is_not_loaded(tmp_path, by_numpy):
    """Since LLVM would end the process."""
    assert_compiled(by_numpy, run(tmp_path))
    paths = list((tmp_path / "g3reduce").iterdir())
    for path in paths:
        symbols, parts = pickle.loads(path.read_bytes()[32:])
        assert "NRT_MemInfo_call_dtor" in symbols
        data = pickle.dumps(([*symbols, "no_such_symbol"], parts))
        path.write_bytes(hashlib.sha256(data).digest() + data)
    assert_compiled(by_numpy, run(tmp_path))
    for path in paths:
        assert b"no_such_symbol" not in path.read_bytes(), "it was not compiled anew"


@among_all
@pytest.mark.parametrize("why", ["a file", "others write", "of others"])
def test_a_folder_that_cannot_be_used_is_passed_over(tmp_path, by_numpy, why):
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    if why == "a file":
        (home / "g3reduce").write_text("")
    else:
        (home / "g3reduce").mkdir()
    if why == "others write":
        (home / "g3reduce").chmod(0o777)
    if why == "of others":
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(home / "g3reduce", 12345, -1)
    assert_compiled(by_numpy, run(home, TMPDIR=str(temporary)))
    (folder,) = temporary.glob("g3reduce-*")
    files = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert files
    assert_compiled(by_numpy, run(home, TMPDIR=str(temporary)))
    assert files == {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert why == "a file" or not list((home / "g3reduce").iterdir())


EVIL = b"cos\nsystem\n(Vtouch %s\ntR."  # a pickle that runs a command


@pytest.mark.parametrize("how", ["group", "others", "of others", "a link", "a pipe"])
def test_code_that_others_may_have_written_is_not_even_decoded(tmp_path, monkeypatch, how):
    """With a control: the same content in a file of the user's own would run."""
    import numba

    from g3reduce.kernels import keeping

    def once(x):
        return x + 1

    if how == "of others" and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    folder, ran = tmp_path / "kept", tmp_path / "ran"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(keeping, "_candidates", lambda: iter([folder]))
    compiled = keeping.loop(numba.float64(numba.float64))(once)
    (file,) = folder.iterdir()
    data = EVIL % os.fsencode(ran)
    file.write_bytes(hashlib.sha256(data).digest() + data)
    if how in ("group", "others"):
        file.chmod(0o620 if how == "group" else 0o602)
    elif how == "of others":
        os.chown(file, 12345, -1)
    elif how == "a link":
        (tmp_path / "elsewhere").write_bytes(file.read_bytes())
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.unlink()
        os.mkfifo(file, 0o600)
    assert keeping.loop(numba.float64(numba.float64))(once)(1.0) == compiled(1.0) == 2.0
    assert not ran.exists()
    file.unlink()
    file.write_bytes(hashlib.sha256(data).digest() + data)
    file.chmod(0o600)
    keeping.loop(numba.float64(numba.float64))(once)
    assert ran.exists(), "this test cannot fail"


@among_all
def test_a_folder_of_the_users_choice_comes_first(tmp_path, by_numpy):
    assert_compiled(by_numpy, run(tmp_path / "home", NUMBA_CACHE_DIR=str(tmp_path / "mine")))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert kept(tmp_path / "mine")


def test_a_full_disk_is_no_error(tmp_path, monkeypatch):
    """In this process: each file fails when it is there."""
    import numba

    from g3reduce.kernels import keeping

    tried = []

    def full(temporary, path):
        assert os.path.exists(temporary)
        tried.append(path.parent)
        raise OSError(errno.ENOSPC, "No space left on device")

    folders = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setattr(keeping, "_candidates", lambda: iter(folders))
    monkeypatch.setattr(keeping.os, "replace", full)

    @keeping.loop(numba.float64(numba.float64))
    def twice(x):
        return 2 * x

    assert twice(4.0) == 8.0
    assert tried == folders
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_numba_that_is_told_not_to_compile_is_not_used(tmp_path, by_numpy):
    sums, log = run(tmp_path, NUMBA_DISABLE_JIT="1")
    assert sums == by_numpy
    assert "Numpy adds the maps, since numba cannot be used: RuntimeError: NUMBA_DISABLE_JIT" in log
