"""The hosts themselves: what is on one is not on another, and what ranks send is counted."""

import json
import subprocess
import sys
import time
from pathlib import Path

import hostrig
from hostmpi import told_by_ranks
from hostrig import Rig
from patience import HANGS_S

ALLREDUCE = str(Path(__file__).with_name("allreduce.py"))
NBYTES = 8_000_000
KILLED = """
import json, os, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from hostrig import Rig
with Rig() as rig:
    rig.popen(["sleep", "1000"], host="h3")
    time.sleep(0.2)
    todo, found = [os.getpid()], []
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    print(json.dumps([str(rig.folder), *found[1:]]), flush=True)
    time.sleep(1000)
"""
LISTEN = """
import socket
server = socket.create_server(("h2", 7777))
print("listening", flush=True)
while True:
    with server.accept()[0] as line:
        line.sendall(b"heard")
"""
CALL = """
import socket
print(socket.create_connection(("h2", 7777), timeout=2).recv(9).decode())
"""


def wait_until(holds):
    """Wait for something that has been caused and comes soon."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < HANGS_S
        time.sleep(0.02)


def test_payload_crosses_the_network(hosts):
    before = hosts.counters()
    told = told_by_ranks(hosts, [ALLREDUCE, str(NBYTES)])
    crossed = hosts.counters() - before
    assert [line[:3] for line in told] == [
        [host, 2, True] for host in ("h1", "h1", "h2", "h2", "h3", "h3")
    ]
    # Whatever way it is done, the sum of the others comes to each host, and its own leaves it.
    assert min(crossed.received.values()) > NBYTES
    assert min(crossed.sent.values()) > NBYTES
    assert max(crossed.received.values()) < 5 * NBYTES


def test_ranks_of_one_host_do_not_use_the_network(hosts):
    before = hosts.counters()
    told = told_by_ranks(hosts, [ALLREDUCE, str(NBYTES)], slots={"h2": 3})
    crossed = hosts.counters() - before
    assert [line[:3] for line in told] == [["h2", 3, True]] * 3
    assert max(crossed.received.values()) < NBYTES / 10
    assert max(crossed.sent.values()) < NBYTES / 10


def test_a_rig_that_is_killed_leaves_nothing_behind(hosts, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    support = str(Path(hostrig.__file__).parent)
    killed = subprocess.Popen(
        [sys.executable, str(script), support], stdout=subprocess.PIPE, text=True
    )
    folder, *processes = json.loads(killed.stdout.readline())
    assert len(processes) >= 2 + 2 * 3 + 2  # two for each host, and what runs on one
    assert all(Path(f"/proc/{process}").exists() for process in processes)
    killed.kill()
    killed.wait()
    wait_until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))
    with Rig({"h1": 1}) as rig:  # beside the other one, with the same names and addresses
        assert rig.run(["hostname"], host="h1").stdout == "h1\n"
        assert not Path(folder).exists()
    assert hosts.run(["hostname"], host="h1").stdout == "h1\n"


def test_a_cable_that_is_pulled_and_put_in_again(hosts):
    listen = hosts.popen([sys.executable, "-c", LISTEN], host="h2", stdout=subprocess.PIPE)
    listen.stdout.readline()
    call = [sys.executable, "-c", CALL]
    assert hosts.run(call, host="h1").stdout == "heard\n"
    hosts.cut("h2")
    assert "timed out" in hosts.run(call, host="h1").stderr
    hosts.mend()
    assert hosts.run(call, host="h1").stdout == "heard\n"
    hosts.kill_all()
    listen.wait()


def test_a_host_is_reached_as_soon_as_its_cable_is_in_again(hosts):
    # What has looked for a host in vain for 3 s, asking once a second, holds it for unreachable.
    call = ["bash", "-c", f"</dev/tcp/{hostrig.LOGIN}/9"]  # where nobody listens
    hosts.cut("h2")
    hosts.run(["ip", "neigh", "flush", "all"], host="h2")
    in_vain = hosts.popen(call, host="h2", stderr=subprocess.PIPE, text=True)
    time.sleep(2.5)  # it has asked for the last time
    hosts.mend()
    assert "Connection refused" in hosts.run(call, host="h2").stderr
    hosts.kill_all()
    in_vain.communicate()


def test_a_slow_network_has_the_rate_that_was_set(hosts):
    # What a token bucket lets through at once is small against what it lets through later.
    for rate in ("400mbit", "100mbit"):
        hosts.slow(rate)
        shaped = hosts.run(["tc", "qdisc", "show", "dev", "eth0"], host="h3").stdout
        assert f"rate {rate[:-4]}Mbit" in shaped
        told = told_by_ranks(hosts, [ALLREDUCE, str(NBYTES)], slots={"h1": 1, "h3": 1})
        # In each direction the whole array has to pass, by whatever algorithm.
        assert told[0][3] > 0.9 * NBYTES * 8 / (float(rate[:-4]) * 1e6)
