"""Half differences of unweighted maps, with the weights that go with them."""

from __future__ import annotations

import os

import numpy as np
from spt3g import core

from ..coadd.coadds import Coadds
from ..coadd.provenance import Provenance
from ..errors import InputError, MismatchError
from ..formats.writing import write_maps
from ..maps.agreement import require_agreement, unset_differences
from ..maps.matrices import MAX_CONDITION, half_difference_weights
from ..maps.pixels import fuller, merged
from ..maps.stokes import StokesMaps, stokes_maps
from ..pipeline.ledger import Ledger, union
from ..pipeline.ledgerframe import DIFFERENCE, put_ledger
from ..pipeline.overlap import Index
from ..spt3glog import unit_logger
from ..spt3gmarks import useful
from ..spt3gtypes import Frame
from .pairing import Pair, pairs_of
from .sources import Given, Headers, Realisation, Source, check_output

logger = unit_logger(__name__, "difference")


@useful
def difference(
    a: Source,
    b: Source | None = None,
    output_file: str | os.PathLike[str] | None = None,
    *,
    halves: tuple[str, str] | None = None,
    weighted: bool = True,
    max_condition: float = MAX_CONDITION,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> Coadds:
    """Half the difference of two coadds' unweighted maps, with the weights that go with it.

    Parameters
    ----------
    a, b : name, path, G3Frame, Coadds, or list of these
        Files of any format, Map frames, or coadds. Maps are paired by their Ids; where each has
        one only, by that. Weighted or not, they must come with their weights.
    output_file : name or path, optional
        Where the differences are written, in the format that the name stands for.
    halves : tuple of str, optional
        The names of two splits, as in ``("early", "late")``: maps of `a` whose Ids have the first
        as a part (``150GHz_early``) are paired with those of `b`, or without `b` of `a` itself,
        that have the second.
    weighted : bool
        Whether the maps of the difference are multiplied by their weights, as those of coadds are,
        so that differences can be coadded. spt3g's ``RemoveWeights`` divides them.
    max_condition : float
        The largest condition number of a weight matrix, in either map, that is inverted. Other
        pixels are not in the difference.
    pol_conv : {"IAU", "COSMO"}, optional
        Convert polarization to this convention. Maps of FITS files that do not say theirs are
        taken to have it.
    coord, units : str, optional
        Those of FITS files that do not say it; see `g3reduce.formats.map_frames_in`.

    Returns
    -------
    Coadds
        The differences, by Id: that of both maps if it is the same, with `halves` what is left
        without their names, else ``Id of a-Id of b``. Each has T, or T, Q and U, and ``Wpol`` or
        ``Wunpol``; ``H``, the sum of both, if both have hits; ``Difference``, which says what it
        is; and the ledgers of both, those of `b` with the opposite sign.

    Raises
    ------
    MismatchError
        If a map has no partner, or two differ in geometry, units, coordinate system or
        polarization convention, or one is polarized and the other is not; with what differs.
    InputError
        If a file cannot be read, a map has no weights, or two have no pixel in common.
    OutputError
        If the output cannot be written, or is one of the files that are read.
    UsageError
        If there is one source only, and no `halves`; or if coadds are empty, as they are on ranks
        that do not hold the result.

    Notes
    -----
    A map m = m_0 + n has the weight matrix W in each pixel, the inverse of the covariance of its
    noise n in (T, Q, U); coadds hold W m. Here m is W^-1 (W m), and the difference and its weights
    are

        d = (m_A - m_B) / 2        W_d = 4 (W_A^-1 + W_B^-1)^-1 = 4 W_A (W_A + W_B)^-1 W_B,

    because n_A and n_B are independent, so that Cov(d) = (Cov(n_A) + Cov(n_B)) / 4; and W^-1 is the
    covariance of a map that was binned with inverse variances (Tegmark 1997, ApJ 480, L87,
    equations 7 and 8). The sky m_0 cancels whatever the weights are. It does not if the weighted
    maps are subtracted: (W_A m_A - W_B m_B) / (W_A + W_B) leaves m_0 (W_A - W_B) / (W_A + W_B).
    For W_A = W_B = W/2, d has the noise and the weights W of the coadd of both.

    The pixels are those in which both weight matrices are finite, positive definite, and of a
    condition number of at most `max_condition`. All others are 0, in the maps and in the weights.

    It works in one process: in a job of several ranks, call it on one.

    Examples
    --------
    >>> d = difference("early.g3", "late.g3", "null.g3")  # doctest: +SKIP
    >>> d["150GHz"]["T"]  # doctest: +SKIP
    >>> difference("splits.g3", halves=("early", "late")).frame["Wpol"]  # doctest: +SKIP
    """
    headers = Headers(pol_conv, coord, units)
    if output_file is not None:
        check_output(output_file, a, b)
    frames, ledgers = {}, []
    for pair in pairs_of(a, b, halves, headers):
        found = half_difference(pair, pol_conv=pol_conv, max_condition=max_condition)
        frames[pair.frame_id], ledger = recorded(found, pair, weighted=weighted)
        ledgers.append(ledger)
    if output_file is not None:
        write_maps(output_file, frames.values())
    return Coadds(frames, here=True, ledger=union(ledgers))


def half_difference(
    pair: Pair, *, pol_conv: str | None = None, max_condition: float = MAX_CONDITION
) -> StokesMaps:
    """The half difference of two maps, in the pixels that both have.

    Raises
    ------
    InputError, MismatchError
        See `difference`.
    """
    a, b = (
        stokes_maps(one.frame, one.where, pol_conv=pol_conv, max_condition=max_condition)
        for one in (pair.a, pair.b)
    )
    _require_agreement(a, b)
    common, of_a, of_b = np.intersect1d(a.pixels, b.pixels, assume_unique=True, return_indices=True)
    if not len(common):
        raise InputError(
            f"{a.where} and {b.where} have no pixel in common in which the weights of both can be "
            f"inverted; they have {len(a.pixels)} and {len(b.pixels)} such pixels."
        )
    a, b = a.take(of_a), b.take(of_b)
    names = [name for name in a.stubs if name in b.stubs]
    stubs = {name: a.stubs[name].clone(False) for name in names}
    for name in names:
        unset_differences(stubs[name], b.stubs[name])
    return StokesMaps(
        a.names,
        a.pixels,
        (a.values - b.values) / 2,
        half_difference_weights(a.weights, b.weights),
        None if a.hits is None or b.hits is None else a.hits + b.hits,
        stubs,
        {name: fuller(a.storages[name], b.storages[name]) for name in names},
        merged(a.singular, b.singular),
        f"the difference of {a.where} and {b.where}",
    )


CONCLUSION = "They cannot be compared."


def _require_agreement(a: StokesMaps, b: StokesMaps) -> None:
    if a.names != b.names:
        has, lacks = (a, b) if len(a.names) > len(b.names) else (b, a)
        raise MismatchError(
            f"{has.where} has T, Q and U, and {lacks.where} has T only. Compare maps of one kind."
        )
    require_agreement(a.stubs, b.stubs, a.where, b.where, CONCLUSION)


def recorded(found: StokesMaps, pair: Pair, *, weighted: bool = True) -> tuple[Frame, Ledger]:
    """The frame of a difference, which says what it is and what is in it; and its ledger."""
    frame = found.to_frame(pair.frame_id, weighted=weighted)
    a, b = _ledger_of(pair.a), _ledger_of(pair.b)
    _warn_of_common(a, b, pair)
    ledger = Ledger()
    ledger.take(a, 1)
    ledger.take(b, -1)
    record = {
        "what": "half the difference of the unweighted maps of A and B, and its weights",
        "a": pair.a.where,
        "b": pair.b.where,
        "left_out": f"{len(found.singular)} pixels of A or B, whose weights cannot be inverted",
    }
    frame[DIFFERENCE] = core.G3MapString(record)
    for key, values in (("InputMapIds", ledger.map_ids()), ("InputFiles", ledger.files())):
        if values:
            frame[key] = core.G3VectorString(values)
    put_ledger(frame, ledger)
    return frame, ledger


def _ledger_of(one: Given) -> Ledger:
    return Provenance(record_obs_id=False).ledger_of(one.frame)


def _warn_of_common(a: Ledger, b: Ledger, pair: Pair) -> None:
    """Warn if the noise of both is not independent, as far as that is known.

    Sign flips of the same two coadds are all alike: it is said of the first.
    """
    flip = Realisation.named(pair.frame_id)
    if flip and flip.number:
        return
    index = Index()
    for entry in a.entries:
        index.add(entry)
    common = [entry for entry in b.entries if index.find(entry) is not None]
    if common:
        logger.warning(
            "%s and %s have %d of the same maps in them (the first is %s). Their noise is not "
            "independent, so that the weights of the difference are not those of its noise.",
            *(pair.a.where, pair.b.where, len(common), common[0]),
        )
