"""What may be wrong with a file of maps: faults by name, each made in a file that was good.

A fault is a function of the name of the file and a random generator. Those of `BROKEN` change its
bytes, those of `MISFITS` write it anew with other frames, so that its checksums are right.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skies
from spt3g import core, maps

from g3reduce.g3files.frames import RawFrame, walk, write_frame
from g3reduce.g3files.source import MemoryBytes

MAP = core.G3FrameType.Map
Fault = Callable[[str, np.random.Generator], None]


# Bytes


def _frames(file: str) -> list[RawFrame]:
    return list(walk(MemoryBytes(Path(file).read_bytes())))


def _map_in(file: str, rng: np.random.Generator) -> RawFrame:
    """One of its Map frames."""
    found = [raw for raw in _frames(file) if raw.type == int(MAP)]
    return found[rng.integers(len(found))]


def _pixels_of(raw: RawFrame) -> range:
    """Bytes of T, far behind its attributes."""
    (blob,) = (blob for blob in raw.blobs if blob.name == "T")
    return range(blob.end - blob.size // 4, blob.end)


def _cut(file: str, size: int) -> None:
    os.truncate(file, size)


def _flip(file: str, byte: int, rng: np.random.Generator) -> None:
    data = bytearray(Path(file).read_bytes())
    data[byte] ^= 1 << rng.integers(8)
    Path(file).write_bytes(data)


def cut_in_the_head_of_a_frame(file: str, rng: np.random.Generator) -> None:
    _cut(file, _map_in(file, rng).start + int(rng.integers(1, 13)))


def cut_in_a_key(file: str, rng: np.random.Generator) -> None:
    raw = _map_in(file, rng)
    blob = raw.blobs[rng.integers(len(raw.blobs))]
    _cut(file, blob.offset - 8 - int(rng.integers(0, len(blob.name))))


def cut_in_a_length(file: str, rng: np.random.Generator) -> None:
    raw = _map_in(file, rng)
    _cut(file, raw.blobs[rng.integers(len(raw.blobs))].offset - int(rng.integers(1, 8)))


def cut_in_pixels(file: str, rng: np.random.Generator) -> None:
    _cut(file, int(rng.choice(_pixels_of(_map_in(file, rng)))))


def cut_in_a_checksum(file: str, rng: np.random.Generator) -> None:
    _cut(file, _map_in(file, rng).end - int(rng.integers(1, 4)))


def a_bit_of_a_pixel(file: str, rng: np.random.Generator) -> None:
    _flip(file, int(rng.choice(_pixels_of(_map_in(file, rng)))), rng)


def a_bit_of_a_key(file: str, rng: np.random.Generator) -> None:
    raw = _map_in(file, rng)
    blob = raw.blobs[rng.integers(len(raw.blobs))]
    _flip(file, blob.offset - 8 - len(blob.name), rng)


def a_bit_of_a_checksum(file: str, rng: np.random.Generator) -> None:
    _flip(file, _map_in(file, rng).end - int(rng.integers(1, 5)), rng)


def a_type_that_does_not_exist(file: str, rng: np.random.Generator) -> None:
    raw = _map_in(file, rng)
    data = bytearray(Path(file).read_bytes())
    data[raw.start + 9] = 205
    Path(file).write_bytes(data)


def a_wrong_number_of_keys(file: str, rng: np.random.Generator) -> None:
    raw = _map_in(file, rng)
    data = bytearray(Path(file).read_bytes())
    data[raw.start + 5] += 1
    Path(file).write_bytes(data)


def an_id_that_is_none(file: str, rng: np.random.Generator) -> None:
    """Under a right checksum."""
    broken = _map_in(file, rng)
    with open(file, "r+b") as stream:
        frames = _frames(file)
        stream.truncate(0)
        for raw in frames:
            entries = [(blob.name, blob.size, [raw.content(blob)]) for blob in raw.blobs]
            if raw.start == broken.start:
                entries = [
                    (name, size - 3, [content[:-3]]) if name == "Id" else (name, size, [content])
                    for name, size, (content,) in entries
                ]
            write_frame(stream, raw.type, entries)


def text(file: str, rng: np.random.Generator) -> None:
    Path(file).write_text("Dear colleague, the maps are in the other folder.\n")


def empty(file: str, rng: np.random.Generator) -> None:
    _cut(file, 0)


def a_folder(file: str, rng: np.random.Generator) -> None:
    os.unlink(file)
    os.mkdir(file)


def a_pipe(file: str, rng: np.random.Generator) -> None:
    os.unlink(file)
    os.mkfifo(file)


def a_link_to_nothing(file: str, rng: np.random.Generator) -> None:
    os.unlink(file)
    os.symlink("moved.g3", file)


def not_readable(file: str, rng: np.random.Generator) -> None:
    """Root may read everything, so that for root it is a link to itself."""
    if os.geteuid() != 0:
        os.chmod(file, 0)
    else:
        os.unlink(file)
        os.symlink(os.path.basename(file), file)


def missing(file: str, rng: np.random.Generator) -> None:
    os.unlink(file)


BROKEN: dict[str, Fault] = {
    fault.__name__.replace("_", " "): fault
    for fault in (
        *(cut_in_the_head_of_a_frame, cut_in_a_key, cut_in_a_length, cut_in_pixels),
        *(cut_in_a_checksum, a_bit_of_a_pixel, a_bit_of_a_key, a_bit_of_a_checksum),
        *(a_type_that_does_not_exist, a_wrong_number_of_keys, an_id_that_is_none, text, empty),
        *(a_folder, a_pipe, a_link_to_nothing, not_readable, missing),
    )
}


def cut_and_packed(file: str, packed: str, rng: np.random.Generator) -> None:
    """A compressed file that was cut off."""
    data = gzip.compress(Path(file).read_bytes(), 1)
    Path(packed).write_bytes(data[: rng.integers(20, len(data) - 8)])
    os.unlink(file)


# Frames


def rewrite(file: str, change: Callable[[list[core.G3Frame]], None]) -> None:
    """Write a file anew from its frames, changed."""
    frames = list(core.G3File(file))
    change(frames)
    with core.G3Writer(file) as writer:
        for frame in frames:
            writer(frame)


def _with_planes(change: Callable[[str, maps.G3SkyMap], Any], *names: str) -> Fault:
    """Change planes (all of them, unless some are named) of one Map frame."""

    def fault(file: str, rng: np.random.Generator) -> None:
        def change_one(frames: list[core.G3Frame]) -> None:
            frame = _one_of(frames, rng)
            changed = skies.maps_by_plane(frame)
            for name in names or changed:
                if (other := change(name, changed[name])) is not None:
                    changed[name] = other
            _replace(frame, changed)

        rewrite(file, change_one)

    return fault


def _one_of(frames: list[core.G3Frame], rng: np.random.Generator) -> core.G3Frame:
    found = [frame for frame in frames if frame.type == MAP]
    return found[rng.integers(len(found))]


def _replace(frame: core.G3Frame, planes: dict[str, maps.G3SkyMap]) -> None:
    made = skies.frame_of(frame["Id"], planes)
    for key in set(frame.keys()) & set(skies.MAP_KEYS):
        del frame[key]
    for key in set(made.keys()) - {"Id"}:
        frame[key] = made[key]


def _other_units(name: str, skymap: maps.G3SkyMap) -> None:
    skymap.units = core.G3TimestreamUnits.Power


def _other_geometry(name: str, skymap: maps.G3SkyMap) -> maps.G3SkyMap:
    if isinstance(skymap, maps.FlatSkyMap):
        moved = skymap.clone(True)
        moved.alpha_center = skymap.alpha_center + 1 * core.G3Units.deg
        return moved
    wider = maps.HealpixSkyMap(
        nside=2 * skymap.nside,
        nested=skymap.nested,
        weighted=skymap.weighted,
        coord_ref=skymap.coord_ref,
        units=skymap.units,
        pol_type=skymap.pol_type,
        pol_conv=skymap.pol_conv,
    )
    wider[5] = 1e6 + skies.pixels(skymap).sum()  # no two are alike
    return wider


def _other_sky(name: str, skymap: maps.G3SkyMap) -> None:
    skymap.coord_ref = maps.MapCoordReference.Galactic


def _other_convention(name: str, skymap: maps.G3SkyMap) -> None:
    """Also in the values, as a collaborator in another package would write it."""
    skymap.pol_conv = maps.MapPolConv.COSMO


def _with_value(value: float) -> Callable[[str, maps.G3SkyMap], None]:
    def change(name: str, skymap: maps.G3SkyMap) -> None:
        skymap[int(np.asarray(skymap.nonzero_pixels()[0])[0])] = value

    return change


def without_weights(file: str, rng: np.random.Generator) -> None:
    def change(frames: list[core.G3Frame]) -> None:
        del _one_of(frames, rng)["Wpol"]

    rewrite(file, change)


def without_polarization(file: str, rng: np.random.Generator) -> None:
    def change(frames: list[core.G3Frame]) -> None:
        frame = _one_of(frames, rng)
        weights = maps.G3SkyMapWeights()
        weights.TT = frame["Wpol"].TT
        for key in ("Q", "U", "Wpol"):
            del frame[key]
        frame["Wunpol"] = weights

    rewrite(file, change)


STOKES = ("T", "Q", "U")
MISFITS: dict[str, Fault] = {
    "other units": _with_planes(_other_units, *STOKES),
    "another geometry": _with_planes(_other_geometry),
    "another coordinate system": _with_planes(_other_sky),
    "another convention": _with_planes(_other_convention),
    "without weights": without_weights,
    "without polarization": without_polarization,
}
NOT_FINITE: dict[str, Fault] = {
    "a pixel that is NaN": _with_planes(_with_value(np.nan), "T"),
    "a weight that is infinite": _with_planes(_with_value(np.inf), "Wpol.TT"),
}
