"""Parallel coaddition of sky maps and restitching of timestreams, for spt3g pipelines on MPI.

The public names are those of `__init__.pyi`, here and in the folders that it lists. Each is loaded
when it is first used, so that importing the package costs next to nothing and never touches MPI.
"""

from __future__ import annotations

import os
import sys

import lazy_loader

from .mpi import launchers as _launchers

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# spt3g's documentation tool looks for what is marked in modules that are loaded.
if os.path.basename(next(iter(sys.argv), "")) == "spt3g-inspect":
    for _name in __all__:
        _loaded = __getattr__(_name)
        for _inside in getattr(_loaded, "__all__", ()):
            getattr(_loaded, _inside)

# Notebooks show coadds with pictures, which are drawn in a row above `coadd`. Imports nothing else.
if "IPython" in sys.modules:
    from .report.thumbnails import register as _register

    _register()

# An error before the first module is made must end the job, too. This does not touch MPI.
if _launchers.may_be_several():
    from .mpi.jobend import end_job_on_exception as _end_job_on_exception

    _end_job_on_exception()
