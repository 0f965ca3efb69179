"""Coadds of very many frames, which only their ledgers know of; and the memory of a process."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import mapsums
import skies

from g3reduce.coadd.joining import Coadd, join_coadds
from g3reduce.coadd.reports import Note, Rules
from g3reduce.g3files.frames import Fingerprint
from g3reduce.pipeline.entries import Entry
from g3reduce.pipeline.ledger import Ledger
from g3reduce.pipeline.originals import Original
from g3reduce.pipeline.units import Unit


def entry_of(position):
    """A frame of a file that is not there, as a coadder writes it down."""
    name = f"obs/night_{position // 100:05d}/obs_{position:09d}.g3"
    file = Original(name, (f"/there/{name}",))
    unit = Unit(name, 3, position, fingerprint=Fingerprint(position % 2**32, 4000 + position // 7))
    return Entry(
        *(unit, ("90GHz",), (file,), False, True, file, unit, False, "90GHz"),
        *(f"field/{position}", 1, 1000 + position % 13, position / 7),
    )


def coadds_of(rank, n_units, n_coadds=1):
    """The coadds of a rank: half of them have a frame each with the other sign."""
    entries = [entry_of(rank * n_units + at) for at in range(n_units)]
    frame = skies.map_frame("flat sparse", "polarized", 0, "90GHz")
    return {
        f"split {number}": Coadd(
            f"split {number}",
            mapsums.added([frame]),
            Ledger([one._replace(sign=-1) for one in entries] if number % 2 else list(entries)),
        )
        for number in range(n_coadds)
    }


def joined(comm, mine, result="root", root=0):
    """The coadds of all ranks."""
    rules = Rules(True, "warn", True, str, lambda note, any_added: None)
    note = Note(set(), {}, Counter({"90GHz": 1}), {comm.rank}, {})
    return join_coadds(
        *(comm, mine, "tree" if result == "root" else "auto"),
        result=result,
        root=root,
        rules=rules,
        keep_exact=False,
        note=note,
    )


def forget_peak():
    """Let the peak of this process begin anew; its bytes of memory now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak():
    """The most memory that this process has had since, in bytes."""
    return _status("VmHWM")


def _status(name):
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024
