"""The collective end of a coadder: what all ranks hold becomes one set of sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from . import comm as communicators
from . import strategies
from .errors import DuplicateError
from .ledger import UNPLACED, Entry, Ledger, merge
from .mapsum import MapSum, Summary, join
from .reductions import SUM


class Coadd(NamedTuple):
    """A sum of maps, and what went into it."""

    total: MapSum
    ledger: Ledger


# What ranks tell each other: by name of the coadd, its summary and its entries.
_Told: TypeAlias = "dict[str, tuple[Summary, list[Entry]]]"


def join_coadds(
    comm: communicators.Comm,
    mine: Mapping[str, Coadd],
    strategy: strategies.Strategy,
    *,
    result: str,
    root: int,
    once: bool,
    require_weights: bool,
) -> tuple[list[str], dict[str, Coadd]]:
    """Join the coadds of all ranks by name. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    mine : dict of str to Coadd
        What this rank holds. It is used up.
    strategy, result, root
        How they are joined, and where the result goes.
    once : bool
        Refuse input that was counted on two ranks.
    require_weights : bool
        Refuse to join sums with weights and sums without.

    Returns
    -------
    names : list of str
        The coadds that there are, in the order of their input. The same on all ranks.
    coadds : dict of str to Coadd
        In that order, on the ranks that hold the result; else empty.

    Raises
    ------
    DuplicateError, MismatchError
        On all ranks, before anything is joined.
    """
    everywhere: list[_Told] = comm.allgather(
        {name: (coadd.total.summary, coadd.ledger.entries) for name, coadd in mine.items()}
    )
    if once:
        _refuse_same_sums(comm, mine, everywhere)

    def prepare() -> dict[str, Coadd]:
        prepared = {}
        # In one order: all ranks must come upon the same thing first, should something be wrong.
        for name in dict.fromkeys(name for told in everywhere for name in told):
            ledgers = [Ledger(told[name][1] if name in told else []) for told in everywhere]
            ledger = merge(ledgers, once=once)
            summaries = [told[name][0] for told in everywhere if name in told]
            if name in mine:
                total = mine[name].total
            else:  # a rank without any such map
                total = MapSum(join(summaries), require_weights=require_weights)
            total.prepare(summaries)
            prepared[name] = Coadd(total, ledger)
        return dict(sorted(prepared.items(), key=lambda item: _order(*item)))

    prepared = communicators.collectively(comm, prepare)
    joined = {}
    for name, coadd in prepared.items():
        blocks = strategies.reduce(
            comm, coadd.total.blocks, SUM, strategy, result=result, root=root
        )
        if blocks is not None:
            coadd.total.blocks = blocks
            joined[name] = coadd
    return list(prepared), joined


def _order(name: str, coadd: Coadd) -> tuple[int, int, str]:
    """Coadds come in the order of their first input, then of their names."""
    position, index = coadd.ledger.first_place()
    # Where no reader of ours counted the input, they stay as they came.
    return position, index, name if position < UNPLACED else ""


def _refuse_same_sums(
    comm: communicators.Comm, mine: Mapping[str, Coadd], everywhere: list[_Told]
) -> None:
    """Notice ranks that have read the same files with a reader that does not name its frames.

    Frames without a name cannot be told apart, but sums of as many of them, of the same Ids, that
    are equal to the bit, were not made of different observations.
    """
    suspects: Counter[tuple[str, tuple[tuple[str, ...], ...]]] = Counter()
    for told in everywhere:
        for name, (_, entries) in told.items():
            if not any(entry.unit for entry in entries):
                suspects[name, tuple(entry.map_ids for entry in entries)] += 1
    if max(suspects.values(), default=0) < 2:
        return
    digests = comm.allgather({name: coadd.total.digest() for name, coadd in mine.items()})
    first: dict[tuple[str, bytes], int] = {}
    for rank, (told, digest) in enumerate(zip(everywhere, digests, strict=True)):
        for name, (_, entries) in told.items():
            if any(entry.unit for entry in entries) or not digest[name]:
                continue
            other = first.setdefault((name, digest[name]), rank)
            if other != rank:
                communicators.agree(
                    comm,
                    DuplicateError(
                        f"Ranks {other} and {rank} have summed {len(entries)} frames to the very "
                        "same maps, so it seems that they have read the same files, which would "
                        "be summed more than once. Share files out with MPIFileReader(mpicomm, "
                        "[files]) instead of spt3g's G3Reader, or say "
                        'on_duplicate="sum" if this is what you want.'
                    ),
                )
