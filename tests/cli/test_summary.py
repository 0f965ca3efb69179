"""The closing lines of ``g3reduce coadd``."""

import functools
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3reduce.cli.setaside import closing_lines
from g3reduce.cli.summary import lines_about
from g3reduce.coadd.coadds import Coadds
from g3reduce.maps.coverage import Coverage
from g3reduce.pipeline.entries import LeftOut
from g3reduce.progress import RankTiming, Timing
from g3reduce.strategies import Statistics
from g3reduce.strategies.traffic import NAMED


def lines_of(n_coadds, n_ranks, statistics):
    coadds = Coadds(here=True, statistics=statistics, n_given=5000)
    coadds.coverage = {
        f"split{n}": Coverage(10**6, 1500.0 + n, 12.0, 5.0, 7.1 + n) for n in range(n_coadds)
    }
    coadds.timing = Timing(
        tuple(
            RankTiming(n, "host", 1.0, 100.0 + n, 2.0, 12.3, 4.5, 130.0, 3 * 10**9, 10**10)
            for n in range(n_ranks)
        )
    )
    return lines_about(coadds)


@pytest.mark.parametrize("n_coadds", [0, 1, 40])
@pytest.mark.parametrize("strategy", ["on-node", "tree", "gather, tree"])
def test_lines_are_aligned_and_fit_in_a_terminal(n_coadds, strategy):
    statistics = Statistics(strategy, "because", 64, 4, seconds=12.0, predicted=11.0)
    lines = lines_of(n_coadds, 64, statistics)
    for line in "\n".join(lines).splitlines():
        assert len(line) <= 80
        assert line[:14].endswith(" ")
    said = " ".join("\n".join(lines).split("\n              "))
    assert "Balance:      reading 100 to 163 s on 64 ranks, mean 81 % of the longest" in said
    assert "Memory:       3.0 GB a rank at most, 192 GB in all" in said
    assert ": 12 s, 640 GB moved" in said
    assert "predicted" not in said  # of use in a log only: a busy machine is far from it
    if n_coadds == 1:
        assert "Sky:          1,500 deg2 (3.64 %), 12 hits a pixel (median)" in said
        assert "Depth:        T 5, Q and U 7.1 uK arcmin" in said
    assert ("Q and U 7.1 to 46.1 uK" in said) == (n_coadds == 40)


def test_one_rank_says_nothing_of_others():
    labels = [line.split(":")[0] for line in lines_of(1, 1, Statistics())]
    assert labels == ["Files", "Frames", "Sky", "Depth", "Time", "Memory"]


def test_many_coadds_joined_for_one_reason_tell_it_once():
    def one(number):
        why = f"the least that is predicted (tree {number / 1e5:.2g} s), for {number} MB"
        return Statistics("tree", why, 4, 1)

    each = [one(number) for number in range(1, 40)]
    told = functools.reduce(operator.add, [*each, Statistics("tree", NAMED, 4, 1), *each])
    assert told.why == f"{each[0].why}; {NAMED}"


WORDS = st.lists(st.text("ab-", min_size=1, max_size=20), min_size=1, max_size=20)


@given(st.lists(st.tuples(st.text("ab-/.", min_size=1, max_size=70), WORDS), min_size=1))
def test_files_that_were_left_out_are_told_in_80_columns_with_whole_names(files):
    left_out = [LeftOut(name, -1, " ".join(words)) for name, words in files]
    lines = closing_lines(left_out, 10)
    assert max(map(len, lines)) <= 80
    told = " ".join(" ".join(lines).split())
    for one in left_out:
        assert f"{one.file} ({one.reason})" in told
