"""Coadds as input whose exact sums were kept: these are added, not the maps, which are rounded."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..maps.mapframe import MapFrame
from ..maps.mapsum import MapSum
from ..maps.sumstate import SumState, has_sum
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame

logger = unit_logger(__name__, "MPIMapCoadder")


def require_same_maps(total: MapSum, maps: MapFrame) -> None:
    """Refuse an exact sum whose rounded values are not the maps of its frame.

    Raises
    ------
    InputError
        If somebody has changed the maps since.
    """
    rounded = total.rounded()
    with np.errstate(invalid="ignore", over="ignore"):
        for name, plane in maps.planes.items():
            for chunk in plane.chunks():
                rounded.add_chunk(name, chunk, subtract=True)
            left = rounded.blocks.planes[name]
            if np.any((left != 0) & ~np.isnan(left)):
                raise InputError(
                    f"{maps.where}: {name} is not what the exact sums beside it are rounded to, so "
                    "it was changed since the coadd was made. Take SumState out of the frame if "
                    "the maps are right, or make the coadd again.",
                    fault=f"{name} and its exact sums differ",
                )


class ExactInput:
    """Finds the exact sums of frames, for a coadder whose sums are exact."""

    def __init__(self) -> None:
        self._said = False

    def state_of(self, frame: Frame, maps: MapFrame) -> SumState | None:
        """The exact sum that is to be added in place of the maps of a frame; None if it has none.

        Parameters
        ----------
        frame : G3Frame or StoredFrame
        maps : MapFrame
            Its maps, as they are to be added.

        Raises
        ------
        InputError
            If it has one that cannot be used.
        """
        if not has_sum(frame):
            if "InputMapIds" in frame and not self._said:
                self._said = True
                logger.info(
                    "%s: this is a coadd without its exact sums, so its maps are added, which are "
                    "rounded: the result does not depend on the order of its input, but may differ "
                    "in the last bits from a coadd of the original files. keep_exact=True keeps "
                    "the exact sums.",
                    maps.where,
                )
            return None
        state = SumState(frame, maps.where)
        summary = state.summary
        if not summary.grids:
            return None
        if maps.kind.apply_weights:
            raise InputError(
                f"{maps.where}: the maps are not weighted, and their exact sums cannot be weighted "
                "any more. Say weighted=False here, too, or weight the original maps."
            )
        if maps.skipped:
            raise InputError(
                f"{maps.where}: {maps.skipped} pixels are not finite, and cannot be left out of "
                'exact sums any more. Make this coadd with nonfinite="skip", too.'
            )
        summary.where = maps.where
        summary.stubs = {name: stub.clone(False) for name, stub in maps.kind.stubs.items()}
        return state
