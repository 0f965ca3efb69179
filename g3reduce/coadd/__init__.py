"""Coadds of maps: running sums, and `MPIMapCoadder`, the module of a pipeline.

In reading order:

- `coadder` is the module, with the `settings` on which all ranks agree. `subclassing` is what it
  has in common with spt3g's ``CoaddMaps``, and what may be overridden; `driven`, what the jobs that
  read files do with it.
- `intake` takes each frame: `membership` says to which coadds it belongs, and `provenance` where
  it comes from. `adding` brings its pixels into the sums. `exactinput` finds the exact sums in
  coadds that are input.
- `joining` makes the coadds of all ranks one, and frames of them: by `reports`, which one rank gets
  of all, and on which it decides. `flipped` makes coadds of the sign-flip realisations that were
  summed beside one; `coadds` is what users get, and `notebook` how notebooks show it.
- `coaddledger` reads the ledgers of the coadds in a file.
- `state` writes running sums and takes them up again. `growing` is about frames that are added to
  a coadd that is there, or subtracted from it, by `removing`.

Imports from `strategies`, `maps`, `pipeline` and from what is below them.
"""
