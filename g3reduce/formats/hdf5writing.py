"""Map frames into HDF5 files, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..errors import G3ReduceError
from ..g3files.archive import DENSE
from ..g3files.outputfile import OutputPath, failure
from ..maps.mapunits import MAP, WEIGHTED_MAP, WEIGHTS, name_of, unit_for
from ..maps.pixels import is_flat
from ..maps.wcs import has_name, wcs_cards
from ..mpi import communicators
from ..mpi.agreement import collectively, from_rank
from ..pipeline.output import publish
from .entries import as_array, tables_of
from .fitsbytes import creator
from .hdf5 import (
    ENTRIES,
    FLAT,
    FORMAT,
    LETTERS,
    NAMED,
    VERSION,
    chunks_of,
    h5py_or_remedy,
    path_of,
    shape_of,
)
from .hdf5output import opened_hdf5
from .kinds import distinct_name
from .options import WriteOptions
from .pixeltable import PixelTable

# So many chunks are written at once, where they follow each other.
_AT_ONCE = 64


def write_groups(
    file: str,
    tables: Iterable[PixelTable],
    options: WriteOptions,
    comm: communicators.Comm,
    root: int,
    *,
    sharded: bool,
) -> None:
    """Write maps into one file, each into a group of its own. Collective over `comm`.

    Ranks that have shards write one after another, each its own pixels.

    Parameters
    ----------
    file, options, comm, root, sharded
        As in `g3reduce.formats.writing.write_tables`.
    tables : iterable of PixelTable
        On `root`, or on all ranks if `sharded`.

    Raises
    ------
    OutputError, UsageError
    """
    h5py = collectively(comm, h5py_or_remedy)
    outputs: list[OutputPath] = []

    def begin() -> str:
        outputs.append(OutputPath(file))
        with opened_hdf5(h5py, outputs[0].path, "w", track_order=True) as opened:
            opened.attrs["FORMAT"], opened.attrs["VERSION"] = FORMAT, VERSION
            opened.attrs["CREATOR"] = creator()
        return outputs[0].path

    def in_turn(work: Callable[[Any, PixelTable, str], None], *ranks: int) -> None:
        """Let ranks work on the file, one after another."""
        for rank in ranks:

            def mine(rank: int = rank) -> None:
                if comm.rank == rank and table is not None:
                    with opened_hdf5(h5py, path, "r+") as opened:
                        work(opened, table, group)

            collectively(comm, lambda mine=mine: _told(file, mine))  # type: ignore[misc]

    def following() -> PixelTable | None:
        table = next(coming, None)
        return table if table is None or not options.unweight else table.unweighted()

    met: set[str] = set()
    coming = iter(tables)
    try:
        path = from_rank(comm, root, lambda: _told(file, begin))
        while True:
            table = collectively(comm, following)
            if not comm.bcast(table is not None, root):
                break
            group = "" if table is None else distinct_name(str(table.outline["Id"]), met)
            in_turn(partial(_make, h5py, options), root)
            in_turn(partial(_fill, shared=sharded), *(range(comm.size) if sharded else (root,)))
        publish(comm, outputs[0] if outputs else None)
    finally:
        for output in outputs:
            output.discard()


def _told(file: str, work: Callable[[], Any]) -> Any:
    """Do it; what h5py and the system say against it becomes an `OutputError`."""
    try:
        return work()
    except G3ReduceError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise failure(file, error) from error


def _make(h5py: Any, options: WriteOptions, opened: Any, table: PixelTable, name: str) -> None:
    """Make the group of a map, with all but the pixels."""
    group = opened.create_group(name, track_order=True)
    group.attrs["ID"] = str(table.outline["Id"])
    for key, value in _geometry(table).items():
        group.attrs[key] = value
    for plane in table.names:
        stub = table.stubs[plane]
        dataset = group.create_dataset(
            path_of(plane),
            shape_of(stub),
            "<f8",
            chunks=chunks_of(stub, dense=table.storages.get(table.names[0]) == DENSE),
            fillvalue=0.0,
            compression="gzip" if options.compress else None,
            shuffle=options.compress or None,
        )
        for key, value in _attributes(table, plane).items():
            dataset.attrs[key] = value
    text, names = h5py.string_dtype(), set[str]()
    entries = group.create_group(ENTRIES, track_order=True)
    for key, kind, columns in tables_of(table.outline):
        entry = entries.create_group(distinct_name(key, names), track_order=True)
        entry.attrs["key"], entry.attrs["kind"] = key, kind
        for column, values in columns.items():
            array = as_array(values)
            entry.create_dataset(column, data=array, dtype=text if array.dtype == object else None)


def _geometry(table: PixelTable) -> dict[str, Any]:
    """What the attributes of a group say of all its maps."""
    stub, stubs = table.stub, table.stubs
    of = next((stubs[name] for name in ("U", "Q", "Wpol.TU") if name in stubs), stub)
    found: dict[str, Any] = {"COORDREF": str(stub.coord_ref), "POLCCONV": str(of.pol_conv)}
    if letter := LETTERS.get(str(stub.coord_ref)):
        found["COORDSYS"] = letter
    if "T" in stubs:
        found["WEIGHTED"] = bool(stubs["T"].weighted)
    if not is_flat(stub):
        found |= {
            "PIXTYPE": "HEALPIX",
            "ORDERING": "NESTED" if stub.nested else "RING",
            "NSIDE": int(stub.nside),
        }
        return found
    found |= {"PIXTYPE": "FLAT", "PROJ": str(stub.proj)}
    found |= {name: float(getattr(stub, name)) for name in FLAT}
    if has_name(stub):
        found |= {f"WCS {key}": value for key, value in wcs_cards(stub, "")}
    return found


def _attributes(table: PixelTable, plane: str) -> dict[str, Any]:
    """What the attributes of a plane say."""
    stub = table.stubs[plane]
    found: dict[str, Any] = {name: str(getattr(stub, name)) for name in NAMED}
    found |= {"weighted": bool(stub.weighted), "overflow": float(stub.overflow)}
    found["storage"] = table.storages.get(plane, "")
    if is_flat(stub):
        found["flat_pol"] = bool(stub.flat_pol)
    else:
        found["shift_ra"] = bool(stub.shift_ra)
    weighted = "T" in table.stubs and table.stubs["T"].weighted
    power = WEIGHTS if plane.startswith("W") else WEIGHTED_MAP if weighted else MAP
    kind = table.stubs["T"].units if "T" in table.stubs else stub.units
    unit = unit_for(kind, power, "m") if plane != "H" and str(stub.units) != "Counts" else None
    found["UNITS"] = name_of(unit) if unit is not None else ""
    return found


def _fill(opened: Any, table: PixelTable, name: str, *, shared: bool) -> None:
    """Write the pixels of a map that are here."""
    group, stub = opened[name], table.stub
    line = shape_of(stub)[1] if is_flat(stub) else 1
    datasets = {plane: group[path_of(plane)] for plane in table.names}  # to find them takes long
    length = math.prod(datasets[table.names[0]].chunks)
    for start, stop in _stretches(table, length):
        pixels, planes = table.span(start, stop)
        part = slice(start // line, stop // line)
        for plane, values in planes.items():
            dataset = datasets[plane]
            if not np.any(values):
                continue
            # Others may have written pixels of the same chunk.
            dense = dataset[part].reshape(-1) if shared else np.zeros(stop - start)
            dense[pixels - start] = values
            dataset[part] = dense.reshape(-1, line) if line > 1 else dense


def _stretches(table: PixelTable, length: int) -> Iterator[tuple[int, int]]:
    """Where chunks of this length with pixels that were hit begin and end, neighbours joined."""
    stub = table.stub
    hit = [np.unique(pixels // length) for pixels, _ in table.blocks()]
    chunks = np.unique(np.concatenate(hit)) if hit else np.empty(0, np.int64)
    cuts = np.flatnonzero(np.diff(chunks) > 1) + 1
    for run in np.split(chunks, cuts):
        for begin in range(0, len(run), _AT_ONCE):
            part = run[begin : begin + _AT_ONCE]
            yield int(part[0]) * length, min((int(part[-1]) + 1) * length, int(stub.size))
