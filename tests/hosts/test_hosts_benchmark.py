"""The benchmark of joining over hosts runs on its smallest case; its times are not looked at."""

from choices import among_all

from benchmarks.cases.hosts import BARE, BENCHMARK, ORDERS, RESULTS, SLOTS, on_ranks
from benchmarks.harness.onhosts import rows_from_hosts


@among_all
def test_all_ways_are_measured_and_shown(hosts):
    rows = rows_from_hosts(SLOTS, None, on_ranks, megabytes=0.05, rounds=1)
    assert {(row["order"], row["result"]) for row in rows} == {
        (order, result) for order in ORDERS for result in RESULTS
    }
    for row in rows:
        assert len(row["ms"]) == len(row["time over bare MPI"]) == 3
        assert row["MB on the wire"] > 0
        assert row["strategy"] != BARE
    rows = [{"mpi": "MPICH", "link": "not slowed down"} | row for row in rows]
    for table in BENCHMARK.tables:
        text = table.markdown(rows)
        assert all(f"{order} " in text for order in ORDERS), text
    assert BENCHMARK.draw(rows)
