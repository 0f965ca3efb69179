"""Flat-sky maps into FITS images, in two styles.

``spt3g``: an image for each plane, as `spt3g.maps.load_skymap_fits` reads them. Values are those of
G3, which are in mK: nothing is rounded.

``enmap``: the first image is (T, Q, U) without weights, as ``pixell.enmap.read_map`` reads it; the
inverse covariance (``DIV``, 3 x 3; ``IVAR`` of T alone) and hits (``HITS``) are in images after it.

Companions are in the second style, each in a file of its own; weights are the upper triangle
(``INVCOV``, 6 planes), as TOAST has them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, UsageError
from ..g3files.maps import STOKES
from ..g3files.outputfile import write_at
from ..maps.agreement import weights_key
from ..maps.mapunits import name_of
from ..maps.unweighting import COMPONENTS, divide
from ..maps.wcs import Card, wcs_cards
from ..mpi import communicators
from .entries import tables_of
from .fitsbytes import (
    checked,
    creator,
    escaped,
    joined_sum,
    padded,
    sum_of,
    tables_as_bytes,
)
from .healpixcolumns import MapColumns
from .images import image_header
from .options import WriteOptions
from .pixeltable import BLOCK, Pixels, PixelTable, Values

_MATRIX = (("TT", "TQ", "TU"), ("TQ", "QQ", "QU"), ("TU", "QU", "UU"))
_STOKES_AXIS: tuple[Card, ...] = (("CRPIX", 1.0), ("CDELT", 1.0), ("CRVAL", 1.0))


class _Image(NamedTuple):
    """An image: its name, the shape before the sky, its planes in order, and its own cards."""

    name: str
    before: tuple[int, ...]
    planes: list[str]
    cards: list[Card]


class FlatFits:
    """The file of a map, of which each rank writes the pixels that it has.

    Pixels that were not hit are 0, and are not written: there the file is a hole.

    Parameters
    ----------
    comm : communicator
        The ranks that have parts of the map. Nothing here is collective.
    table : PixelTable
        The part of this rank.
    options : WriteOptions
    planes : list of str
        Those that are written.
    where : str
        How messages name the file.

    Attributes
    ----------
    size : int
        Of the file, in bytes.

    Raises
    ------
    OutputError
        If FITS has no such projection, or readers could not know what the maps mean.
    """

    def __init__(
        self,
        comm: communicators.Comm,
        table: PixelTable,
        options: WriteOptions,
        planes: Sequence[str],
        where: str,
    ):
        self._table, self._where = table, where
        as_spt3g = options.style == "spt3g" and not options.companions
        if as_spt3g and options.units == "uK":
            raise UsageError(
                f'{where}: units is "uK", but spt3g reads values as mK, whatever a file says. '
                'Leave it out, or take style="enmap" (--fits-style enmap).'
            )
        how = {"units": "mK"} if as_spt3g else {"unweight": True}
        self._map = MapColumns(table, dataclasses.replace(options, **how), planes, where)
        self._wcs = wcs_cards(table.stub, where)
        self._n_pixels = int(table.stub.size)
        self._stokes = [name for name in STOKES if name in table.stubs]
        made = self._of_spt3g() if as_spt3g else self._of_pixell(companions=options.companions)
        self._images = list(made)
        if not self._images:
            raise OutputError(f"{where}: there is no map to be written.")
        more = [("POLTYPE", "none"), *self._wcs] if as_spt3g else []
        self._tail = tables_as_bytes(tables_of(table.outline), more)
        self._headers = [self._header(number) for number in range(len(self._images))]
        self._data = [0]  # where the pixels of each image begin, and where the last one ends
        for image, header in zip(self._images, self._headers, strict=True):
            self._data[-1] += len(checked(header, 0))
            self._data.append(self._data[-1] + padded(8 * self._n_pixels * len(image.planes)))
        self.size = self._data[-1] + len(self._tail)

    def put(self, fd: int) -> list[int]:
        """Write the pixels of this rank at their places; return the checksum of each image."""
        sums = [0] * len(self._images)
        names = [one.plane for one in self._map.columns]
        for pixels, planes in self._table.blocks():
            found = self._values(planes, names)
            values = {name: one.astype(">f8").view(np.uint8) for name, one in found.items()}
            runs = list(_runs(pixels))
            for image, start in zip(range(len(self._images)), self._data, strict=False):
                for number, name in enumerate(self._images[image].planes):
                    for begin, end in runs:
                        place = start + 8 * (number * self._n_pixels + int(pixels[begin]))
                        write_at(fd, values[name][8 * begin : 8 * end], place)
                    sums[image] = joined_sum([sums[image], sum_of(values[name])])
        return sums

    def finish(self, fd: int, sums: Sequence[list[int]]) -> None:
        """Write all but the pixels, once these are there, with the checksums of all ranks."""
        held = [of_rank for of_rank in sums if of_rank]
        totals = map(joined_sum, zip(*held, strict=True))
        for header, total, start in zip(self._headers, totals, self._data, strict=False):
            raw = checked(header, total)
            write_at(fd, raw, start - len(raw))
        write_at(fd, self._tail, self._data[-1])

    def put_in_order(self, write: Callable[[Any], object]) -> None:
        """Write the whole file from its beginning to its end; where one rank has the whole map.

        Pixels are gone through twice, since their checksum stands before them.
        """
        for image, header in zip(self._images, self._headers, strict=True):
            write(checked(header, joined_sum(map(sum_of, self._whole(image)))))
            for data in self._whole(image):
                write(data)
            size = 8 * self._n_pixels * len(image.planes)
            write(bytes(padded(size) - size))
        write(self._tail)

    def _whole(self, image: _Image) -> Iterator[NDArray[np.uint8]]:
        """All pixels of an image, piece by piece, as they stand in the file."""
        for name in image.planes:
            for start in range(0, self._n_pixels, BLOCK):
                stop = min(start + BLOCK, self._n_pixels)
                pixels, planes = self._table.span(start, stop)
                block = np.zeros(stop - start, ">f8")
                block[pixels - start] = self._values(planes, [name])[name]
                yield block.view(np.uint8)

    def _values(self, planes: dict[str, Values], names: Sequence[str]) -> dict[str, Values]:
        """The values of these planes as they are written: new arrays."""
        found = {name: planes[name].copy() for name in names}
        if self._map.divides and any(name in found for name in self._stokes):
            made = [planes[name].copy() for name in self._stokes]
            divide(made, [planes[name] for name in self._map.weights], 0.0)
            divided = zip(self._stokes, made, strict=True)
            found |= {name: values for name, values in divided if name in found}
        for one in self._map.columns:
            if one.plane in found and one.unit is not None and one.unit.power:
                one.unit.from_g3(found[one.plane])
        return found

    def _header(self, number: int) -> Any:
        image = self._images[number]
        shape = (*image.before, *self._table.stub.shape)
        # Last, so that geometry is in the part of a header that pixell reads.
        about = [("EXTNAME", image.name), ("MAPID", escaped(str(self._table.outline["Id"])))]
        cards = [*image.cards, *about, ("CREATOR", creator())]
        return image_header(shape, cards, primary=not number)

    def _of_spt3g(self) -> Iterator[_Image]:
        stubs = self._table.stubs
        for column in self._map.columns:
            stub, component = stubs[column.plane], column.plane.partition(".")[2]
            cards: list[Card] = [*self._wcs, ("MAPTYPE", "FLAT")]
            cards += [("COORDREF", str(stub.coord_ref)), ("POLAR", "U" in stubs)]
            # Without it spt3g's reader takes that of the map before, with a warning.
            named = [str(stubs[name].pol_conv) for name in (column.plane, "U") if name in stubs]
            known = [one for one in named if one in ("IAU", "COSMO")]
            cards += [("POLCCONV", known[0])] if known else []
            cards += _unit_cards(column)
            cards += [("UNITS", str(stub.units)), ("WEIGHTED", self._map.weighted)]
            cards.append(("ISWEIGHT", bool(component)))
            cards.append(("WTYPE", component) if component else ("POLTYPE", column.plane))
            if math.isfinite(stub.overflow):
                cards.append(("OVERFLOW", float(stub.overflow)))
            cards.append(("FLATPOL", stub.flat_pol))
            yield _Image(column.plane, (), [column.plane], cards)

    def _of_pixell(self, *, companions: bool) -> Iterator[_Image]:
        columns = {column.plane: column for column in self._map.columns}
        polarized = "U" in self._table.stubs
        key = weights_key(columns)
        if self._stokes and self._stokes[0] in columns:
            unit = _unit_cards(columns[self._stokes[0]])
            cards = [*_with_stokes(self._wcs, int(polarized)), *unit, *self._convention()]
            yield _Image("MAP", (3,) if polarized else (), self._stokes, cards)
        if key is not None and polarized:
            unit = _unit_cards(columns[f"{key}.TT"])
            if companions:
                upper = [f"{key}.{component}" for component in COMPONENTS]
                yield _Image("INVCOV", (6,), upper, [*self._wcs, *unit, *self._convention()])
            else:
                # Both axes are of Stokes parameters: pixell turns TU and QU with U, and not UU.
                cards = [*_with_stokes(self._wcs, 2), *unit, *self._convention()]
                matrix = [f"{key}.{component}" for row in _MATRIX for component in row]
                yield _Image("DIV", (3, 3), matrix, cards)
        elif key is not None:
            name = f"{key}.TT"
            yield _Image("IVAR", (), [name], [*self._wcs, *_unit_cards(columns[name])])
        if "H" in columns:
            yield _Image("HITS", (), ["H"], [*self._wcs, ("BUNIT", "")])

    def _convention(self) -> list[Card]:
        if "U" not in self._table.stubs:
            return []
        convention = str(self._table.stubs["U"].pol_conv)
        if convention not in ("IAU", "COSMO"):
            raise OutputError(
                f"{self._where}: the map is polarized, and its convention is not set (pol_conv is "
                "none), so that the sign of U is not known. Set it where the map is made, or coadd "
                "and convert with pol_conv."
            )
        return [("POLCCONV", convention)]


def _unit_cards(column: Any) -> list[Card]:
    has_unit = column.unit is not None and column.unit.power
    return [("BUNIT", name_of(column.unit, plain=True))] if has_unit else []


def _with_stokes(wcs: list[Card], n_axes: int) -> list[Card]:
    """The cards of a geometry with axes of Stokes parameters after those of the sky."""
    cards: list[Card] = [("WCSAXES", 2 + n_axes), *wcs[1:3]]
    for axis in range(3, 3 + n_axes):
        cards.append((f"CTYPE{axis}", "STOKES"))
        cards += [(f"{name}{axis}", value) for name, value in _STOKES_AXIS]
    return cards + wcs[3:]


def _runs(pixels: Pixels) -> Iterator[tuple[int, int]]:
    """Where numbers follow each other without a gap: the first and the end of each stretch."""
    ends = [*(np.flatnonzero(np.diff(pixels) != 1) + 1).tolist(), len(pixels)]
    return zip([0, *ends[:-1]], ends, strict=True) if len(pixels) else iter(())
