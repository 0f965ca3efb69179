"""Ranks: which communicator, how they agree, transfer, wait, and fail together."""
