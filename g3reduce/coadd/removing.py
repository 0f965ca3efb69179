"""What is subtracted from a coadd: taken out of its ledger, and out of its sums."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from ..errors import InputError
from ..maps.mapsum import MapSum
from ..pipeline.ledger import Entry, Ledger
from ..pipeline.originals import Original
from ..spt3glog import unit_logger

logger = unit_logger(__name__, "MPIMapCoadder")

# Where no map is left, what rounding has left is smaller than this, beside the largest value.
_RESIDUE = 2.0**-30


def ledger_without(ledger: Ledger, removed: Ledger, coadd: str) -> Ledger:
    """A ledger without the entries of another one, all of which are in it.

    Parameters
    ----------
    ledger, removed : Ledger
    coadd : str
        How messages name the coadd.

    Raises
    ------
    InputError
        If one is not in it, or was changed since, or if none would be left.
    """
    counted, unlisted = _Counted(ledger.entries), []
    for entry in removed.entries:
        found = counted.take(entry)
        if found is None:
            unlisted.append(entry)
        else:
            _require_alike(found, entry, coadd)
    left = counted.left
    if unlisted:  # they may be in coadds that list their files only
        for entry in unlisted:
            _require_listed(left, entry, coadd)
        left = [_without_files(entry, unlisted) for entry in left]
    left = [entry for entry in left if entry.originals or not entry.names_files]
    if not left:
        raise InputError(
            f"All that is in the coadd {coadd!r} would be subtracted, and nothing would be left. "
            "Remove the file instead."
        )
    return Ledger(left, ledger.left_out)


def take_away(total: MapSum, removed: MapSum, coadd: str) -> None:
    """Take the sum of what is subtracted out of that of a coadd, which messages name.

    Exact sums are as if it had never been added. In plain sums rounding may leave something where
    no map is left; if hits say where that is, it is cleared.
    """
    total.absorb(removed, remove=True)
    if not total.summary.grids and not _clear_residues(total):
        logger.warning(
            "%s: these are not exact sums, and it is not known which pixels no map has hit any "
            "more, so where the last one was subtracted there may be tiny numbers instead of 0.",
            coadd,
        )


class _Counted:
    """The entries of a ledger, to be taken out of it one by one."""

    def __init__(self, entries: Sequence[Entry]):
        self._entries: dict[int, Entry] = dict(enumerate(entries))
        self._places: dict[Hashable, list[int]] = {}
        for place, entry in enumerate(entries):
            for key in _keys_of(entry):
                self._places.setdefault(key, []).append(place)

    @property
    def left(self) -> list[Entry]:
        """Those that were not taken out."""
        return list(self._entries.values())

    def take(self, like: Entry) -> Entry | None:
        """Take out the entry of the same frame; None if there is none."""
        for key in _keys_of(like):
            for place in self._places.get(key, ()):
                if place in self._entries:
                    return self._entries.pop(place)
        return None


def _keys_of(entry: Entry) -> list[Hashable]:
    """What the same frame has in common with this one, wherever it is now: first its content."""
    if entry.is_coadd:  # it stands for the frames that it lists
        return []
    content = [] if entry.fingerprint is None else [(entry.fingerprint, entry.map_id)]
    return [*content, *entry.frames]


def _require_alike(counted: Entry, removed: Entry, coadd: str) -> None:
    marks = counted.fingerprint, removed.fingerprint
    if None not in marks and marks[0] != marks[1]:
        raise InputError(
            f"{removed}: this was changed since it was added to the coadd {coadd!r}, so what is in "
            "it cannot be subtracted any more. Make the coadd again.",
            fault="changed since it was added",
        )
    if counted.sign != removed.sign:
        raise InputError(
            f"{removed}: this was added to the coadd {coadd!r} with the sign {counted.sign:+d}, "
            f"and would be subtracted with the sign {removed.sign:+d}. Use the same assign."
        )


def _require_listed(entries: Iterable[Entry], removed: Entry, coadd: str) -> None:
    listed = [file for entry in entries if entry.is_coadd for file in entry.originals]
    missing = [file for file in removed.originals if not _is_in(file, listed)]
    if missing or not removed.originals:
        what = missing[0].name if missing else str(removed)
        raise InputError(f"{what}: this is not in the coadd {coadd!r}, so it cannot be subtracted.")


def _without_files(entry: Entry, removed: Iterable[Entry]) -> Entry:
    """An entry of a coadd that lists files, without these and the observations in them."""
    if not entry.is_coadd:
        return entry
    files = [file for one in removed for file in one.originals]
    names = {name for one in removed for name in one.map_ids if name.count("/") >= 2}
    return entry._replace(
        originals=tuple(file for file in entry.originals if not _is_in(file, files)),
        map_ids=tuple(name for name in entry.map_ids if name not in names),
    )


def _is_in(file: Original, files: Iterable[Original]) -> bool:
    return any(
        {*file.keys} & {*other.keys} if file.keys and other.keys else file.short == other.short
        for other in files
    )


def _clear_residues(total: MapSum) -> bool:
    """Make pixels that no map has hit any more 0; False if it is not known which these are."""
    planes, parts = total.blocks.planes, total.summary.parts
    if "H" not in planes or parts.hits_apart or "H" not in (parts.complete or ()):
        return False
    hits = np.asarray(planes["H"], np.float64)
    if not np.array_equal(hits, np.rint(hits)) or np.any(hits < 0):
        return False
    empty = hits == 0
    for plane in planes.values():
        left = np.abs(np.asarray(plane, np.float64))
        if left[empty].max(initial=0.0) > _RESIDUE * left.max(initial=0.0):
            return False  # these hits are not of all maps
    for plane in planes.values():
        plane[empty] = 0
    return True
