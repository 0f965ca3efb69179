"""What is told of work while it goes on: events, where they come from, and who shows them.

In reading order:

* `timing` is what the stages of work took on each rank.
* `events` are plain data: a file was begun, or is done, a coadd was written; each with totals.
* `board` is memory of rank 0 into which each rank puts a row when it begins and ends a file, by a
  one-sided put. Rank 0 reads it in a thread, which makes no call of MPI.
* `watching` is one job that may be watched, and `reading` what each rank notes. On rank 0
  `counting` makes events of what changed on the board, and `telling` hands them to observers, which
  are callables. Where nobody watches there is no board, no thread and no message.
* `flow` counts frames that pass through pipelines; `unended` is for those that an exception ends.
* Observers: `bar` draws one live line, `lines` writes plain ones where there is no terminal,
  `logfile` writes one event a line as JSON, and reads them again. `choosing` finds what suits.
* `terminal` says whether there is one, also behind a launcher; `screen` lets messages and the live
  line share it.
* `htmltables` are small tables, as which notebooks show results.

It imports `mpi` and what is below it.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
