"""The machine on which something was measured, without telling whose it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

from .onranks import rows_from_ranks
from .rows import Row

PACKAGES = ("g3reduce", "spt3g", "numpy", "mpi4py")


def describe() -> dict[str, str]:
    """What speed depends on: processor, memory, system, and versions."""
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "system": f"{platform.system()} on {platform.machine()}",
        "busy cores before": f"{os.getloadavg()[0]:.1f}",
        "MPI": rows_from_ranks(1, _library)[0]["mpi"],
        "Python": platform.python_version(),
    }
    return facts | {name: importlib.metadata.version(name) for name in PACKAGES}


def _library(comm: Any) -> list[Row]:
    """Run by one rank, since to ask the MPI library may start it."""
    from mpi4py import MPI

    name, version = MPI.get_vendor()
    return [{"mpi": f"{name} {'.'.join(map(str, version))}"}]


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown"
    model = re.search(r"^model name\s*: (.*)$", told, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or "unknown"
