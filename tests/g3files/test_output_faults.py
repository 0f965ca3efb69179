"""Writing that goes wrong in real ways: the old file stays, the error tells, nothing else is left.

And the rights, links and names of what is written.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import logging
import lzma
import os
import signal
import subprocess
import sys

import pytest
from filesizes import no_file_longer_than
from patience import HANGS_S
from skies import map_frame
from spt3g import core

from g3reduce import InterruptedByUser, OutputError, guard, temporary
from g3reduce.g3files.outputfile import OutputFile, OutputFolder
from g3reduce.pipeline.output import check_output, write_frames

SUFFIXES = (".g3", ".g3.gz", ".g3.bz2", ".g3.xz")


def big_frame(n_bytes=300 << 10):
    """One that does not get smaller."""
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Noise"] = core.G3VectorUnsignedChar(os.urandom(n_bytes))
    return frame


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A file system of 256 KiB."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "g3reduce-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fails(folder, suffix, reason, frames=None):
    output = folder / f"out{suffix}"
    output.write_bytes(b"something old")
    with pytest.raises(OutputError) as caught:
        write_frames(str(output), frames or [big_frame()])
    assert str(caught.value) == f"{output}: writing failed ({os.strerror(reason)})."
    assert output.read_bytes() == b"something old"
    assert os.listdir(folder) == [output.name]
    output.unlink()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk(small_disk, suffix):
    fails(small_disk, suffix, errno.ENOSPC)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_that_only_the_last_bytes_of_a_compressor_find(small_disk, suffix):
    """What it still holds, it gives at the end."""
    (small_disk / "filling").write_bytes(bytes((256 << 10) - 2 * os.sysconf("SC_PAGESIZE")))
    try:
        output = OutputFile(str(small_disk / f"out{suffix}"))
        output.write(os.urandom(16 << 10))
        with pytest.raises(OutputError, match="No space left on device"):
            output.complete()
        output.discard()
        assert os.listdir(small_disk) == ["filling"]
    finally:
        os.unlink(small_disk / "filling")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_limit_of_the_size_of_files(tmp_path, suffix):
    with no_file_longer_than(64 << 10):
        fails(tmp_path, suffix, errno.EFBIG)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("call", ["write", "fsync", "close"])
def test_errors_whenever_the_system_tells_of_them(tmp_path, monkeypatch, suffix, call):
    """A quota of a server is often known only when the data are sent there."""
    real = getattr(os, call)

    def full(fd, *data):
        if "out.g3" not in os.readlink(f"/proc/self/fd/{fd}"):
            return real(fd, *data)
        if call == "close":
            real(fd)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, call, full)
    fails(tmp_path, suffix, errno.EDQUOT, [map_frame("flat sparse", "hits", 1)])


def test_bytes_that_another_one_took_away(tmp_path):
    output = OutputFile(str(tmp_path / "out.g3"))
    output.write(b"1234567890")
    (there,) = tmp_path.iterdir()
    os.truncate(there, 7)
    with pytest.raises(OutputError, match=r"7 of 10 bytes have arrived"):
        output.complete()
    output.discard()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_completed(tmp_path, monkeypatch):
    output = OutputFolder(str(tmp_path / "toast"))
    with open(os.path.join(output.path, "obs.h5"), "wb") as file:
        file.write(b"content")

    def broken(fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OutputError, match="Input/output error"):
        output.complete()
    output.discard()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("suffix", "decompress"),
    [(".g3.gz", gzip.decompress), (".g3.bz2", bz2.decompress), (".g3.xz", lzma.decompress)],
)
def test_what_is_compressed_is_what_would_be_plain(tmp_path, suffix, decompress):
    long = core.G3Frame(core.G3FrameType.Map)
    long["Pieces"] = core.G3VectorUnsignedChar(os.urandom(1000) * 1200)
    frames = [map_frame("healpix ring", "polarized", 1), long]
    write_frames(str(tmp_path / "out.g3"), frames)
    write_frames(str(tmp_path / f"out{suffix}"), frames)
    compressed = (tmp_path / f"out{suffix}").read_bytes()
    assert decompress(compressed) == (tmp_path / "out.g3").read_bytes()
    assert len(list(core.G3File(str(tmp_path / f"out{suffix}")))) == 2  # in one member
    write_frames(str(tmp_path / f"again{suffix}"), frames)
    assert (tmp_path / f"again{suffix}").read_bytes() == compressed


def test_jobs_of_equal_pid_do_not_share_a_file(tmp_path):
    """As those in two containers, which often have the same small number."""
    output = str(tmp_path / "out.g3")
    frames = [map_frame("flat sparse", "hits", seed) for seed in range(2)]
    one, two = OutputFile(output), OutputFile(output)
    for frame in frames:
        content = frame.__getstate__()[1]
        for piece in (content[:100], content[100:]):
            for file in (one, two):
                file.write(piece)
    for file in (one, two):
        file.complete()
        file.publish()
        file.discard()
        assert len(list(core.G3File(output))) == 2
    assert os.listdir(tmp_path) == ["out.g3"]


def test_nobody_can_lay_a_link_in_the_way(tmp_path, monkeypatch):
    """Even one who knew the name: nothing that is there is opened."""
    output = str(tmp_path / "out.g3")
    words = iter(["0" * 16, "1" * 16])
    monkeypatch.setattr(temporary.secrets, "token_hex", lambda n: next(words))
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f".g3reduce-{'0' * 16}-out.g3.partial").symlink_to(victim)
    write_frames(output, [map_frame("flat sparse", "hits", 1)])
    assert victim.read_bytes() == b"precious"
    assert len(list(core.G3File(output))) == 1


def test_long_names_leave_room_for_ours(tmp_path):
    name = "ä" * 126 + ".g3"  # 255 bytes
    check_output(str(tmp_path / name))
    write_frames(str(tmp_path / name), [map_frame("flat sparse", "hits", 1)])
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_ctrl_c_in_a_script_comes_before_the_name_is_given_or_after(
    tmp_path, monkeypatch, guarded, call
):
    output = tmp_path / "out.g3"
    output.write_bytes(b"something old")
    real = getattr(os, call)

    def press(*arguments):
        signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(os, call, press)
    context = guard() if guarded else contextlib.nullcontext()
    before = signal.getsignal(signal.SIGINT)
    late = call == "replace" and not guarded
    with pytest.raises(KeyboardInterrupt if late else InterruptedByUser), context:
        write_frames(str(output), [map_frame("flat sparse", "hits", 1)])
    assert signal.getsignal(signal.SIGINT) is before
    assert (output.read_bytes() != b"something old") == (call == "replace")
    assert os.listdir(tmp_path) == ["out.g3"]


HOLD = """
import sys, time
from g3reduce.temporary import TemporaryFile, TemporaryFolder
kind = TemporaryFolder if sys.argv[2] == "folder" else TemporaryFile
one = kind(sys.argv[1])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(params=["file", "folder"])
def other_job(request, tmp_path):
    target = str(tmp_path / "out.g3")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, target, request.param], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_that_can_be_caught_leave_nothing(tmp_path, other_job, number):
    assert len(os.listdir(tmp_path)) == 1
    other_job.send_signal(number)
    assert other_job.wait(timeout=HANGS_S) == -number
    assert os.listdir(tmp_path) == []


