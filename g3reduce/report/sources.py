"""Which maps of files, coadds or frames a picture shows."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from spt3g import core

from ..analysis.differencing import difference
from ..analysis.pairing import pairs_of
from ..analysis.sources import Given, Headers, Realisation, Source, described, frames_of
from ..errors import InputError, UsageError
from ..maps.agreement import require_agreement, weights_key
from ..maps.mapframe import maps_of
from ..pipeline.units import unit_of
from ..spt3gtypes import Frame

MOST_ROWS = 8


def chosen_maps(source: Source, band: str | None, headers: Headers) -> list[Given]:
    """The maps that are drawn: of a band if one is named, else all but sign flips.

    Raises
    ------
    UsageError
        If there is none, or there are more than a page has room for.
    """
    kept: list[Given] = []
    others: list[str] = []
    flips: list[str] = []
    for given in frames_of(source, headers):
        flip = Realisation.of(given) is not None
        if given.frame_id != band if flip else not of_band(given.frame_id, band):
            (flips if flip else others).append(given.frame_id)
        else:
            kept.append(given)
    if not kept:
        if not others and not flips:
            raise InputError(f"There is no Map frame in {described(source)}.")
        what = f"of band {band!r} " if band else ""
        raise UsageError(
            f"There is no map {what}in {described(source)} that is no sign flip; "
            f"{_there(others, flips)}. Name one with band=."
        )
    if len(kept) > MOST_ROWS:
        raise UsageError(
            f"There are {len(kept)} maps; a picture has room for {MOST_ROWS}. Choose some with "
            f"band=; the Ids are {_listed([one.frame_id for one in kept])}."
        )
    return kept


def of_band(frame_id: str, band: str | None) -> bool:
    """Whether an Id is of a band: ``150GHz_early`` and ``Coadd150GHz`` are of ``150GHz``."""
    if band is None or frame_id == band:
        return True
    parts = re.split(r"[_\s]", frame_id.removeprefix("Coadd"))
    return any(part.removesuffix("GHz") == band.removesuffix("GHz") for part in parts)


def labels_of(given: Sequence[Given]) -> list[str]:
    """What rows are called: by their Ids, and where these are the same, also by their files."""
    ids = [one.frame_id or "Map" for one in given]
    if len(set(ids)) == len(ids):
        return ids
    units = [unit_of(one.frame) for one in given]
    paths = [unit.file if unit else "" for unit in units]
    names = [os.path.basename(path) for path in paths]
    # The same name in several folders: the folders tell which is which.
    shown = names if len(set(names)) == len(set(paths)) else paths
    return [
        f"{frame_id} ({name})" if name else frame_id
        for frame_id, name in zip(ids, shown, strict=True)
    ]


def differences(a: Source, b: Source, band: str | None, headers: Headers) -> list[Given]:
    """Half differences of the maps of two sources, paired by their Ids.

    Raises
    ------
    UsageError, InputError, MismatchError
    """
    first, second = (chosen_maps(one, band, headers) for one in (a, b))
    found = []
    for pair in pairs_of(
        [one.frame for one in first], [one.frame for one in second], None, headers
    ):
        with_weights = [_has_weights(one.frame) for one in (pair.a, pair.b)]
        if all(with_weights):
            made = difference(pair.a.frame, pair.b.frame, weighted=False, pol_conv=headers.pol_conv)
            frame = next(iter(made.values()))
        else:
            frame = _plain_difference(pair.a, pair.b, pair.frame_id)
        found.append(Given(pair.frame_id, frame, f"({pair.a.where} - {pair.b.where}) / 2"))
    return found


def _has_weights(frame: Frame) -> bool:
    return weights_key(dict.fromkeys(maps_of(frame, "The frame"))) is not None


def _plain_difference(a: Given, b: Given, frame_id: str) -> Frame:
    """Of maps that come without weights."""
    one, other = (
        {key: plane for key, plane in maps_of(given.frame, given.where).items() if key in "TQU"}
        for given in (a, b)
    )
    common = [key for key in one if key in other]
    if not common:
        raise InputError(f"{a.where} and {b.where} have no map in common.")
    for given, planes in ((a, one), (b, other)):
        if any(plane.weighted for plane in planes.values()):
            raise InputError(
                f"{given.where} has weighted maps, but no weights to divide them by; expected "
                "weights, or unweighted maps."
            )
    require_agreement(
        {key: one[key] for key in common},
        {key: other[key] for key in common},
        a.where,
        b.where,
        "They cannot be compared.",
    )
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = frame_id
    for key in common:
        frame[key] = (one[key] - other[key]) / 2
    if not any(frame[key].any() for key in common):
        raise UsageError(
            f"{a.where} and {b.where} are equal in each pixel, so there is nothing to draw."
        )
    return frame


def _there(others: list[str], flips: list[str]) -> str:
    """The Ids that may be named; sign flips, of which there may be hundreds, only if all are."""
    if not others:
        return f"its Ids are {_listed(flips)}"
    counted = f", and {len(flips)} of sign flips" if flips else ""
    return f"its Ids are {_listed(others)}{counted}"


def _listed(ids: list[str]) -> str:
    shown = ", ".join(repr(one) for one in ids[:12])
    return shown + (f" and {len(ids) - 12} more" if len(ids) > 12 else "")
