"""Files that the benchmarks read."""