def test_a_later_job_names_what_a_killed_one_left(tmp_path, other_job, caplog):
    caplog.set_level(logging.WARNING, "g3reduce")
    output = str(tmp_path / "out.g3")
    (left,) = tmp_path.iterdir()
    check_output(output)
    assert f"{output}: another job is about to write the same output ({left})" in caplog.text
    other_job.kill()
    other_job.wait()
    caplog.clear()
    check_output(output)
    assert f"{output}: a job that was killed left {left} behind; it can be removed" in caplog.text
    write_frames(output, [map_frame("flat sparse", "hits", 1)])
    assert left.exists(), "it may be of use to somebody"
    caplog.clear()
    check_output(str(tmp_path / "another.g3"))
    assert not caplog.records


def test_a_job_is_alive_until_its_output_has_its_name(tmp_path):
    code = (
        "import sys; from g3reduce.temporary import TemporaryFile, TemporaryFolder\n"
        "made = [TemporaryFile(sys.argv[1] + '.g3'), TemporaryFolder(sys.argv[1])]\n"
        "for one in made: one.complete()\n"
        "print(flush=True); sys.stdin.read()\n"
        "for one in made: one.publish()\n"
    )
    targets = [str(tmp_path / "out.g3"), str(tmp_path / "out")]
    command = [sys.executable, "-c", code, targets[1]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        told = [one.in_use for target in targets for one in temporary.others(target)]
        process.stdin.close()
    assert process.returncode == 0
    assert told == [True, True]
    assert [one for target in targets for one in temporary.others(target)] == []


def test_a_child_process_does_not_remove_what_its_parent_writes(tmp_path):
    code = (
        "import os, sys; from g3reduce.temporary import TemporaryFile\n"
        "file = TemporaryFile(sys.argv[1]); file.write(b'new')\n"
        "child = os.fork()\n"
        "if not child: sys.exit()\n"
        "os.waitpid(child, 0); file.complete(); file.publish()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True)
    assert (tmp_path / "out").read_bytes() == b"new"


def test_closed_standard_streams_are_not_taken_for_the_output(tmp_path):
    code = (
        "import os, sys; from g3reduce.temporary import TemporaryFile\n"
        "file = TemporaryFile(sys.argv[1]); file.write(b'new')\n"
        "try: os.write(1, b'noise')\n"
        "except OSError: pass\n"
        "file.complete(); file.publish()\n"
    )
    output = tmp_path / "out"
    subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", code, output], check=True
    )
    assert output.read_bytes() == b"new"
