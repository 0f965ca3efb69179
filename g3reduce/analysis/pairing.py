"""Which map is compared with which: by Ids, or by the names of two halves in Ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..errors import MismatchError, UsageError
from .sources import Given, Headers, Realisation, Source, frames_of

# So many maps without a partner are named.
_SHOWN = 3

# Ids of splits are made of parts.
_SEPARATOR = "_"


class Pair(NamedTuple):
    """Two maps that belong together.

    Attributes
    ----------
    frame_id : str
        The Id of what is made of them: their own if they have the same, else both.
    a, b : Given
    """

    frame_id: str
    a: Given
    b: Given


def pairs_of(
    a: Source,
    b: Source | None,
    halves: tuple[str, str] | None = None,
    headers: Headers = Headers(),  # noqa: B008
    *,
    realisations: bool = True,
) -> Iterator[Pair]:
    """The pairs of two sources, in the order of the first.

    Parameters
    ----------
    a, b : source
        Without `b`, both halves are in `a`.
    halves : tuple of str, optional
        Names of splits: maps of `a` whose Ids have the first as a part go with those of `b` whose
        Ids have the second, and are the same otherwise. Other maps do not count.
    headers : Headers
    realisations : bool
        Whether sign flips are paired, too.

    Raises
    ------
    UsageError
        If `halves` are not two names, there is no `b` and no `halves`, or coadds are empty.
    MismatchError
        If a map has no partner.
    """
    _refuse_empty(a, b)

    def maps_in(source: Source) -> Iterator[Given]:
        found = frames_of(source, headers)
        return found if realisations else (one for one in found if Realisation.of(one) is None)

    if halves is None:
        if b is None:
            raise UsageError(
                "There is only one source of maps. Give two, or name the halves that are in it: "
                'halves=("early", "late").'
            )
        first, second = list(maps_in(a)), list(maps_in(b))
        if len(first) == len(second) == 1:
            yield _pair(first[0], second[0], None)
            return
        mine, theirs = _by_id(first), _by_id(second)
    else:
        mine = _by_rest(maps_in(a), _name(halves, 0))
        theirs = _by_rest(maps_in(a if b is None else b), _name(halves, 1))
    _require_partners(mine, theirs, halves)
    for key, one in mine.items():
        yield _pair(one, theirs[key], key if halves else None)


def _refuse_empty(*sources: Source | None) -> None:
    """Coadds without maps: mostly those of a rank that does not hold the result."""
    for source in sources:
        if isinstance(source, Mapping) and not hasattr(source, "type") and not source:
            raise UsageError(
                "The coadds that were given are empty, as they are on ranks that do not hold the "
                'result, and with result="sharded" on all. Compare them on the rank that has them '
                '(if coadds: ...), or make them with result="all".'
            )


def _name(halves: object, place: int) -> str:
    names = tuple(halves) if isinstance(halves, list | tuple) else ()
    if len(names) != 2 or names[0] == names[1] or not all(isinstance(n, str) and n for n in names):
        raise UsageError(
            f'halves is {halves!r}; expected the names of two splits, as in ("early", "late").'
        )
    return str(names[place])


def _pair(a: Given, b: Given, rest: str | None) -> Pair:
    if rest:
        return Pair(rest, a, b)
    return Pair(a.frame_id if a.frame_id == b.frame_id else f"{a.frame_id}-{b.frame_id}", a, b)


def _by_id(frames: Iterable[Given]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for one in frames:
        if one.frame_id in found:
            raise MismatchError(
                f"{found[one.frame_id].where} and {one.where} have the same Id, so that it is not "
                "known which of them is meant."
            )
        found[one.frame_id] = one
    return found


def _by_rest(frames: Iterable[Given], half: str) -> dict[str, Given]:
    """The maps of a half, by what their Ids are without its name."""
    found = {}
    for frame_id, one in _by_id(frames).items():
        padded = f"{_SEPARATOR}{frame_id}{_SEPARATOR}"
        part = f"{_SEPARATOR}{half}{_SEPARATOR}"
        if part in padded:
            found[padded.replace(part, _SEPARATOR, 1).strip(_SEPARATOR)] = one
    return found


def _require_partners(
    mine: dict[str, Given], theirs: dict[str, Given], halves: tuple[str, str] | None
) -> None:
    alone = [one.where for key, one in mine.items() if key not in theirs]
    alone += [one.where for key, one in theirs.items() if key not in mine]
    both = zip(halves or "AB", (mine, theirs), strict=True)
    lacking = [name for name, found in both if not found]
    if len(lacking) == 2 or (halves and lacking):
        of = f" whose Ids have the part {' or '.join(lacking)}" if halves else ""
        raise MismatchError(f"There are no maps{of}, so there is nothing to compare.")
    if alone:
        more = f"; and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
        how = "by what their Ids are without the names of the halves" if halves else "by their Ids"
        raise MismatchError(
            f"{'; '.join(alone[:_SHOWN])}{more}: no partner. Maps are paired {how}; compare files "
            "with the same Ids, or a single map with another."
        )
