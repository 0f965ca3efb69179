"""Sign-flip realisations: maps of noise, found by their records or Ids."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import MismatchError
from ..pipeline.ledgerframe import ledger_in
from .sources import Given, Headers, Realisation, Source, frames_of

logger = logging.getLogger(__name__)


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
    unnamed: list[Given] | None = []
    for given in frames_of(source, headers):
        named = Realisation.of(given)
        if named is not None:
            unnamed = None
            yield NoiseMap(named.base, named.number, given)
        elif unnamed is not None:
            unnamed.append(given)
    if unnamed:
        for given in unnamed:
            _refuse_plain_coadd(given)
        logger.warning(
            "No Id says that a map is a sign flip, as 150GHz_signflip000 does: all maps (%d; the "
            "first is %s) are taken as realisations of noise.",
            *(len(unnamed), unnamed[0].where),
        )
        for number, given in enumerate(unnamed):
            yield NoiseMap("", number, given)


def _refuse_plain_coadd(given: Given) -> None:
    ledger = ledger_in(given.frame, given.where)
    if ledger is not None and ledger.entries and all(one.sign > 0 for one in ledger.entries):
        raise MismatchError(
            f"{given.where} is no sign flip: by its ledger nothing was subtracted in it, so it "
            "holds the sky. Expected realisations, as `g3reduce coadd --signflips` makes them."
        )
