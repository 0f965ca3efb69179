"""Every strategy between hosts: its sums, and what crosses the network against what it says."""

from pathlib import Path

import pytest
from hostmpi import told_by_ranks

JOINING = str(Path(__file__).with_name("joining.py"))
SMALL, LARGE = 1_048_576, 6_291_456  # sums of the larger size are joined in the memory of nodes

# Headers, acknowledgements and the numbers of rows.
OVERHEAD, OF_ROWS = 1.1, 150_000


@pytest.mark.parametrize("slots", [{"h1": 1, "h2": 1, "h3": 1}, {"h1": 3, "h2": 2, "h3": 1}])
def test_all_strategies_are_right_and_send_what_they_say(hosts, slots):
    told = told_by_ranks(hosts, [JOINING, str(SMALL)], slots=slots)
    assert len(told) == len({(strategy, result) for strategy, result, *_ in told}) >= 10
    assert all(right for _, _, right, *_ in told), told
    assert not any(direct for _, _, _, direct, *_ in told)
    for strategy, result, _, _, sent, wire in told:
        case = strategy, result, sent, wire
        if strategy in ("gather", "tree", "owner"):  # messages between two ranks
            assert wire <= OVERHEAD * sent + OF_ROWS, case
            if len(slots) == sum(slots.values()):  # all of them between hosts
                # What a rank hands to the library for itself counts as sent by the owner.
                assert wire >= (2 / 3 if strategy == "owner" else 1) * sent, case
        else:  # how often the library sends something on is its own business
            assert SMALL <= wire <= 3 * sent + OF_ROWS, case


def test_one_sum_of_each_host_crosses_the_network(hosts):
    for slots in ({"h1": 2, "h2": 2, "h3": 2}, {"h1": 3, "h2": 2, "h3": 1}):
        (told,) = told_by_ranks(hosts, [JOINING, str(LARGE), "gather"], slots=slots)
        _, _, right, direct, sent, wire = told
        assert right
        assert direct
        assert sent == pytest.approx(2 * LARGE, rel=0.01)
        assert 2 * LARGE <= wire <= OVERHEAD * 2 * LARGE + OF_ROWS
    (told,) = told_by_ranks(
        hosts, [JOINING, str(LARGE), "gather"], env={"G3REDUCE_DIRECT_MEMORY": "0"}
    )
    _, _, right, direct, _, wire = told
    assert right
    assert not direct
    assert 4 * LARGE <= wire <= OVERHEAD * 4 * LARGE + OF_ROWS
