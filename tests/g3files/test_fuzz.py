"""Broken files end in the right sum, or in an error that names file and place.

A few hundred cases by default, 2,000 with ``G3REDUCE_TEST_ALL=1`` in the environment; any number by
``python tests/support/fuzz.py 20000``.
"""

from __future__ import annotations

import os
from pathlib import Path

import fuzz
import fuzzing
import numpy as np
import pytest
from choices import ALL

from g3reduce import InputError


def test_broken_files_end_in_the_right_sum_or_an_error_that_names_them():
    n_cases = 2000 if ALL else 60
    assert fuzz.fuzz(n_cases, seed=2 if ALL else 1) == []


def test_a_case_is_the_same_each_time(tmp_path):
    for number in range(5):
        one, other = (fuzz.Case(7, number, tmp_path) for _ in range(2))
        assert (str(one), one.data) == (str(other), other.data)


def first_case(folder, wanted):
    """A case that is wanted."""
    return next(case for number in range(500) if wanted(case := fuzz.Case(3, number, folder)))


def test_a_wrong_result_is_a_problem(tmp_path, monkeypatch):
    """The oracle can say no: to a sum that lacks a file, an error without a name, and a crash."""
    case = first_case(tmp_path, lambda case: case.entry == "coadd" and str(case).endswith(": "))
    assert case.problem() == ""
    right = case.coadd_by_spt3g(case.file) if not case.ending else None
    monkeypatch.setattr(case, "coadd", lambda file, meanwhile: {"90GHz": {"T": np.zeros(3)}})
    assert case.problem() == "the result is another"
    assert right is None or not fuzz.same(right, {})

    def fails(file, meanwhile):
        raise InputError("Something is wrong.")

    monkeypatch.setattr(case, "coadd", fails)
    assert case.problem() == "the file is not named: Something is wrong."
    monkeypatch.setattr(case, "coadd", lambda file, meanwhile: 1 / 0)
    assert case.problem().startswith("ZeroDivisionError")


def test_a_process_that_ends_is_a_problem_of_its_case(monkeypatch, tmp_path):
    script = tmp_path / "ends.py"
    script.write_text(
        "import sys\nn, first = int(sys.argv[1]), int(sys.argv[3].split('=')[1])\n"
        "for i in range(first, first + n):\n"
        "    print(f'{i}\\ta case\\t', end='', flush=True)\n"
        "    if i == 1: import os; os.abort()\n"
        "    print()\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(script))
    assert fuzz.fuzz(4) == ["case 1 of seed 1: a case: the process ended (-6)"]


@pytest.mark.parametrize("change", fuzzing.MEANWHILE)
@pytest.mark.parametrize("entry", ["coadd", "reader", "distributor"])
def test_a_file_that_is_changed_while_it_is_read_is_told(change, entry, tmp_path):
    """Or makes no difference: deleted and replaced files are read to their end."""
    case = first_case(tmp_path, lambda case: case.entry == entry and not case.ending)
    whole = fuzzing.map_file("flat dense", "hits")
    case.kind, case.others = ("flat dense", "hits"), []
    case.of_content = case.of_file = fuzzing.nothing
    case.data, case.meanwhile = whole, change
    Path(case.file).write_bytes(whole)
    assert case.problem() == ""
    assert not os.path.exists(case.file) or Path(case.file).read_bytes() != whole
