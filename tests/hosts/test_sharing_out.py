"""Files are handed out on demand over several hosts, also while rank 0 is busy with one of them."""

from pathlib import Path

from hostmpi import told_by_ranks

COUNTING = str(Path(__file__).with_name("counting.py"))
EACH = 10


def test_a_rank_0_that_computes_does_not_hold_up_the_others(hosts, tmp_path):
    told = told_by_ranks(hosts, [COUNTING, str(tmp_path), str(EACH), "30"])
    assert [meanwhile for _, meanwhile in told] == [True] * 6
    taken = [number for numbers, _ in told for number in numbers]
    assert sorted(taken) == list(range(5 * EACH))
