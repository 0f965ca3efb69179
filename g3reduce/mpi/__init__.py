"""Ranks: which communicator they work on, and how they agree, transfer, wait and fail together.

In reading order:

* `launchers`: the environment that launchers make; `launcherprocess`: where their messages go;
  `communicators`: which communicator to use, and what is made once for it; `ownership`:
  communicators of one module, freed also after errors.
* `waiting`: waits that a guard can end; `meetings`: one exchange tells where each rank is and
  whether it failed; `agreement`: errors reach all ranks, and arguments are compared, by meetings;
  `deciding`: one rank decides on the reports of all; `foreign`: work of other libraries in which no
  rank can be woken.
* `guard`: ranks fail together; `messages`: its mailbox; `interrupts`: signals; `stall`: nothing
  moves any more; `jobend`: the loss of one rank ends the job.
* `transfer` and `swap`: large arrays in pieces; `counter`: numbers that reach one rank each.
* `launch`: start a command on several ranks.

It imports `errors`, `buffers` and `temporary` only.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
