"""Measurements of g3reduce beside rivals, in turn: ``python -m benchmarks`` runs them all.

In reading order:

* ``cases/``: what is measured, a benchmark a file. Each has functions that return rows, and a
  `Benchmark` that says how they are shown and read.
* ``inputs/``: the files that they read.
* ``harness/``: how rivals are timed in turn and on ranks, and how rows become tables and pictures.
  It knows no case.
* ``model/``: strategies on simulated ranks, beside real ones, by a command of its own:
  ``python -m benchmarks.model``.
* ``suite.py``: the list of all cases, and what a run of them leaves. ``report.py``: the pages.
  ``__main__.py``: the command.

To add a benchmark, write a file in ``cases/`` that ends in ``BENCHMARK = Benchmark(...)``, name it
in ``suite.py``, and test its smallest case in ``tests/test_benchmarks.py``.
"""
