"""Sign-flip realisations: maps of noise, found by their records or Ids."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..errors import MismatchError
from ..pipeline.ledgerframe import ledger_in
from ..spt3glog import unit_logger
from .sources import Given, Headers, Realisation, Source, frames_of

logger = unit_logger(__name__, "noise")


class NoiseMap(NamedTuple):
    """A realisation of noise.

    Attributes
    ----------
    base : str
        The Id of the coadd that it is of; empty if its own Id does not say it.
    number : int
    given : Given
        The map.
    """

    base: str
    number: int
    given: Given


def noise_maps_in(source: Source, headers: Headers = Headers()) -> Iterator[NoiseMap]:  # noqa: B008
    """The realisations in a source, one after another.

    They are the maps whose record ``Split`` says so, or whose Ids end in ``_signflip`` and a
    number; others beside them do not count. If there are none, all maps are realisations, unless
    their ledgers tell that nothing was subtracted in them.

    Raises
    ------
    MismatchError
        If a map is a coadd in which no sign was flipped.
    UsageError, InputError
        As by `g3reduce.analysis.sources.frames_of`.
    """
    # Maps without names are realisations if no other has one, which only the last one tells. Those
    # that can be read again need not be kept so long.
    keep = not _can_be_read_again(source)
    unnamed: list[Given] = []
    n_unnamed, first, any_named = 0, "", False
    for given in frames_of(source, headers):
        named = Realisation.of(given)
        if named is not None:
            any_named = True
            unnamed.clear()
            yield NoiseMap(named.base, named.number, given)
        elif not any_named:
            first = first or given.where
            n_unnamed += 1
            unnamed += [given] if keep else []
    if any_named or not n_unnamed:
        return
    for number, given in enumerate(unnamed if keep else frames_of(source, headers)):
        _refuse_plain_coadd(given)
        if not number:
            logger.warning(
                "No Id says that a map is a sign flip, as 150GHz_signflip000 does: all maps (%d; "
                "the first is %s) are taken as realisations of noise.",
                *(n_unnamed, first),
            )
        yield NoiseMap("", number, given)


def _can_be_read_again(source: Source) -> bool:
    """Whether a source has the same maps a second time."""
    if isinstance(source, str | os.PathLike):
        return os.path.isfile(source)  # not so a pipe
    if isinstance(source, list | tuple):
        return all(map(_can_be_read_again, source))
    return isinstance(source, Mapping) or hasattr(source, "keys")  # coadds, or a frame


def _refuse_plain_coadd(given: Given) -> None:
    ledger = ledger_in(given.frame, given.where)
    if ledger is not None and ledger.entries and all(one.sign > 0 for one in ledger.entries):
        raise MismatchError(
            f"{given.where} is no sign flip: by its ledger nothing was subtracted in it, so it "
            "holds the sky. Expected realisations, as `g3reduce coadd --signflips` makes them."
        )
