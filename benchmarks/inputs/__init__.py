"""Files that benchmarks read: ``mapfiles`` of all kinds of maps, ``scanfiles`` of timestreams."""
