"""What ranks tell one of them before they join their coadds, and what that one decides.

Ledgers and summaries go to this rank alone, which compares and merges them. The others are told
what the whole is, or what is wrong with it: their memory does not grow with the number of ranks.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..choices import Result
from ..errors import DuplicateError
from ..maps.numbering import Key, numbers_runs
from ..maps.summary import Summary, join_agreeing
from ..pipeline.ledger import UNPLACED, Ledger, merge
from ..pipeline.packedledgers import pack as pack_ledgers
from ..pipeline.packedledgers import unpack as unpack_ledgers
from ..pipeline.repeated import refuse_repeated_observations, repeated_in
from .growing import removed_from
from .provenance import completed
from .removing import ledger_without


class Note(NamedTuple):
    """What ranks tell of their input beside their coadds: Ids that were mixed, and what was read.

    Of splittings without a plan, also what is recorded of coadds.

    Attributes
    ----------
    mixed : set of (str, str)
    records : mapping of str to (mapping of str to str)
    n_seen : Counter
        How many Map frames of each Id were read.
    with_maps : set of int
        The positions of files in which there are Map frames.
    ends : dict of int to (int, str)
        Which observation lasts over the ends of files: see `provenance`.
    """

    mixed: Set[tuple[str, str]]
    records: Mapping[str, Mapping[str, str]]
    n_seen: Counter[str]
    with_maps: Set[int]
    ends: Mapping[int, tuple[int, str]]

    @classmethod
    def of_all(cls, notes: Iterable[Note]) -> Note:
        """The notes of all ranks as one."""
        mixed, with_maps = set[tuple[str, str]](), set[int]()
        records: dict[str, Mapping[str, str]] = {}
        n_seen: Counter[str] = Counter()
        for note in notes:
            mixed |= note.mixed
            records.update(note.records)
            n_seen += note.n_seen
            with_maps |= note.with_maps
        return cls(mixed, records, n_seen, with_maps, {})


class Report(NamedTuple):
    """The report of a rank on its coadds: by name, the summary and the ledger of each."""

    summaries: Mapping[str, Summary]
    ledgers: Mapping[str, Ledger]
    note: Note

    def packed(self) -> bytes:
        """The report as bytes, for `Unpacking` on another rank."""
        ledgers = pack_ledgers(self.ledgers.values())
        return pickle.dumps((self.summaries, ledgers, self.note), protocol=5)


class Unpacking:
    """Makes reports of bytes; they share the strings that they have in common."""

    def __init__(self) -> None:
        self._strings: dict[str, str] = {}

    def __call__(self, packed: bytes) -> Report:
        """The report that was packed."""
        summaries, ledgers, note = pickle.loads(packed)
        found = unpack_ledgers(ledgers, self._strings)
        return Report(summaries, dict(zip(summaries, found, strict=True)), note)


@dataclass
class Decision:
    """What the coadds of all ranks are together.

    Attributes
    ----------
    names : list of str
        In the order of their input.
    summaries : dict of str to Summary
        What the sum of each is, over all ranks.
    layouts_from : dict of str to (int or None)
        The coadds whose pixels all ranks number by the same runs, and the rank that tells them to
        those that have none, if any has none.
    note : Note
        Of all ranks.
    ledgers : dict of str to Ledger
        On the ranks that are to have them.
    packed : bytes
        The same, for others.
    suspected : bool
        Whether ranks may have summed the same frames, which have no names: nothing else is decided
        before it is known.
    """

    names: list[str] = field(default_factory=list)
    summaries: dict[str, Summary] = field(default_factory=dict)
    layouts_from: dict[str, int | None] = field(default_factory=dict)
    note: Note = field(default_factory=lambda: Note.of_all(()))
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    packed: bytes = b""
    suspected: bool = False

    def told(self, result: Result) -> Decision:
        """What other ranks are told of it: ledgers only if these hold the result, too."""
        if result == "root":
            return replace(self, ledgers={}, note=self.note._replace(with_maps=frozenset()))
        return replace(self, ledgers={}, packed=pack_ledgers(self.ledgers.values()))

    def unpack(self) -> None:
        """Make ledgers of what this rank was told."""
        if self.packed:
            self.ledgers = dict(zip(self.names, unpack_ledgers(self.packed), strict=True))
            self.packed = b""


class Rules(NamedTuple):
    """By what the coadds of all ranks are judged; see `join_coadds`."""

    once: bool
    same_observation: str
    require_weights: bool
    frame_id: Callable[[str], str]
    check: Callable[[Note, bool], None]

    def decide(self, reports: Sequence[Report]) -> Decision:
        """What the coadds of all ranks are together, unless it is suspected that some are the same.

        Raises
        ------
        DuplicateError, MismatchError, InputError
        """
        if self.once and max(_alike_without_names(reports).values(), default=0) > 1:
            return Decision(suspected=True)
        return self.judge(reports)

    def judge(self, reports: Sequence[Report]) -> Decision:
        """What the coadds of all ranks are together.

        Raises
        ------
        DuplicateError, MismatchError, InputError
        """
        # In one order, so that the first fault is the same on any number of ranks.
        names = list(dict.fromkeys(name for report in reports for name in report.summaries))
        note = Note.of_all(report.note for report in reports)
        self.check(note, bool(names))
        whole = Decision(note=note)
        counted = [ledger for report in reports for ledger in report.ledgers.values()]
        completed(counted, (report.note.ends for report in reports))
        for name in names:
            having = [report for report in reports if name in report.summaries]
            ledgers = [
                report.ledgers[name] if name in report.ledgers else Ledger() for report in reports
            ]
            whole.ledgers[name] = merge(ledgers, once=self.once)
            whole.summaries[name] = join_agreeing(
                [report.summaries[name] for report in having], require_weights=self.require_weights
            )
            _decide_layout(whole, name, reports)
        for name, minus in removals_of(names).items():
            ledger, removed = whole.ledgers[name], whole.ledgers[minus]
            whole.ledgers[name] = ledger_without(ledger, removed, self.frame_id(name))
        for name in kept_of(names) if self.same_observation == "error" else ():
            refuse_repeated_observations(repeated_in(whole.ledgers[name].entries))
        whole.names = sorted(names, key=lambda name: _order(name, whole.ledgers[name]))
        whole.ledgers = {name: whole.ledgers[name] for name in whole.names}
        return whole


def removals_of(names: Iterable[str]) -> dict[str, str]:
    """By the name of a coadd, the name of the one that is to be taken away from it."""
    found = {removed_from(name): name for name in names}
    return {name: minus for name, minus in found.items() if name is not None}


def kept_of(names: Iterable[str]) -> list[str]:
    """Those that are not to be taken away from others."""
    return [name for name in names if removed_from(name) is None]


def _decide_layout(whole: Decision, name: str, reports: Sequence[Report]) -> None:
    """Find out whether all sums of a coadd number their pixels by runs, and who knows these."""
    numberings: list[Key | None] = [
        report.summaries[name].numbering if name in report.summaries else None for report in reports
    ]
    met = list({numbering for numbering in numberings if numbering is not None})
    if len(met) == 1 and numbers_runs(met[0]):
        first = numberings.index(met[0])
        whole.layouts_from[name] = first if None in numberings else None


def _order(name: str, ledger: Ledger) -> tuple[int, int, str]:
    """Coadds come in the order of their first input, then of their names."""
    position, index = ledger.input_order()
    # Where no reader of ours counted the input, they stay as they came.
    return position, index, name if position < UNPLACED else ""


def _alike_without_names(
    reports: Sequence[Report],
) -> Counter[tuple[str, tuple[tuple[str, ...], ...]]]:
    """How many ranks have summed frames of these Ids, none of which has a name."""
    return Counter(
        (name, tuple(entry.map_ids for entry in ledger.entries))
        for report in reports
        for name, ledger in report.ledgers.items()
        if _is_nameless(ledger)
    )


def _is_nameless(ledger: Ledger) -> bool:
    return not any(entry.read for entry in ledger.entries)


def refuse_same_sums(reports: Sequence[Report], digests: Sequence[Mapping[str, bytes]]) -> None:
    """Notice ranks that have read the same files with a reader that does not name its frames.

    Frames without a name cannot be told apart, but sums of as many of them, of the same Ids, that
    are equal to the bit, were not made of different observations.

    Parameters
    ----------
    reports : list of Report
    digests : list of dict of str to bytes
        By rank and name, those of the sums.

    Raises
    ------
    DuplicateError
    """
    first: dict[tuple[str, bytes], int] = {}
    for rank, (report, digest) in enumerate(zip(reports, digests, strict=True)):
        for name, ledger in report.ledgers.items():
            if not _is_nameless(ledger) or not digest[name]:
                continue
            other = first.setdefault((name, digest[name]), rank)
            if other != rank:
                raise DuplicateError(
                    f"Ranks {other} and {rank} have summed {len(ledger.entries)} frames to the "
                    "very same maps, so it seems that they have read the same files, which "
                    "would be summed more than once. Share files out with "
                    "MPIFileReader(mpicomm, [files]) instead of spt3g's G3Reader, or say "
                    'on_duplicate="sum" if this is what you want.'
                )
