"""Numpy under the sums: memory, rows of blocks, an operation as data, exact arithmetic."""
