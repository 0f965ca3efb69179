"""How much memory there is, as files of Linux say it."""

import pytest

from g3reduce.mpi.memory import available, available_for_each

GB = 10**9
NO_LIMIT_V1 = 9223372036854771712


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


NODE = {"proc/meminfo": "MemTotal: 99 kB\nMemFree: 1 kB\nMemAvailable:   64000000 kB"}
OF_NODE = 64000000 * 1024


def group(folder, limit, used, cached=0):
    """A group of version 2."""
    return {
        f"{folder}/memory.max": limit,
        f"{folder}/memory.current": used,
        f"{folder}/memory.stat": f"anon 5\nactive_file 7\ninactive_file {cached}\nslab 1",
    }


def old_group(folder, limit, used, cached=0):
    """A group of version 1."""
    return {
        f"{folder}/memory.limit_in_bytes": limit,
        f"{folder}/memory.usage_in_bytes": used,
        f"{folder}/memory.stat": f"inactive_file 3\ntotal_inactive_file {cached}",
    }


TOP, OLD_TOP = "sys/fs/cgroup", "sys/fs/cgroup/memory"
IN_JOB = {"proc/self/cgroup": "0::/slurm/job_7/step_0"}
OLD_IN_JOB = {"proc/self/cgroup": "12:cpu,cpuacct:/x\n4:memory:/slurm/job_7\n1:name=systemd:/y"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (NODE, OF_NODE),
        # Version 2
        (NODE | IN_JOB, OF_NODE),
        (NODE | IN_JOB | group(f"{TOP}/slurm/job_7/step_0", 9 * GB, 2 * GB), 7 * GB),
        (NODE | IN_JOB | group(f"{TOP}/slurm/job_7/step_0", 9 * GB, 2 * GB, GB), 8 * GB),
        (NODE | IN_JOB | group(f"{TOP}/slurm/job_7/step_0", "max", 2 * GB), OF_NODE),
        (NODE | IN_JOB | group(f"{TOP}/slurm/job_7/step_0", 999 * GB, 2 * GB), OF_NODE),
        (NODE | IN_JOB | group(f"{TOP}/slurm/job_7/step_0", 2 * GB, 3 * GB), 0),
        # The limit of the job is that of its steps, too
        (
            NODE
            | IN_JOB
            | group(f"{TOP}/slurm/job_7/step_0", "max", GB)
            | group(f"{TOP}/slurm/job_7", 5 * GB, 2 * GB)
            | group(f"{TOP}/slurm", 50 * GB, 9 * GB),
            3 * GB,
        ),
        # In a container: its own group is the top, or has a path that is there outside only
        (NODE | {"proc/self/cgroup": "0::/"} | group(TOP, 6 * GB, GB), 5 * GB),
        (NODE | {"proc/self/cgroup": "0::/docker/abc"} | group(TOP, 6 * GB, GB), 5 * GB),
        (NODE | {"proc/self/cgroup": "0::/../other"} | group(TOP, 6 * GB, GB), 5 * GB),
        # Version 1
        (NODE | OLD_IN_JOB, OF_NODE),
        (NODE | OLD_IN_JOB | old_group(f"{OLD_TOP}/slurm/job_7", 9 * GB, 4 * GB, GB), 6 * GB),
        (NODE | OLD_IN_JOB | old_group(f"{OLD_TOP}/slurm/job_7", NO_LIMIT_V1, GB), OF_NODE),
        (
            NODE
            | OLD_IN_JOB
            | old_group(f"{OLD_TOP}/slurm/job_7", NO_LIMIT_V1, GB)
            | old_group(f"{OLD_TOP}/slurm", 8 * GB, 2 * GB),
            6 * GB,
        ),
        (NODE | OLD_IN_JOB | old_group(OLD_TOP, 3 * GB, GB), 2 * GB),
        # Both, of which version 2 does not have the memory
        (
            NODE
            | {"proc/self/cgroup": "4:memory:/job\n0::/user"}
            | old_group(f"{OLD_TOP}/job", 4 * GB, GB),
            3 * GB,
        ),
        # Without what the node says
        (IN_JOB | group(f"{TOP}/slurm/job_7", 4 * GB, GB), 3 * GB),
    ],
)
def test_what_is_available_is_the_least_that_any_limit_leaves(tmp_path, files, expected):
    write(tmp_path, files)
    assert available(tmp_path) == expected


@pytest.mark.ranks(3, one_node=True)
def test_ranks_of_a_node_share_it(comm, monkeypatch):
    sizes = [9 * GB, 6 * GB, None]
    monkeypatch.setattr("g3reduce.mpi.memory.available", lambda: sizes[comm.rank])
    assert available_for_each(comm) == 2 * GB
    monkeypatch.setattr("g3reduce.mpi.memory.socket.gethostname", lambda: f"node{comm.rank % 2}")
    assert available_for_each(comm) == 4.5 * GB
    monkeypatch.setattr("g3reduce.mpi.memory.available", lambda: None)
    assert available_for_each(comm) is None
