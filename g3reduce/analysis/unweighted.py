"""Maps divided by their weights: `unweight`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from spt3g import core

from ..errors import InputError
from ..formats.writing import write_maps
from ..g3files.maps import STOKES
from ..maps import mapframe, unweighting
from ..maps.agreement import weights_key
from ..maps.mapfile import planes_of
from ..maps.pixels import map_of
from ..spt3glog import unit_logger
from ..spt3gmarks import useful
from ..spt3gtypes import Frame
from .sources import Given, Headers, Realisation, Source, check_output, described, frames_of

logger = unit_logger(__name__, "unweight")


class Unweighted(NamedTuple):
    """A frame of maps that were divided by their weights.

    Attributes
    ----------
    frame_id : str
    frame : G3Frame
    divided : tuple of str
        The maps that were divided; empty if they were not weighted.
    singular : int
        How many pixels have weights that cannot be divided by.
    """

    frame_id: str
    frame: Frame
    divided: tuple[str, ...]
    singular: int


@useful
def unweight(
    source: Source,
    output_file: str | os.PathLike[str] | None = None,
    *,
    zero_nans: bool = True,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> list[Frame]:
    """Divide maps by their weights, as spt3g's ``RemoveWeights`` does, to the bit.

    Parameters
    ----------
    source : name, path, G3Frame, Coadds, or list of these
        Files of any format, Map frames, or coadds. They are not changed. Maps that are not weighted
        stay as they are.
    output_file : name or path, optional
        Where the maps are written, in the format that the name stands for.
    zero_nans : bool
        What T, Q and U have in pixels without weights, or with singular ones: 0, and sparse maps
        stay sparse; or, if it is False, NaN, and maps become dense.
    pol_conv, coord, units : str, optional
        Those of FITS files that do not say it; see `g3reduce.formats.map_frames_in`.

    Returns
    -------
    list of G3Frame
        The frames, in the order of the source, with all that was in them; T, Q and U are no longer
        weighted.

    Raises
    ------
    InputError
        If a file cannot be read or has no maps, or maps are weighted and there are no weights.
    OutputError
        If the output cannot be written, or is one of the files that are read.

    Notes
    -----
    Weights are singular where the ratio of the largest to the smallest eigenvalue of their matrix
    is above 1e12, or negative: they say nothing about some direction of T, Q and U. How many pixels
    have such weights is logged as a warning. Of pixels in which T is not 0 though its weight is,
    ``RemoveWeights`` makes infinity in unpolarized maps; here they are as those without weights.

    Examples
    --------
    >>> unweight("coadd.g3", "maps.g3")  # doctest: +SKIP
    >>> (frame,) = unweight(coadds["150GHz"])  # doctest: +SKIP
    """
    headers = Headers(pol_conv, coord, units)
    if output_file is not None:
        check_output(output_file, source)
    found = each_unweighted(source, zero_nans=zero_nans, headers=headers)
    frames = [one.frame for one in found]
    if output_file is not None:
        write_maps(output_file, frames)
    return frames


def each_unweighted(
    source: Source,
    *,
    zero_nans: bool,
    headers: Headers = Headers(),  # noqa: B008
) -> Iterator[Unweighted]:
    """What `unweight` makes, one frame after another.

    Raises
    ------
    InputError
    """
    done = None
    told: set[tuple[str, int]] = set()  # of a coadd and of all its sign flips, which are alike
    for given in frames_of(source, headers):
        done = _unweighted(given, zero_nans)
        flip = Realisation.of(given)
        kind = flip.base if flip else given.frame_id, done.singular
        if done.singular and not (flip and kind in told):
            told.add(kind)
            logger.warning(
                "%s: %d pixels have weights that cannot be divided by (singular); the maps are %s "
                "there.",
                *(given.where, done.singular, "0" if zero_nans else "NaN"),
            )
        yield done
    if done is None:
        raise InputError(f"There is no map in {described(source)}, so nothing can be divided.")


def _unweighted(given: Given, zero_nans: bool) -> Unweighted:
    read = mapframe.read(planes_of(given.frame, given.where), given.where, weighted=False)
    if not ("T" in read.planes and read.planes["T"].stub.weighted):
        return Unweighted(given.frame_id, given.frame, (), 0)
    if weights_key(read.planes) is None:
        raise InputError(
            f"{given.where}: the maps are weighted, and there are no weights (Wpol or Wunpol) by "
            "which they could be divided."
        )
    planes, singular = unweighting.remove(read.planes, zero_nans=zero_nans)
    frame = core.G3Frame(core.G3FrameType.Map)
    for key in given.frame.keys():  # noqa: SIM118 (a G3Frame)
        frame[key] = map_of(planes[key]) if key in STOKES else given.frame[key]
    return Unweighted(given.frame_id, frame, tuple(planes), singular)
