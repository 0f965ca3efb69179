"""G3 modules that bring or keep frames; units of input and their ledger."""
