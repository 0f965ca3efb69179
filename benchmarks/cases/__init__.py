"""What is measured, a benchmark a file.

* Maps: ``coadding`` (in one process), ``command`` (the whole command), ``compressed`` files,
  ``memory``, ``scaling`` (more and more ranks), ``distributor`` (frames of few files).
* Sums over ranks: ``reducing`` (every strategy, by way of ``joining``), ``custom`` (reductions of
  one's own), ``exactness`` (reproducible sums), ``flips``
  (sign-flip realisations).
* Timestreams: ``stitching``.
"""
