"""Measurements, each a function that returns rows. Run one as ``python -m benchmarks.<name>``."""
