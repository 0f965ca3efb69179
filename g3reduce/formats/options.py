"""What can be chosen where maps are written."""

from __future__ import annotations

from dataclasses import dataclass

from ..choices import FitsStyle, FitsUnits
from ..errors import UsageError, require_choice


@dataclass(frozen=True)
class WriteOptions:
    """How maps are written into files of other formats. A .g3 file holds them as they are.

    Attributes
    ----------
    units : {"K", "mK", "uK"}
        FITS: the unit of temperatures. Weights are in its inverse square. ``"mK"`` is what G3 has,
        so that every bit stays as it is.
    unweight : bool
        Divide weighted maps by their weights, before they are written.
    nested : bool or None
        HEALPix in FITS: the order of pixels. None: that of the map.
    full_sky : bool or None
        HEALPix in FITS: all pixels of the sky, or those that were hit with their numbers. None:
        all if more than half of them were hit.
    style : {"spt3g", "enmap"}
        Flat-sky FITS: an image for each plane, in mK, as spt3g reads them; or one of (T, Q, U)
        without weights, which pixell reads as an ``enmap``, and weights and hits in images after
        it (``DIV`` or ``IVAR``, ``HITS``).
    companions : bool
        FITS: maps, weights and hits in files of their own, ``_map``, ``_invcov`` and ``_hits``,
        which TOAST looks for. They hold unweighted maps.
    compress : bool
        HDF5: compress the chunks (gzip).

    Raises
    ------
    UsageError
        If one is not what it must be.
    """

    units: FitsUnits = "K"
    unweight: bool = False
    nested: bool | None = None
    full_sky: bool | None = None
    style: FitsStyle = "spt3g"
    companions: bool = False
    compress: bool = False

    def __post_init__(self) -> None:
        require_choice("units", self.units, FitsUnits)
        require_choice("style", self.style, FitsStyle)
        for name in ("unweight", "companions", "compress"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected True or False.")
        for name in ("nested", "full_sky"):
            if not isinstance(getattr(self, name), bool | None):
                raise UsageError(
                    f"{name} is {getattr(self, name)!r}; expected True, False or None."
                )
