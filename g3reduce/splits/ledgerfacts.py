"""What a ledger knows of the maps that it lists."""

from __future__ import annotations

from ..errors import InputError
from ..pipeline.entries import Entry
from ..pipeline.ledger import Ledger
from .facts import MapFacts


def facts_in(ledger: Ledger) -> list[MapFacts]:
    """What is known of each map that was read, once each, in the order of the ledger.

    A coadd that was read stands for all that it lists: its observation is known if that is one.
    When observations began, ledgers do not say.

    Raises
    ------
    InputError
        If a map was made in a pipeline, so that it has no name.
    """
    read: dict[tuple[str, int], list[Entry]] = {}
    for entry in ledger.entries:
        unit = entry.read or entry.unit
        if unit is None or unit.index < 0:
            raise InputError(
                f"{entry}: the ledger does not say which frame of which file this is, so it cannot "
                "be planned for. Let MPIFileReader or MPIIODistributor read the files."
            )
        read.setdefault((unit.file, unit.index), []).append(entry)
    return [_facts_of(file, frame, entries) for (file, frame), entries in read.items()]


def _facts_of(file: str, frame: int, entries: list[Entry]) -> MapFacts:
    ids, observations = {one.map_id for one in entries}, {one.observation for one in entries}
    unit = entries[0].read or entries[0].unit
    observation = observations.pop() if len(observations) == 1 else ""
    return MapFacts(
        file,
        frame,
        map_id=ids.pop() if len(ids) == 1 else "",
        source=observation.rpartition("/")[0],
        observation=observation,
        weight=sum(one.weight for one in entries),
        fingerprint=unit.fingerprint if unit else None,
    )
