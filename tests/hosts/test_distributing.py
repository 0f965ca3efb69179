"""Ranks of one host read, and those of the others work on the frames that they are sent."""

from pathlib import Path

import numpy as np
from hostmpi import told_by_ranks
from spt3g import core

DISTRIBUTING = str(Path(__file__).with_name("distributing.py"))
N_FILES, N_SCANS, N_SAMPLES = 4, 10, 50_000


def write_scans(folder):
    """Files of scans with 400 kB each, which cannot be compressed."""
    rng = np.random.default_rng(3)
    files = [str(folder / f"scans{number}.g3") for number in range(N_FILES)]
    for number, file in enumerate(files):
        with core.G3Writer(file) as writer:
            for scan in range(N_SCANS):
                frame = core.G3Frame(core.G3FrameType.Scan)
                frame["Number"] = N_SCANS * number + scan
                frame["Samples"] = core.G3VectorDouble(rng.normal(size=N_SAMPLES))
                writer(frame)
    return files


def test_readers_on_one_host_and_workers_on_others(hosts, tmp_path):
    files = write_scans(tmp_path)
    before = hosts.counters()
    told = told_by_ranks(hosts, [DISTRIBUTING, "2", *files])
    crossed = hosts.counters() - before
    assert [host for host, _ in told] == ["h1", "h1", "h2", "h2", "h3", "h3"]
    assert not told[0][1]
    assert not told[1][1]
    for host in ("h2", "h3"):
        taken = [number for at, numbers in told for number in numbers if at == host]
        # What a host works on has come to it over the network.
        assert taken
        assert crossed.received[host] >= len(taken) * N_SAMPLES * 8
    everything = sorted(number for _, numbers in told for number in numbers)
    assert everything == list(range(N_FILES * N_SCANS))
    assert crossed.sent["h1"] <= 1.1 * N_FILES * N_SCANS * N_SAMPLES * 8 + 1_000_000
