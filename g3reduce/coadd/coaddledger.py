"""The ledgers of coadds, as far as these say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spt3g import core

from ..pipeline.entries import Entry, LeftOut
from ..pipeline.ledger import Ledger
from ..pipeline.ledgerframe import ledger_in
from ..pipeline.units import unit_of
from ..spt3gtypes import Frame


@dataclass(frozen=True)
class CoaddLedger:
    """The ledger of a Map frame in a file.

    Attributes
    ----------
    file : str
    frame : int
        Which frame of the file.
    frame_id : str
        Its Id.
    ledger : Ledger
    map_ids, files : list of str
        What the frame lists in ``InputMapIds`` and ``InputFiles``: of coadds that spt3g has made,
        all that there is.
    """

    file: str
    frame: int
    frame_id: str
    ledger: Ledger
    map_ids: list[str]
    files: list[str]

    def __str__(self) -> str:
        return f"{self.file}, frame {self.frame} (Id {self.frame_id!r})"

    def matches(self, name: str) -> Iterator[str]:
        """What is in the coadd of a file, an observation or an Id: a line about each."""
        for entry in self.ledger.entries:
            if _is_about(entry, name):
                yield _line_about(entry)
        if not self.ledger.entries:
            yield from (f"the file {file}" for file in self.files if _is_name(file, name))
            yield from (f"the Id {one}" for one in self.map_ids if _is_id(one, name))

    def left_out_of(self, name: str) -> list[LeftOut]:
        """What was left out of a file."""
        return [one for one in self.ledger.left_out if _is_name(one.file, name)]


def ledgers_of(frames: Iterable[Frame]) -> Iterator[CoaddLedger]:
    """The ledger of each Map frame of a file, as far as it says.

    Raises
    ------
    InputError
        If a ledger cannot be understood.
    """
    for frame in frames:
        unit = unit_of(frame)
        file, number = (unit.file, unit.index) if unit else ("", 0)
        ledger = ledger_in(frame, f"{file}, frame {number}") or Ledger()
        map_ids, files = (_strings(frame, key) for key in ("InputMapIds", "InputFiles"))
        yield CoaddLedger(file, number, str(frame.get("Id", "")), ledger, map_ids, files)


def _strings(frame: Frame, key: str) -> list[str]:
    value = frame.get(key, None)
    return list(value) if isinstance(value, core.G3VectorString) else []


def _line_about(entry: Entry) -> str:
    file = str(entry.unit) if entry.unit else "a frame made in a pipeline"
    of = f", observation {entry.observation}" if entry.observation else ""
    sign = ", subtracted" if entry.sign < 0 else ""
    return f"{file} (Id {entry.map_id!r}{of}{sign})"


def _is_about(entry: Entry, name: str) -> bool:
    files = [*entry.files, *([entry.unit.file] if entry.unit else [])]
    if any(_is_name(file, name) for file in files):
        return True
    if name == entry.observation or name == entry.observation.rpartition("/")[2] != "":
        return True
    return name == entry.map_id or any(_is_id(one, name) for one in entry.map_ids)


def _is_id(listed: str, name: str) -> bool:
    """Whether an Id is this one, or is of this observation."""
    return listed == name or (listed.count("/") >= 2 and listed.startswith(f"{name}/"))


def _is_name(file: str, name: str) -> bool:
    """Whether a file has this name, or one that ends in it: a name without folders is enough."""
    if os.path.normpath(file) == os.path.normpath(name):
        return True
    return bool(name) and f"/{file}".endswith(f"/{name.removeprefix('./')}")
