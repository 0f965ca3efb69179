"""How rivals are timed and started on ranks, and how rows become tables and pictures.

* ``settings``: what a run is asked for, and what a benchmark says of itself.
* ``inturn``: rivals in turn, and the spread of their times. ``onranks``: on MPI ranks. ``floor``:
  what no coadd of files can avoid. ``peaks``: of memory. ``machine``: where it was measured.
* ``rows``: rows and tables. ``pictures``: bars and lines.
"""
