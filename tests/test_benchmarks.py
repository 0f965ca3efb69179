"""Each benchmark runs, on its smallest case, and says what it should."""

from pathlib import Path

import pytest


@pytest.fixture
def distributor(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)
    from benchmarks import distributor

    return distributor


@pytest.mark.parametrize(
    ("n_io", "columns"), [(1, {"g3reduce", "spt3g", "ratio"}), (2, {"g3reduce"})]
)
@pytest.mark.parametrize("case", ["throughput", "makespan"])
def test_the_distributor(distributor, case, n_io, columns):
    rows = distributor.CASES[case](n_io, 1, n_frames=4, rounds=1)
    names = (
        ["throughput"] if case == "throughput" else ["makespan, equal", "makespan, heavy-tailed"]
    )
    assert [row["case"] for row in rows] == names
    for row in rows:
        assert (row["readers"], row["workers"]) == (n_io, 1)
        assert columns == {"g3reduce", "spt3g", "ratio"} & row.keys()
        assert all(row[name] > 0 for name in columns)
        if case == "makespan":
            assert row["g3reduce"] >= 1, "nothing beats the bound"
    assert all(row["case"] in distributor.report(rows) for row in rows)
