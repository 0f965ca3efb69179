"""Measurements beside rivals, in turn. ``python -m benchmarks`` runs them all.

Each benchmark is a module with functions that return rows, and a `Benchmark` that says how its
rows are shown. See `benchmarks.suite` for the list.
"""
