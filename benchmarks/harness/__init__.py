"""How runs are timed, started on ranks, and shown."""
