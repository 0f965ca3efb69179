"""Parallel coaddition of sky maps and restitching of timestreams, for spt3g pipelines on MPI.

The public names are those of `__init__.pyi`, here and in the folders that it lists. Each is loaded
when it is first used, so that importing the package costs next to nothing and never touches MPI.
"""

from __future__ import annotations

import lazy_loader

from .mpi import launchers as _launchers

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# An error before the first module is made must end the job, too. This does not touch MPI.
if _launchers.may_be_several():
    from .mpi.jobend import end_job_on_exception as _end_job_on_exception

    _end_job_on_exception()
