"""What a plan adds to coadds once they are joined: records, and realisations of their own."""

from __future__ import annotations

from collections.abc import Mapping

from ..maps.flips import unpacked
from ..maps.realisations import realisations_of
from ..pipeline.ledger import Ledger
from .joining import Coadd
from .membership import Membership


def with_realisations(joined: Mapping[str, Coadd], members: Membership) -> dict[str, Coadd]:
    """Coadds with their records, each followed by the realisations that were summed beside it.

    They are in the order of the plan, if there is one.
    """
    found: dict[str, Coadd] = {}
    for name, coadd in joined.items():
        found[name] = coadd
        found |= _realisations(coadd, members.flips_beside(name), members)
    for name, coadd in found.items():
        coadd.record = dict(members.record_of(name))
    places = {name: place for place, name in enumerate(members.plan.names if members.plan else ())}
    return dict(sorted(found.items(), key=lambda item: places.get(item[0], -1)))


def _realisations(coadd: Coadd, names: list[str], members: Membership) -> dict[str, Coadd]:
    """The realisations that were summed beside a coadd, as coadds; they share its weights."""
    if not names:
        return {}
    entries, left_out = coadd.ledger.entries, coadd.ledger.left_out
    signs = [unpacked(entry.flips, len(names)).tolist() for entry in entries]
    added = coadd.ledger.entries = [entry._replace(flips=b"") for entry in entries]
    subtracted = [entry._replace(sign=-entry.sign) for entry in added]
    found = {}
    for number, (name, total) in enumerate(zip(names, realisations_of(coadd.total), strict=True)):
        mine = [
            plus if sign[number] == 1 else minus
            for plus, minus, sign in zip(added, subtracted, signs, strict=True)
        ]
        found[name] = Coadd(members.frame_id(name), total, Ledger(mine, left_out))
    return found
