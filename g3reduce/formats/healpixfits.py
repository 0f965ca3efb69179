"""HEALPix maps into FITS tables: explicit pixels of a patch, or all of the sky."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, UsageError
from ..g3files.outputfile import begin_sync, write_at
from ..mpi import communicators
from ..mpi.agreement import collectively
from .entries import tables_of
from .fitsbytes import (
    Column,
    checked,
    escaped,
    joined_sum,
    padded,
    primary,
    sum_of,
    table_header,
    tables_as_bytes,
)
from .healpixcolumns import UNSEEN, WEIGHT_UNITS, MapColumns
from .options import WriteOptions
from .pixeltable import BLOCK, PixelTable

_SYSTEMS = {"Equatorial": "C", "Galactic": "G", "Local": "L"}

# Values of a column in a row of a full sky, as healpy writes them.
_WIDTH = 1024


class HealpixFits:
    """The file of a map, of which each rank writes the pixels that it has.

    Collective over `comm`.

    Parameters
    ----------
    comm : communicator
        The ranks that have parts of the map.
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
    """

    def __init__(
        self,
        comm: communicators.Comm,
        table: PixelTable,
        options: WriteOptions,
        planes: Sequence[str],
        where: str,
    ):
        self._comm = comm
        self._nested = table.stub.nested if options.nested is None else options.nested
        self._where = where
        self._n_pixels = int(table.stub.size)

        def look() -> tuple[PixelTable, MapColumns, tuple[int, int | None, int | None]]:
            mine = table if self._nested == table.stub.nested else _reordered(table)
            columns = MapColumns(table, options, planes, where)
            return mine, columns, (mine.n_hit, mine.first, mine.last)

        self._table, self._map, part = collectively(comm, look)
        parts = comm.allgather(part)
        self._n_hit = sum(number for number, _, _ in parts)
        self._begin = sum(number for number, _, _ in parts[: comm.rank])
        ends = [end for _, *both in parts for end in both if end is not None]
        in_order = ends == sorted(ends)
        wanted = 2 * self._n_hit > self._n_pixels if options.full_sky is None else options.full_sky
        self._full = wanted and in_order
        if options.full_sky and not in_order:
            raise OutputError(
                f"{where}: the shards of this coadd lie across each other, so that they can only "
                "be written with explicit pixels. Leave full_sky out."
            )
        if options.companions and options.units != "K" and not self._full:
            raise UsageError(
                f"{where}: units is {options.units!r}, but TOAST takes the values of a file with "
                "explicit pixels for K, whatever it says. Leave units out, or say full_sky=True."
            )
        self._starts = _starts(parts, self._n_pixels)
        self._lay_out()

    def _lay_out(self) -> None:
        columns = [Column(one.name, one.unit_name, ">f8") for one in self._map.columns]
        self._width = 1
        if self._full:
            self._width = _WIDTH if self._n_pixels % _WIDTH == 0 else 1
            n_rows = self._n_pixels // self._width
        else:
            columns.insert(0, Column("PIXEL", "", _smallest(self._n_pixels)))
            n_rows = self._n_hit
        shape = (self._width,) if self._width > 1 else ()
        self._row = np.dtype([(one.name, one.kind, shape) for one in columns])
        self._header = table_header(columns, self._width, n_rows, self._cards(columns))
        self._data_size = n_rows * self._row.itemsize
        self._tail = tables_as_bytes(tables_of(self._table.outline))
        self._primary = primary()
        self._data = len(self._primary) + len(checked(self._header, 0))
        self.size = self._data + padded(self._data_size) + len(self._tail)

    def _cards(self, columns: Sequence[Column]) -> list[tuple[str, Any, str]]:
        stub, stubs = self._table.stub, self._table.stubs
        system = str(stub.coord_ref)
        if system not in _SYSTEMS:
            raise OutputError(
                f"{self._where}: the coordinate system of the map is not set (coord_ref is "
                f"{system}), and readers must know it. Set coord_ref where the map is made."
            )
        polarized = any(
            one.plane not in ("T", "H") and not one.plane.endswith(".TT")
            for one in self._map.columns
        )
        cards: list[tuple[str, Any, str]] = [
            ("EXTNAME", "MAP", ""),
            ("PIXTYPE", "HEALPIX", "HEALPix pixelisation"),
            ("ORDERING", "NESTED" if self._nested else "RING", "order of pixels"),
            ("NSIDE", int(stub.nside), "resolution"),
            ("INDXSCHM", "IMPLICIT" if self._full else "EXPLICIT", "how pixels are indexed"),
            ("OBJECT", "FULLSKY" if self._full else "PARTIAL", "sky coverage"),
        ]
        if self._full:
            cards += [
                ("FIRSTPIX", 0, "first pixel"),
                ("LASTPIX", self._n_pixels - 1, "last pixel"),
            ]
        cards.append(("COORDSYS", _SYSTEMS[system], "C equatorial, G Galactic, L local"))
        cards.append(("COORDREF", system, "the same, as spt3g names it"))
        if system == "Equatorial":
            cards += [("RADESYS", "FK5", ""), ("EQUINOX", 2000.0, "")]
        cards.append(("POLAR", polarized, "whether there is polarization"))
        if polarized:
            cards.append(("POLCCONV", self._convention(), "convention of polarization"))
        kind = stubs["T"].units if "T" in stubs else stub.units
        cards += [
            ("BAD_DATA", UNSEEN, "pixels without a measurement"),
            ("MAPTYPE", "HEALPIX", ""),
            ("UNITS", str(kind), "kind of units, as spt3g names it"),
            ("WEIGHTED", self._map.weighted, "whether maps are multiplied by weights"),
            ("MAPID", escaped(str(self._table.outline["Id"])), "Id of the map"),
        ]
        for one in self._map.columns:
            if one.plane.endswith(".TT"):
                cards.append((WEIGHT_UNITS, str(stubs[one.plane].units), "the same of weights"))
        offset = len(columns) - len(self._map.columns) + 1
        for number, one in enumerate(self._map.columns, offset):
            cards.append((f"TISWGT{number}", one.is_weight, "whether this is a weight"))
            if overflow := self._overflow(one):
                cards.append((f"TOFLW{number}", overflow, "sum of what fell outside of the map"))
        return cards

    def _convention(self) -> str:
        for stub in self._table.stubs.values():
            if (convention := str(stub.pol_conv)) in ("IAU", "COSMO"):
                return convention
        raise OutputError(
            f"{self._where}: the map is polarized, and its convention is not set (pol_conv is "
            "none), so that the sign of U is not known. Set it where the map is made, or coadd "
            "and convert with pol_conv."
        )

    def _overflow(self, column: Any) -> float:
        overflow = np.array([self._table.stubs[column.plane].overflow])
        if column.unit is not None and column.unit.power:
            column.unit.from_g3(overflow)
        return float(overflow[0])

    def put(self, fd: int) -> list[int]:
        """Write the pixels of this rank at their places; return their checksum."""
        sums = []
        for place, data in self._pieces():
            write_at(fd, data, self._data + place)
            begin_sync(fd, self._data + place, len(data))
            sums.append(_sum_at(data, place))
        return [joined_sum(sums)]

    def finish(self, fd: int, sums: Sequence[list[int]]) -> None:
        """Write all but the pixels, once these are there, with the checksums of all ranks."""
        total = joined_sum(one for of_rank in sums for one in of_rank)
        write_at(fd, self._primary + checked(self._header, total), 0)
        write_at(fd, self._tail, self.size - len(self._tail))

    def put_in_order(self, write: Callable[[Any], object]) -> None:
        """Write the whole file from its beginning to its end; where one rank has the whole map.

        Pixels are gone through twice, since their checksum stands before them.
        """
        total = joined_sum(_sum_at(data, place) for place, data in self._pieces())
        write(self._primary + checked(self._header, total))
        for _, data in self._pieces():
            write(data)
        write(bytes(padded(self._data_size) - self._data_size))
        write(self._tail)

    def _pieces(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Where pieces stand among the data, and their bytes."""
        for place, block in self._full_sky() if self._full else self._explicit():
            yield place, block.reshape(-1).view(np.uint8)

    def _explicit(self) -> Iterator[tuple[int, NDArray[Any]]]:
        place = self._begin * self._row.itemsize
        room = np.empty(min(BLOCK, self._table.n_hit), self._row)  # for one block after another
        for pixels, planes in self._table.blocks():
            rows = room[: len(pixels)]
            rows["PIXEL"] = pixels
            for one, values in zip(self._map.columns, self._map.values(planes), strict=True):
                rows[one.name] = values
            yield place, rows
            place += rows.nbytes

    def _full_sky(self) -> Iterator[tuple[int, NDArray[Any]]]:
        start, stop = self._starts[self._comm.rank], self._starts[self._comm.rank + 1]
        width, size = self._width, self._row.itemsize
        while start < stop:
            row, within = divmod(start, width)
            end = min(stop, (row + 1) * width if within else start + BLOCK)
            if within == 0 and end - start >= width:
                end -= end % width  # whole rows, and what is left of one at the end by itself
            columns = self._filled(start, end)
            if within == 0 and end % width == 0:
                rows = np.empty((end - start) // width, self._row)
                for one, values in zip(self._map.columns, columns, strict=True):
                    rows[one.name] = values.reshape(rows[one.name].shape)
                yield row * size, rows
            else:
                for number, values in enumerate(columns):
                    yield row * size + 8 * (number * width + within), values.astype(">f8")
            start = end

    def _filled(self, start: int, stop: int) -> list[NDArray[np.float64]]:
        """The values of all columns from one pixel up to another."""
        pixels, planes = self._table.span(start, stop)
        filled = []
        for one, values in zip(self._map.columns, self._map.values(planes), strict=True):
            column = np.full(stop - start, one.fill)
            column[pixels - start] = values
            filled.append(column)
        return filled


def _starts(parts: Sequence[tuple[int, int | None, int | None]], n_pixels: int) -> list[int]:
    """Where the stretch of a full sky begins that each rank writes, and where the last ends."""
    starts = [n_pixels] * (len(parts) + 1)
    for rank in reversed(range(len(parts))):
        first = parts[rank][1]
        starts[rank] = starts[rank + 1] if first is None else first
    starts[0] = 0
    return starts


def _smallest(n_pixels: int) -> str:
    """The smallest integers that hold the numbers of all pixels."""
    return next(kind for kind in (">i2", ">i4", ">i8") if n_pixels - 1 <= np.iinfo(kind).max)


def _sum_at(data: NDArray[np.uint8], place: int) -> int:
    """The checksum of bytes that may neither begin nor end where words do."""
    before = place % 4
    if before == 0 and len(data) % 4 == 0:
        return sum_of(data)
    whole = np.zeros(-(-(before + len(data)) // 4) * 4, np.uint8)
    whole[before : before + len(data)] = data
    return sum_of(whole)


def _reordered(table: PixelTable) -> PixelTable:
    """The same in the other order of pixels."""
    import healpy

    stub = table.stub
    convert = healpy.nest2ring if stub.nested else healpy.ring2nest
    return table.renumbered(lambda pixels: convert(stub.nside, pixels))
