"""The ledger: which units of input went into a result.

Whoever counts a frame writes it down here. From that one list come the provenance of a coadd
(``InputMapIds``, ``InputFiles``), the check that nothing is counted twice, and the audit that
nothing was lost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from ..choices import OnDuplicate
from ..errors import DuplicateError, require_choice
from .originals import same_because
from .overlap import Index, Overlap, doubtful
from .units import UNPLACED as UNPLACED
from .units import Entry as Entry
from .units import Unit as Unit
from .units import set_unit as set_unit
from .units import unit_of as unit_of
from .units import where_of as where_of

logger = logging.getLogger(__name__)

_WAY_OUT = 'on_duplicate="sum" if this is what you want'


class LeftOut(NamedTuple):
    """Input that was not counted: a file, the number of a frame or -1 for all, and why."""

    file: str
    frame: int
    reason: str


@dataclass
class Ledger:
    """The entries of all frames that went into one result, in the order in which they came."""

    entries: list[Entry] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    _index: Index | None = field(default=None, init=False, repr=False, compare=False)

    def refuse_duplicate(self, entry: Entry) -> None:
        """Check a frame before it is counted.

        Raises
        ------
        DuplicateError
            If the same unit is here already, or an observation that is in it.
        """
        if self._index is None:
            self._index = Index()
            for counted in self.entries:
                self._index.add(counted)
        overlap = self._index.find(entry)
        if overlap is None:
            return
        if overlap.common:
            _refuse_overlap(entry, overlap)
        file, other = entry.file, overlap.entry.file
        also = (
            f" ({same_because(file, other)})" if file and other and file.name != other.name else ""
        )
        raise DuplicateError(
            f"{entry.unit} came twice{also} and would be summed twice. Name each file once, or say "
            f"{_WAY_OUT}."
        )

    def record(self, entry: Entry) -> None:
        """Count a frame."""
        self.entries.append(entry)
        if self._index is not None:
            self._index.add(entry)

    def map_ids(self) -> list[str]:
        """The Ids of all maps that were counted, each once, in order."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry.map_ids))

    def files(self) -> list[str]:
        """The files of all maps that were counted, each once, in order."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry.files))

    def units(self) -> list[Unit]:
        """The units that were counted, in order: all frames but those made in the pipeline."""
        return [entry.unit for entry in self.entries if entry.unit is not None]

    def input_order(self) -> tuple[int, int]:
        """Where the first entry stands in the order of input."""
        return min((entry.input_order for entry in self.entries), default=(UNPLACED, 0))

    def warn_of_doubts(self) -> None:
        """Warn if entries may have an input in common, though this cannot be known."""
        if (doubt := doubtful(self.entries)) is not None:
            name, first, second = doubt
            logger.warning(
                "%s and %s both have an input named %s. It is neither beside the coadd that lists "
                "it nor here, so it is not known whether both mean the same file, which "
                "would be summed twice.",
                first,
                second,
                name,
            )


def merge(ledgers: Sequence[Ledger], *, once: bool) -> Ledger:
    """Join the ledgers of all ranks, given in their order, in the order of the input files.

    Raises
    ------
    DuplicateError
        If `once` and two ranks have counted the same unit, or the same observation.
    """
    if once and sum(bool(ledger.entries) for ledger in ledgers) > 1:
        _refuse_shared(ledgers)
    entries = [entry for ledger in ledgers for entry in ledger.entries]
    return Ledger(
        sorted(entries, key=lambda entry: entry.input_order)
    )  # stable: ties stay in the order of ranks


def union(ledgers: Iterable[Ledger]) -> Ledger:
    """All that is in any of several ledgers of the same input, once, in the order of input.

    Frames that were made in the pipeline are told apart by their Ids alone.
    """
    counts: Counter[Entry] = Counter()
    for ledger in ledgers:
        counts |= Counter(ledger.entries)
    return Ledger(sorted(counts.elements(), key=lambda entry: entry.input_order))


def check_on_duplicate(on_duplicate: str) -> None:
    """Refuse what says nothing of units that come twice.

    Raises
    ------
    UsageError
    """
    require_choice("on_duplicate", on_duplicate, OnDuplicate)


def _refuse_shared(ledgers: Sequence[Ledger]) -> None:
    """Notice what two ranks have counted; each has looked at its own."""
    index = Index()
    for rank, ledger in enumerate(ledgers):
        for entry in ledger.entries:
            if (overlap := index.find(entry)) is None:
                continue
            if overlap.common:
                _refuse_overlap(entry, overlap)
            by_arrival = (
                " (spt3g's reader does not count frames, so this is the order in which they "
                "came to the coadder)"
            )
            raise DuplicateError(
                f"{entry.unit} was counted on rank {overlap.rank} and on rank {rank}, so it would "
                f"be summed more than once{by_arrival if entry.frames[0][1] < 0 else ''}. Give "
                "every rank files of its own: MPIFileReader(mpicomm, [files]) shares out the "
                "files of a nested list, where those of a plain list reach every rank."
            )
        for entry in ledger.entries:
            index.add(entry, rank)


def _refuse_overlap(entry: Entry, overlap: Overlap) -> NoReturn:
    raise DuplicateError(
        f"{overlap.entry} and {entry} both contain {overlap.common}, which would be summed twice. "
        f"Take each observation once (coadd the original files), or say {_WAY_OUT}."
    )
