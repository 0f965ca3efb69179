"""G3 modules that bring or keep frames; units of input and their ledger.

In reading order:

- `reader` is the first module of a pipeline: it reads the files of a `parallelblock`, after their
  `leaders`. `distributor` hands frames from ranks that read to ranks that work, by the messages of
  `dispatch`. `sources` knows which of them is at work, `progressmodule` shows how far
  they are, `counted` what all readers have read, and `hushing` keeps binners from complaining
  where no data came.
- `endmodule` is what modules at the end of a pipeline share; `accumulator` is one that keeps
  frames. `userfunctions` calls what users give to them, and `arguments` checks it.
- `units` says which frame of which file something is, and `ledger` which of them are in a result:
  `originals` tells whether two names mean the same file, `overlap` whether two coadds have one in
  common. `ledgerframe` writes the ledger of a coadd into its frame, and reads it;
  `packedledgers` makes bytes of ledgers, in which they go to other ranks. `alike` spares comparing
  very many entries one by one. `observations` names the observation of a frame.
- `filenames` finds the files that all ranks work on, and `output` writes those of results.

Imports from `mpi`, `arrays`, `g3files` and from what is below them.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
