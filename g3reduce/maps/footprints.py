"""Which pixels of which geometry arrays stand for, and maps made of such arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from spt3g import maps

from ..errors import UsageError
from ..g3files.archive import DENSE, INDEXED, RING, SPARSE
from ..g3files.lines import Index, Rings, Values
from ..g3files.maps import Content
from ..g3files.runs import LayoutFinder
from ..spt3gtypes import SkyMap
from .pixels import content_of, is_flat, to_map

# healpy's number for a pixel that was not seen, and how it compares with it.
UNSEEN = -1.6375e30
_TOLERANCE = 1e-5 * abs(UNSEEN)

_LARGEST_NSIDE = 2**29


@dataclass(frozen=True)
class Footprint:
    """The pixels that arrays stand for.

    Attributes
    ----------
    stub : spt3g.maps.G3SkyMap
        An empty map of the geometry.
    shape : tuple of int
        Of the arrays.
    pixels : int64 array or None
        The numbers of the pixels that they list, rising; None if the arrays have all pixels.
    order : int64 array or None
        Where these stand in the arrays.
    """

    stub: SkyMap
    shape: tuple[int, ...]
    pixels: Index | None = None
    order: Index | None = None

    def read(self, array: ArrayLike, name: str) -> tuple[Values, NDArray[np.bool_]]:
        """A copy of the values in the order of the pixels, and which of them are missing.

        Missing are masked values, healpy's UNSEEN, and NaN; they are 0 in the copy.

        Raises
        ------
        UsageError
            If the array has another shape, or other things than real, finite numbers.
        """
        values = np.asarray(array)
        if values.dtype.kind not in "fiu":
            raise UsageError(f"{name} has the dtype {values.dtype}; expected real numbers.")
        if values.shape != self.shape:
            raise UsageError(f"{name} has the shape {values.shape}; expected {self.shape}.")
        masked: Any = np.ma.getmask(array)
        mask = np.broadcast_to(masked, self.shape).reshape(-1)
        flat = values.astype(np.float64).reshape(-1)
        if self.order is not None:
            flat, mask = flat[self.order], mask[self.order]
        missing: NDArray[np.bool_] = mask | np.isnan(flat) | (np.abs(flat - UNSEEN) <= _TOLERANCE)
        flat[missing] = 0
        infinite = np.flatnonzero(~np.isfinite(flat))
        if len(infinite):
            raise UsageError(
                f"{name} is infinite in {len(infinite)} pixels, first in {self.name_of(infinite)}; "
                "expected finite numbers, and NaN or UNSEEN where there is none."
            )
        return flat, missing

    def name_of(self, positions: Index) -> str:
        """How messages name the first of these pixels."""
        number = int(positions[0] if self.pixels is None else self.pixels[positions[0]])
        if is_flat(self.stub):
            y, x = divmod(number, self.stub.shape[1])
            return f"pixel (y={y}, x={x})"
        return f"pixel {number}"

    def build(self, planes: Mapping[str, Values], stubs: Mapping[str, SkyMap]) -> dict[str, SkyMap]:
        """Maps of these values, all stored alike: dense if half of the pixels are there."""
        hit = np.zeros(len(next(iter(planes.values()))), bool)
        for values in planes.values():
            hit |= values != 0
        if self.pixels is None and 2 * np.count_nonzero(hit) >= len(hit):
            return {
                name: to_map(stubs[name], Content(DENSE, values)) for name, values in planes.items()
            }
        held = np.flatnonzero(hit)
        numbers = held if self.pixels is None else self.pixels[held]
        return self._build_sparse(numbers, held, planes, stubs)

    def _build_sparse(
        self,
        numbers: Index,
        held: Index,
        planes: Mapping[str, Values],
        stubs: Mapping[str, SkyMap],
    ) -> dict[str, SkyMap]:
        storage, shifted = RING, False
        if is_flat(self.stub):
            storage = SPARSE
            n_y, n_x = self.stub.shape
            numbers = numbers % n_x * n_y + numbers // n_x  # by columns
            order = np.argsort(numbers)
            numbers, held = numbers[order], held[order]
        elif self.stub.nested:
            storage = INDEXED
        else:
            shifted = _is_smaller_shifted(self.stub.nside, numbers)
        layouts = LayoutFinder()
        made = {}
        for name, values in planes.items():
            stub = stubs[name]
            if shifted:
                stub.shift_ra = True
            made[name] = to_map(stub, content_of(stub, storage, numbers, values[held], layouts))
        return made


def _is_smaller_shifted(nside: int, pixels: Index) -> bool:
    """Whether rings take less when they are cut at RA 180 degrees instead of at 0."""
    sizes = [
        LayoutFinder().find(Rings(nside, shifted), pixels)[0].size for shifted in (False, True)
    ]
    return sizes[1] < sizes[0]


def healpix(
    shape: tuple[int, ...], nside: int | None, pixels: ArrayLike | None, nest: bool, coord: Any
) -> Footprint:
    """Arrays of HEALPix pixels: of the full sky, or of those that are listed.

    Raises
    ------
    UsageError
        If the numbers of pixels do not fit.
    """
    if len(shape) != 1:
        three = "Pass T, Q and U one by one. " if len(shape) == 2 and shape[0] == 3 else ""
        raise UsageError(
            f"T has the shape {shape}; expected (npix,) for HEALPix. {three}For a flat-sky map "
            "pass its geometry: an spt3g FlatSkyMap, or a WCS."
        )
    (length,) = shape
    if pixels is None:
        found = round((length / 12) ** 0.5)
        if not found or 12 * found**2 != length or found & (found - 1):
            raise UsageError(
                f"T has {length} pixels, and no HEALPix map of the full sky has so many (12 nside "
                "squared, nside a power of 2). For a part of the sky pass pixels and nside."
            )
        if nside not in (None, found):
            raise UsageError(f"nside is {nside}, but T has {length} pixels, which is {found}.")
        return Footprint(_healpix_stub(found, nest, coord), shape)
    if nside is None:
        raise UsageError("nside is None; with pixels, the numbers of a part of them, it is needed.")
    ok = isinstance(nside, int | np.integer) and 0 < nside <= _LARGEST_NSIDE
    if not ok or nside & (nside - 1):
        raise UsageError(f"nside is {nside!r}; expected a power of 2.")
    numbers = np.asarray(pixels)
    if numbers.dtype.kind not in "iu" or numbers.shape != shape:
        raise UsageError(
            f"pixels has the dtype {numbers.dtype} and the shape {numbers.shape}; expected whole "
            f"numbers, one for each value of T, {shape}."
        )
    return _listed(_healpix_stub(int(nside), nest, coord), shape, numbers)


def like(
    template: SkyMap, shape: tuple[int, ...], pixels: ArrayLike | None, coord: Any
) -> Footprint:
    """Arrays of the pixels of a map that is there."""
    stub = template.clone(False)
    known = template.coord_ref
    if coord is not None and known in maps.MapCoordReference.names.values() and coord != known:
        raise UsageError(f"coord is {coord}, but that of the geometry is {known}.")
    stub.coord_ref = known if coord is None else coord
    expected = stub.shape if is_flat(stub) else (stub.size,)
    if pixels is not None:
        return _listed(stub, shape, np.asarray(pixels))
    if shape != expected:
        raise UsageError(f"T has the shape {shape}; the geometry has {expected}.")
    return Footprint(stub, shape)


def _healpix_stub(nside: int, nest: bool, coord: Any) -> SkyMap:
    return maps.HealpixSkyMap(nside, nested=bool(nest), coord_ref=coord)


def _listed(stub: SkyMap, shape: tuple[int, ...], numbers: NDArray[Any]) -> Footprint:
    order = np.argsort(numbers, kind="stable")
    rising = numbers[order].astype(np.int64)
    if len(rising) and not (rising[0] >= 0 and rising[-1] < stub.size):
        wrong = int(rising[0] if rising[0] < 0 else rising[-1])
        raise UsageError(f"pixels has the number {wrong}; expected 0 to {stub.size - 1}.")
    twice = np.flatnonzero(rising[1:] == rising[:-1])
    if len(twice):
        raise UsageError(f"pixels has {int(rising[twice[0]])} twice; expected each number once.")
    return Footprint(stub, shape, rising, order)
