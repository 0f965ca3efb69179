"""The ledger: which units of input went into a result.

Whoever counts a frame writes it down here. From that one list come the provenance of a coadd
(``Ledger``, ``InputMapIds``, ``InputFiles``), the check that nothing is counted twice, and the
audit that nothing was lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from ..choices import OnDuplicate
from ..errors import DuplicateError, require_choice
from ..progress.htmltables import SHOWN, table_of
from ..spt3glog import unit_logger
from .entries import Entry as Entry
from .entries import LeftOut as LeftOut
from .originals import same_because
from .overlap import Index, Overlap, doubtful, to_be_compared
from .units import UNPLACED as UNPLACED
from .units import Unit as Unit
from .units import set_unit as set_unit
from .units import unit_of as unit_of
from .units import where_of as where_of

logger = unit_logger(__name__, "MPIMapCoadder")

# From so many entries on, they are put in order as arrays: tuples would take 100 bytes for each.
_MANY = 1000

_WAY_OUT = 'on_duplicate="sum" if this is what you want'
_COPIES = 'on_duplicate="skip" to count it once, or on_duplicate="sum" to count both'


@dataclass
class Ledger:
    """What went into one result, and what was left out.

    Attributes
    ----------
    entries : list of Entry
        All frames that were counted, in the order in which they came.
    left_out : list of LeftOut
        Files and frames that were not, each with the reason.
    """

    entries: list[Entry] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    _index: Index | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        """How many frames were counted."""
        return len(self.entries)

    def __bool__(self) -> bool:
        """Whether there is a ledger: true also of one without entries."""
        return True

    def __iter__(self) -> Iterator[Entry]:
        """The frames that were counted, in order."""
        return iter(self.entries)

    def __repr__(self) -> str:
        return f"<Ledger: {len(self.entries)} counted, {len(self.left_out)} left out>"

    def _repr_html_(self) -> str:
        """The first frames as a small table, for notebooks."""
        rows = [
            [
                str(one.sign),
                str(one),
                one.map_id,
                one.observation,
                f"{one.pixels:,}" if one.pixels >= 0 else "",
                f"{one.weight:.4g}",
            ]
            for one in self.entries[:SHOWN]
        ]
        caption = f"{len(self)} frame{'s' if len(self) != 1 else ''} counted"
        if self.left_out:
            caption += f", {len(self.left_out)} left out"
        heads = ("sign", "frame", "Id", "observation", "pixels", "weight")
        return table_of(heads, rows, caption, len(self))

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
        if (overlap := self._index.find(entry)) is None:
            return
        _refuse_overlap(entry, overlap)
        file, other = entry.file, overlap.entry.file
        also = (
            f" ({same_because(file, other)})" if file and other and file.name != other.name else ""
        )
        raise DuplicateError(
            f"{entry} came twice{also} and would be summed twice. Name each file once, or pass "
            f"{_COPIES}."
        )

    def record(self, entry: Entry) -> None:
        """Count a frame."""
        self.entries.append(entry)
        if self._index is not None:
            self._index.add(entry)

    def take(self, other: Ledger, sign: int, flips: bytes = b"") -> None:
        """Count all that is in another ledger, with the sign of that as a whole.

        `flips` are its signs in realisations, packed; see `Entry`.
        """
        for entry in other.entries:
            if sign != 1 or flips:
                entry = entry._replace(sign=sign * entry.sign, flips=flips or entry.flips)
            self.record(entry)
        self.left_out += other.left_out

    def note(self, number: int, contributed: Callable[[Entry], Entry]) -> None:
        """Note what a frame has contributed, once it was added: what this makes of its entry."""
        self.entries[number] = contributed(self.entries[number])

    def bare(self) -> Ledger:
        """The same without the index that finds duplicates, to be sent to other ranks."""
        return Ledger(self.entries, self.left_out)

    def map_ids(self) -> list[str]:
        """The Ids of all maps that were counted, each once, in order."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry.map_ids))

    def files(self) -> list[str]:
        """The files of all maps that were counted, each once, in order."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry.files))

    def observations(self) -> list[str]:
        """The observations of all maps that were counted, as far as they are known, each once."""
        found = dict.fromkeys(entry.observation for entry in self.entries)
        return [observation for observation in found if observation]

    def n_frames_by_id(self) -> Counter[str]:
        """How many frames of each Id were counted."""
        return Counter(entry.map_id for entry in self.entries)

    def units(self) -> list[Unit]:
        """The units that were read and counted, in order: all frames but those made in a pipeline.

        A coadd is one unit here, whatever its own ledger lists.
        """
        units: list[Unit] = []
        coadd: Unit | None = None  # the one in which the entry before was
        for entry in self.entries:
            if entry.read is not None and not (entry.inside and entry.read == coadd):
                units.append(entry.read)
            coadd = entry.read if entry.inside else None
        return units

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
    entries = in_order_of_input([entry for ledger in ledgers for entry in ledger.entries])
    return Ledger(entries, _still_left_out(ledgers, entries))


def in_order_of_input(entries: Sequence[Entry]) -> list[Entry]:
    """Entries in the order of the input; those of one place stay in the order that they have."""
    if len(entries) < _MANY:
        return sorted(entries, key=lambda entry: entry.input_order)
    places = np.fromiter((at for one in entries for at in one.input_order), np.int64)
    order = np.lexsort((places[1::2], places[::2]))
    return [entries[at] for at in order.tolist()]


def union(ledgers: Iterable[Ledger]) -> Ledger:
    """All that is in any of several ledgers of the same input, once, in the order of input.

    Frames that were made in the pipeline are told apart by their Ids alone. A frame that is added
    to one and subtracted from another has the sign of the first.
    """
    ledgers = list(ledgers)
    if len(ledgers) == 1:
        return merge(ledgers, once=False)
    counts: Counter[int] = Counter()
    numbers: dict[Entry, int] = {}  # of each entry, whatever its sign
    by_identity: dict[int, int] = {}  # most are in many ledgers, and to hash one takes long
    signed: dict[int, list[Entry]] = {}
    for ledger in ledgers:
        mine: Counter[int] = Counter()
        for entry in ledger.entries:
            number = by_identity.get(id(entry))
            if number is None:
                plain = entry if entry.sign == 1 else entry._replace(sign=1)
                number = by_identity[id(entry)] = numbers.setdefault(plain, len(numbers))
            mine[number] += 1
            if mine[number] > counts[number]:
                signed.setdefault(number, []).append(entry)
        counts |= mine
    entries = in_order_of_input([entry for number in counts for entry in signed[number]])
    return Ledger(entries, _still_left_out(ledgers, entries))


def _still_left_out(ledgers: Iterable[Ledger], entries: Sequence[Entry]) -> list[LeftOut]:
    """What any ledger says was left out, each once, without what was counted after all."""
    found = dict.fromkeys(one for ledger in ledgers for one in ledger.left_out)
    if not found:
        return []
    units = [entry.unit for entry in entries if entry.unit is not None]
    counted = {(unit.file, unit.index) for unit in units} | {(unit.file, -1) for unit in units}
    return [one for one in found if (one.file, one.frame) not in counted]


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
    for rank, entries in enumerate(to_be_compared([ledger.entries for ledger in ledgers])):
        for entry in entries:
            if (overlap := index.find(entry)) is None:
                continue
            _refuse_overlap(entry, overlap)
            by_arrival = (
                " (spt3g's reader does not count frames, so this is the order in which they "
                "came to the coadder)"
            )
            raise DuplicateError(
                f"{entry} was counted on rank {overlap.rank} and on rank {rank}, so it would "
                f"be summed more than once{'' if entry.counted else by_arrival}. Give "
                "every rank files of its own: MPIFileReader(mpicomm, [files]) shares out the "
                "files of a nested list, where those of a plain list reach every rank."
            )
        for entry in entries:
            index.add(entry, rank)


def _refuse_overlap(entry: Entry, overlap: Overlap) -> None:
    """Refuse frames that overlap though they are not one and the same."""
    if overlap.same_content:
        _refuse_same_content(overlap.entry, entry)
    if overlap.common:
        raise DuplicateError(
            f"{overlap.entry} and {entry} both contain {overlap.common}, which would be summed "
            f"twice. Take each observation once (coadd the original files), or say {_WAY_OUT}."
        )


def _refuse_same_content(first: Entry, second: Entry) -> NoReturn:
    both = f"{first} and {second}"
    if first.unit and second.unit and first.unit.index == second.unit.index:
        both = f"{second.unit.file} and {first.unit.file}"
    raise DuplicateError(
        f"{both} have the same content, which would be summed twice. Drop one, or pass {_COPIES}."
    )
