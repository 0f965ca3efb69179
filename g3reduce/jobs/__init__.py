"""Jobs that coadd files of maps into a file: `coadd_files`, and `check_files`.

In reading order:

- `files` is `coadd_files`: names in, a coadd out. `inputs` says which files there are, and
  `passes` does the work; `feeding` brings the frames of files to the coadder. `mapopener` opens
  files so that the pixels of maps stay there until they are added. `splitting` plans which maps go
  to which coadds, where this depends on all of them. `outputs` writes
  what was made, in the format that the name of the output stands for; `accounting` tells what it
  took. `presence` refuses input without the maps that were asked for. `listing` looks what is in
  files, and `previewing` what would be made of them.
- `choosing` says which files are added and which are left out: `survey` lets ranks look at all of
  them, each by `examining`; `majority` finds those that do not fit, `copies` those that are there
  twice, and `manifest` what files do not say themselves. `checking` is what `g3reduce check` does,
  with `estimating`. `allbad` lets an error of one file name all that are bad.
- `checkpointing` lets the work be stopped, and go on in another run: `checkpoints` writes the sums
  of a rank while it reads, `checkpointcommit` makes sets of what all ranks wrote, and `resuming`
  takes one up. `checkpointfolder`, `checkpointset` and `checkpointfile` are what is on the disk;
  `tally` counts what a rank has read, and `completion` marks what is done.
- `planning` plans a coadd on several nodes: `sampling` adds some of its files, and `sampledsplits`
  says what a splitting makes of all. `plannedwork` makes figures for a model of it, `coaddplan` is
  what comes of these, and `jobscript` a job.

Imports from `coadd` and from what is below it.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
