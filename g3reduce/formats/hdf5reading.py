"""Map frames in HDF5 files: those of `hdf5writing`, and the maps of TOAST."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from spt3g import core, maps

from ..errors import G3ReduceError, InputError, about_file
from ..g3files.archive import DENSE, EMPTY, INDEXED, RING, SPARSE
from ..g3files.maps import MAP_KEYS
from ..maps.assumed import Assumed
from ..maps.mapframe import to_frame
from ..maps.mapunits import COUNT, MAP, WEIGHTS, FileUnit, unit_in
from ..maps.pixels import encode, is_flat
from ..pipeline.units import Unit, set_unit
from ..spt3gtypes import Frame, SkyMap
from .entries import Table, of_array, put_tables
from .fingerprints import pixels_fingerprint
from .fitsreading import ask_for_units, convention_in, coordinates_in
from .hdf5 import ENTRIES, FLAT, FORMAT, NAMED, h5py_or_remedy, plane_of, shape_of
from .kinds import bare_name
from .pixeltable import Pixels, Values

_ERRORS = (OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)
_STORAGES = (DENSE, EMPTY, INDEXED, RING, SPARSE)

# What TOAST has in a dataset of so many rows.
_ROWS = {
    (1, MAP): ("T",),
    (3, MAP): ("T", "Q", "U"),
    (1, COUNT): ("H",),
    (1, WEIGHTS): ("Wunpol.TT",),
    (6, WEIGHTS): tuple(f"Wpol.{both}" for both in ("TT", "TQ", "TU", "QQ", "QU", "UU")),
}
_TOASTS = "map"


def map_frames_in_hdf5(file: str, assumed: Assumed) -> Iterator[Frame]:
    """The Map frames of an HDF5 file; see `g3reduce.formats.map_frames_in`."""
    with about_file(file), _opened(file) as opened:
        if _text(opened.attrs.get("FORMAT")) == FORMAT:
            groups = opened[
                "/"
            ]  # in their order, which the file itself loses in old versions of h5py
            frames = (_frame_of(groups[name], f"{file}, group {name}") for name in groups)
        elif _TOASTS in opened:
            frames = iter([_frame_of_toast(opened[_TOASTS], file, assumed)])  # type: ignore[assignment]
        else:
            raise InputError(
                f"{file}: this HDF5 file is neither one of g3reduce (its FORMAT is not "
                f"{FORMAT!r}) nor a map of TOAST (there is no dataset {_TOASTS!r}).",
                fault="no file of maps",
            )
        for index, frame in enumerate(frames):
            frame.fingerprint = pixels_fingerprint(frame, file)
            set_unit(frame, Unit(file, index, fingerprint=frame.fingerprint))
            yield frame


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    h5py = h5py_or_remedy()
    if not os.path.exists(file):
        raise InputError(f"{file}: No such file or directory.", fault="missing")
    try:
        with h5py.File(file, "r", locking=False) as opened:
            yield opened
    except G3ReduceError:
        raise
    except _ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{file}: this HDF5 file cannot be read, it is broken or cut off ({reason}).",
            fault="broken",
        ) from error


def _frame_of(group: Any, where: str) -> Frame:
    """The frame of a group."""
    planes: dict[str, SkyMap] = {}
    for key in MAP_KEYS:
        if key in group:
            found = [f"{key}/{one}" for one in group[key]] if key.startswith("W") else [key]
            for path in found:
                planes[plane_of(path)] = _map_of(group[path], group.attrs, f"{where}, {path}")
    frame = to_frame(_text(group.attrs["ID"]), planes)
    tables = [
        Table(
            _text(entry.attrs["key"]),
            _text(entry.attrs["kind"]),
            {column: _column(entry[column]) for column in entry},
        )
        for entry in (group[ENTRIES].values() if ENTRIES in group else ())
    ]
    put_tables(frame, tables, where)
    return frame


def _column(dataset: Any) -> list[Any]:
    values = dataset[()]
    return [_text(one) for one in values] if values.dtype == object else of_array(values)


def _map_of(dataset: Any, geometry: Any, where: str) -> SkyMap:
    """The map that a dataset is."""
    attributes = {name: _named(dataset.attrs[name], names) for name, names in NAMED.items()}
    attributes["weighted"] = bool(dataset.attrs["weighted"])
    if _text(geometry["PIXTYPE"]) == "FLAT":
        stub = _flat_stub(dataset, geometry, attributes)
    else:
        stub = maps.HealpixSkyMap(
            int(geometry["NSIDE"]), nested=_text(geometry["ORDERING"]) == "NESTED", **attributes
        )
        stub.shift_ra = bool(dataset.attrs["shift_ra"])
    if tuple(dataset.shape) != shape_of(stub) or dataset.dtype.kind != "f":
        raise InputError(
            f"{where}: the dataset is {dataset.dtype} {tuple(dataset.shape)}; expected floats "
            f"{shape_of(stub)}, as its attributes say."
        )
    storage = _text(dataset.attrs["storage"])
    pixels, values = _hit(dataset)
    skymap = _filled(stub, storage if storage in _STORAGES else "", pixels, values)
    skymap.overflow = float(dataset.attrs["overflow"])
    return skymap


def _flat_stub(dataset: Any, geometry: Any, attributes: dict[str, Any]) -> SkyMap:
    n_y, n_x = dataset.shape
    numbers = {name: float(geometry[name]) for name in FLAT}
    return maps.FlatSkyMap(
        int(n_x),
        int(n_y),
        res=numbers.pop("y_res"),
        proj=_named(geometry["PROJ"], maps.MapProjection.names),
        flat_pol=bool(dataset.attrs["flat_pol"]),
        **numbers,
        **attributes,
    )


def _filled(stub: SkyMap, storage: str, pixels: Pixels, values: Values) -> SkyMap:
    """A map with these pixels, which are numbered as it numbers them."""
    if storage == DENSE or (not storage and 2 * len(pixels) > stub.size):
        np.asarray(stub).reshape(-1)[pixels] = values
        return stub
    if not len(pixels):
        return stub
    if is_flat(stub):
        n_y, n_x = stub.shape
        pixels = pixels % n_x * n_y + pixels // n_x
        order = np.argsort(pixels, kind="stable")
        return encode(stub, SPARSE, pixels[order], values[order])
    sparse = INDEXED if stub.nested and storage != RING else RING
    return encode(stub, INDEXED if storage == INDEXED else sparse, pixels, values)


def _hit(dataset: Any, row: int | None = None) -> tuple[Pixels, Values]:
    """Numbers and values of the pixels that are not 0, of chunks that are stored."""
    shape = dataset.shape if row is None else dataset.shape[1:]
    line = shape[1] if len(shape) == 2 else 1
    lines = dataset.chunks[-1 if row is not None or line == 1 else 0] if dataset.chunks else None
    starts = range(0, 1)
    if lines is not None:
        axis = 1 if row is not None else 0
        starts = sorted(  # type: ignore[assignment]
            {
                dataset.id.get_chunk_info(number).chunk_offset[axis]
                for number in range(dataset.id.get_num_chunks())
            }
        )
    found: list[tuple[Pixels, Values]] = [(np.empty(0, np.int64), np.empty(0))]
    for start in starts:
        part = slice(start, start + lines if lines is not None else None)
        values = np.asarray(dataset[part] if row is None else dataset[row, part], np.float64)
        values = values.reshape(-1)
        held = np.flatnonzero(values)
        found.append((held + start * line, values[held]))
    pixels, values = (np.concatenate(part) for part in zip(*found, strict=True))
    return pixels, values


def _frame_of_toast(dataset: Any, file: str, assumed: Assumed) -> Frame:
    """The frame that a map of TOAST is."""
    where, header = (
        f"{file}, {_TOASTS}",
        {key: _plain(value) for key, value in dataset.attrs.items()},
    )
    ordering = str(header.get("ORDERING", "")).upper()
    n_side = int(header.get("NSIDE", 0))
    if ordering not in ("RING", "NESTED", "NEST") or dataset.ndim != 2:
        raise InputError(f"{where}: expected rows of pixels, and ORDERING RING or NESTED.")
    if dataset.shape[1] != 12 * n_side**2 or not n_side:
        raise InputError(
            f"{where}: there are {dataset.shape[1]} pixels; NSIDE {n_side} has {12 * n_side**2}."
        )
    text = str(header.get("UNITS", "") or "")
    if not text and assumed.units is None:
        ask_for_units(where, "there are no UNITS")
    unit = unit_in(text or str(assumed.units), where)
    names = _ROWS.get((len(dataset), unit.power))
    if names is None:
        raise InputError(
            f"{where}: {len(dataset)} rows in {text or assumed.units!r} are no map that is known "
            "here; expected 1 or 3 in K (T; T, Q, U), 1 or 6 in K^-2 (weights), or 1 of hits."
        )
    attributes: dict[str, Any] = {"nested": ordering != "RING"}
    attributes["coord_ref"] = coordinates_in(header, assumed, where)
    if len(names) > 1:
        attributes["pol_conv"] = convention_in(header, assumed, where)
    return to_frame(
        bare_name(file),
        {
            name: _of_row(dataset, row, name, n_side, unit, attributes)
            for row, name in enumerate(names)
        },
    )


def _of_row(
    dataset: Any, row: int, name: str, n_side: int, unit: FileUnit, attributes: dict[str, Any]
) -> SkyMap:
    stub = maps.HealpixSkyMap(
        n_side,
        pol_type=maps.MapPolType.names.get(name.split(".")[-1], maps.MapPolType.names["none"]),
        units=core.G3TimestreamUnits.names[unit.kind],
        weighted=False,
        **attributes,
    )
    pixels, values = _hit(dataset, row)
    unit.to_g3(values)
    return _filled(stub, "", pixels, values)


def _named(value: Any, names: Any) -> Any:
    text = _text(value)
    if text not in names:
        raise ValueError(f"{text!r} is not one of {', '.join(map(str, names))}")
    return names[text]


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    return _text(value) if isinstance(value, bytes | str) else value
