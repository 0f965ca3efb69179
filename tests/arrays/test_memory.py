"""Memory that other processes of the node can map, and what is left of it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from g3reduce.arrays import memory
from g3reduce.arrays.blocks import Blocks
from g3reduce.limits import LIMITS

LARGE = (LIMITS.smallest_mapped // 8, 1)


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def resident():
    """Pages of shared memory that this process has, in kB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssShmem:")[1].split()[0])


@pytest.mark.parametrize("shape", [(3, 4), (LIMITS.smallest_mapped, 1)])
def test_private_memory_holds_zeros(shape):
    array = memory.PRIVATE.zeros(shape, "i4")
    assert (array.shape, array.dtype) == (shape, np.int32)
    assert array.flags.c_contiguous
    assert not array.any()


@pytest.mark.parametrize("make", [lambda: memory.PRIVATE, memory.SharedMemory])
def test_large_arrays_do_not_begin_alike(make):
    kind = make()
    arrays = [kind.zeros(LARGE, "f8") for _ in range(4)]
    begins = {array.__array_interface__["data"][0] % 4096 for array in arrays}
    assert len(begins) == 4
    assert all(array.flags.aligned for array in arrays)


def test_shared_arrays_hold_zeros_and_know_where_they_lie():
    shared = memory.SharedMemory()
    first, second = shared.zeros(LARGE, "f8"), shared.zeros((LIMITS.smallest_mapped, 3), "i4")
    assert not first.any()
    assert not second.any()
    assert second.dtype == np.int32
    assert second.flags.c_contiguous
    one, two = shared.stretch_of(first), shared.stretch_of(second)
    assert (one.pid, one.nbytes, two.nbytes) == (os.getpid(), first.nbytes, second.nbytes)
    assert one.fd == two.fd
    assert two.offset >= one.offset + one.nbytes


def test_small_arrays_stay_private():
    shared = memory.SharedMemory()
    assert shared.stretch_of(shared.zeros((10, 10), "f8")) is None
    assert shared.stretch_of(shared.require((10, 10), "f8")) is not None
    for _ in range(4):  # wherever they begin
        assert shared.stretch_of(shared.require((0, 10), "f8")).nbytes == 0


def test_what_is_shared_can_be_seen_and_changed_elsewhere():
    shared = memory.SharedMemory()
    mine = shared.zeros(LARGE, "f8")
    mine[:, 0] = np.arange(len(mine))
    stretch = shared.stretch_of(mine)
    seen = memory.attach(stretch, 8 * 1000, 8 * 1003).view("f8")
    assert seen.tolist() == [1000, 1001, 1002]
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 1
    memory.attach(stretch, 8 * 1001, 8 * 1002, writable=True).view("f8")[0] = -5
    assert mine[1000:1003, 0].tolist() == [1000, -5, 1002]
    assert memory.attach(stretch, 16, 16).size == 0


def test_what_lies_elsewhere_is_refused():
    shared = memory.SharedMemory()
    stretch = shared.stretch_of(shared.require((4,), "f8"))
    with pytest.raises(OSError, match="not the memory"):
        memory.attach(stretch._replace(offset=2**40), 0, 8)
    with open("/dev/null") as other, pytest.raises(OSError, match="no memory of g3reduce"):
        memory.attach(stretch._replace(fd=other.fileno()), 0, 8)
    with pytest.raises(OSError, match="No such"):
        memory.attach(stretch._replace(pid=2**22 + 1), 0, 8)


def test_memory_is_given_back_with_the_last_view():
    shared = memory.SharedMemory()
    gc.collect()  # of files that other tests have left open
    before_fds, before = descriptors(), resident()
    array = shared.zeros((16 * 2**20,), "u1")
    array[:] = 1
    assert resident() >= before + 15 * 1024
    view = array[5:7]
    del array
    assert view.tolist() == [1, 1]
    assert resident() >= before + 15 * 1024
    del view
    assert resident() <= before + 1024
    assert os.fstat(shared._fd).st_blocks == 0
    assert descriptors() == before_fds
    assert not shared._stretches


def test_the_file_is_closed_with_the_memory():
    before = descriptors()
    shared = memory.SharedMemory()
    array = shared.zeros(LARGE, "f8")
    del shared
    array[:] = 1  # still there
    del array
    assert descriptors() == before


def test_too_many_arrays_are_private_again(limits):
    limits(most_mapped=2)
    shared = memory.SharedMemory()
    arrays = [shared.zeros(LARGE, "f8") for _ in range(3)]
    assert [shared.stretch_of(array) is not None for array in arrays] == [True, True, False]


def test_what_the_system_refuses_is_private(monkeypatch):
    def refuse(fd, size):
        raise OSError("no space")

    shared = memory.SharedMemory()
    monkeypatch.setattr(os, "ftruncate", refuse)
    assert shared.stretch_of(shared.zeros(LARGE, "f8")) is None


def test_a_forked_process_leaves_its_parents_arrays_alone():
    shared = memory.SharedMemory()
    array = shared.zeros(LARGE, "f8")
    array[:] = 7
    child = os.fork()
    if child == 0:
        del array
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert np.all(array == 7)


def test_blocks_grow_in_the_memory_that_they_are_given():
    shared = memory.SharedMemory()
    blocks = Blocks(100, LIMITS.smallest_mapped // 8, {"T": "f8"}, fill=3, memory=shared)
    before = descriptors()
    blocks.insert(np.array([5]))
    blocks.planes["T"][:] = 1
    blocks.insert(np.array([2, 9]))
    blocks.add_plane("hits", "i4")
    assert all(shared.stretch_of(plane) is not None for plane in blocks.planes.values())
    assert blocks.planes["T"][:, 0].tolist() == [3, 1, 3]
    assert blocks.planes["hits"][:, 0].tolist() == [3, 3, 3]
    assert blocks.like().memory is shared
    assert blocks.like(memory.PRIVATE).memory is memory.PRIVATE
    assert len(shared._stretches) == 2
    blocks = None
    assert descriptors() == before


def test_a_killed_process_leaves_nothing_behind(tmp_path):
    code = (
        "import time, numpy; from g3reduce.arrays import memory; shared = memory.shared();"
        "array = shared.zeros((2**24,), 'u1'); array[:] = 1;"
        "print(*shared.stretch_of(array), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        stretch = memory.Stretch(*map(int, process.stdout.readline().split()))
        assert memory.attach(stretch, 0, 4).tolist() == [1, 1, 1, 1]
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
        assert "/memfd:g3reduce (deleted)" in mapped
        assert "/dev/shm" not in mapped  # where files outlive their processes
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.1)
    with pytest.raises(OSError, match="No such"):
        memory.attach(stretch, 0, 4)
    assert not os.listdir(tmp_path)
