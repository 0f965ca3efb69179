"""Coadds of maps: in a pipeline (`MPIMapCoadder`) and from files to a file (`coadd_files`).

In reading order:

- `files` is `coadd_files`: names in, a coadd out. `inputs` says which files there are, and
  `feeding` brings their frames to the coadder. `mapopener` opens files so that the pixels of maps
  stay there until they are added.
- `choosing` says which files are added and which are left out: `survey` lets ranks look at all of
  them, each by `examining`; `majority` finds those that do not fit, `copies` those that are there
  twice, and `manifest` what files do not say themselves. `checking` is what `g3reduce check` does,
  with `estimating`. `allbad` lets an error of one file name all that are bad.
- `coadder` is the module of a pipeline, with the `settings` on which all ranks agree.
  `subclassing` is what it has in common with spt3g's ``CoaddMaps``, and what may be overridden;
  `driven`, what `coadd_files` does with it.
- `growing` is about files that are added to a coadd that is there, or subtracted from it, by
  `removing`. `exactinput` finds the exact sums in coadds that are input, and `state` writes running
  sums and takes them up again.
- `intake` takes each frame: `membership` says to which coadds it belongs, and `provenance` where
  it comes from. `adding` brings its pixels into the sums.
- `ledgerframe` writes the ledger of a coadd into its frame, and reads it.
- `checkpointing` lets the work be stopped, and go on in another run: `checkpoints` writes the sums
  of a rank while it reads, `checkpointcommit` makes sets of what all ranks wrote, and `resuming`
  takes one up. `checkpointfolder`, `checkpointset` and `checkpointfile` are what is on the disk;
  `tally` counts what a rank has read, and `completion` marks what is done.
- `joining` makes the coadds of all ranks one, and frames of them; `coadds` is what users get.

Imports from `strategies`, `maps`, `pipeline` and from what is below them.
"""
