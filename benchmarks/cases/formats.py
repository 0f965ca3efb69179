"""A patch of T, Q and U into a FITS table, beside healpy."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness import pictures
from ..harness.inturn import in_turn, ratio, spread, timed_output
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import SIZES, STOKES

SKY = 0.04  # the part of it that the patch covers

OURS, UNSYNCED, ARRAYS, SYNCED = "g3reduce", "unsynced", "write_map", "synced write_map"
FRAME = "arrays and write_map"
TABLE, MAPS = "the sums of a coadd", "maps of spt3g"  # what g3reduce takes


def measure(settings: Settings) -> list[Row]:
    """The same pixels by both, with and without waiting for the disk."""
    import healpy

    from g3reduce.formats import WriteOptions, write_maps
    from g3reduce.formats.pixeltable import PixelTable
    from g3reduce.formats.writing import write_tables

    nside = SIZES[settings.survey_size].nside_sparse
    frame, n_pixels = _frame(nside)
    # As a coadd has them: arrays of the pixels that were hit.
    table = PixelTable.of_frame(frame)
    arrays = _arrays(frame)
    logger = logging.getLogger("healpy")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells which kind of numbers it writes
    settings.folder.mkdir(exist_ok=True)

    def by_healpy(file: str, maps: list[NDArray[np.float64]]) -> None:
        healpy.write_map(file, maps, partial=True, coord="C", column_units="K_CMB")

    def synced(file: str) -> None:
        by_healpy(file, arrays)
        _sync(file)
        _sync(str(settings.folder))

    def check(file: str) -> None:
        found = healpy.read_map(file, field=(0, 1, 2)) * 1000.0
        for mine, values in zip(found, arrays, strict=True):
            hit = values != healpy.UNSEEN
            if not np.allclose(mine[hit], values[hit], rtol=1e-14, atol=0):
                raise RuntimeError(f"{file} does not have the pixels that were written")

    ours: dict[str, Callable[[str], object]] = {
        TABLE: lambda file: write_tables(file, [table], WriteOptions()),
        MAPS: lambda file: write_maps(file, frame),
    }
    for write in ours.values():
        write(str(settings.folder / "checked.fits"))
        check(str(settings.folder / "checked.fits"))
        (settings.folder / "checked.fits").unlink()
    runs: dict[str, Callable[[str], object]] = {
        ARRAYS: lambda file: by_healpy(file, arrays),
        SYNCED: synced,
        FRAME: lambda file: by_healpy(file, _arrays(frame)),
    }
    for of, write in ours.items():
        runs[f"{of} {OURS}"] = write
        runs[f"{of} {UNSYNCED}"] = functools.partial(_unsynced, write)
    try:
        seconds = in_turn(
            {name: timed_output(run, settings.folder, ".fits") for name, run in runs.items()},
            settings.rounds,
        )
    finally:
        logger.setLevel(level)
    return [_row(nside, n_pixels, of, seconds) for of in ours]


def _row(nside: int, n_pixels: int, of: str, seconds: dict[str, list[float]]) -> Row:
    mine, unsynced = seconds[f"{of} {OURS}"], seconds[f"{of} {UNSYNCED}"]
    row: Row = {"nside": nside, "pixels": n_pixels, "of": of}
    row |= {f"{OURS} s": spread(mine), f"{UNSYNCED} s": spread(unsynced)}
    row |= {f"{name} s": spread(seconds[name]) for name in (ARRAYS, SYNCED, FRAME)}
    row |= {f"against {name}": ratio(seconds[name], mine) for name in (ARRAYS, SYNCED, FRAME)}
    row["unsynced against"] = ratio(seconds[ARRAYS], unsynced)
    return row


def _unsynced(write: Callable[[str], object], file: str) -> None:
    """Write without waiting for the disk, as healpy does."""
    real = os.fsync
    os.fsync = lambda fd: None
    try:
        write(file)
    finally:
        os.fsync = real


def _sync(path: str) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _frame(nside: int) -> tuple[Any, int]:
    """A frame of ring-sparse maps without weights, and how many pixels each has."""
    import healpy
    from spt3g import core, maps

    centre = healpy.ang2vec(0.75 * np.pi, 1.0)
    pixels = healpy.query_disc(nside, centre, np.arccos(1 - 2 * SKY))
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "150GHz"
    for number, name in enumerate(STOKES):
        values = np.random.default_rng(number).normal(size=len(pixels))
        skymap = maps.HealpixSkyMap(
            pixels,
            values,
            nside,
            weighted=False,
            units=core.G3TimestreamUnits.Tcmb,
            pol_type=getattr(maps.MapPolType, name),
            pol_conv=maps.MapPolConv.IAU,
        )
        skymap.ringsparse = True
        frame[name] = skymap
    return frame, len(pixels)


def _arrays(frame: Any) -> list[NDArray[np.float64]]:
    """The maps as healpy has them: all pixels of the sky."""
    import healpy

    found = []
    for name in STOKES:
        values = np.array(frame[name].clone(True))
        values[values == 0] = healpy.UNSEEN
        found.append(values)
    return found


BENCHMARK = Benchmark(
    title="A patch as FITS",
    measure=measure,
    reading=(
        "T, Q and U of 4 % of the sky become a FITS table with explicit pixels: from the sums of a "
        "coadd, as `coadd_files` writes them, and from a frame with maps of spt3g. healpy takes "
        "arrays of all pixels of the sky: `write_map` is timed with these given, and with their "
        "making from the frame. healpy does not wait for the disk, and what it has written may be "
        "lost when the machine fails; so it is timed with the wait, too, and g3reduce, whose file "
        "has its name once it is on the disk, without. Files of g3reduce have checksums. Above 1, "
        "g3reduce is the faster one."
    ),
    tables=(
        Table(
            title="Seconds",
            index={"of": "from", "nside": "nside", "pixels": "pixels"},
            values={
                f"{OURS} s": "g3reduce",
                f"{UNSYNCED} s": "g3reduce without the disk",
                f"{ARRAYS} s": "`write_map`",
                f"{SYNCED} s": "`write_map` to the disk",
                f"{FRAME} s": "`write_map` from the frame",
            },
        ),
        Table(
            title="Times as fast as healpy",
            index={"of": "from"},
            values={
                f"against {ARRAYS}": "g3reduce to the disk, `write_map` not",
                f"against {SYNCED}": "both to the disk",
                "unsynced against": "both without the disk",
                f"against {FRAME}": "`write_map` from the frame",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        panel="nside",
        panel_title="nside {}",
        label="{of}",
        series={
            f"{OURS} s": "g3reduce, to the disk",
            f"{UNSYNCED} s": "g3reduce, without",
            f"{ARRAYS} s": "healpy's write_map",
            f"{SYNCED} s": "write_map, to the disk",
        },
        unit="seconds",
    ),
)
