"""A patch of T, Q and U into a FITS table, beside healpy."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness import pictures
from ..harness.inturn import in_turn, ratio, spread, timed_output
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import SIZES, STOKES

OURS, ARRAYS, FRAME = "write_maps", "write_map", "arrays and write_map"
SKY = 0.04  # the part of it that the patch covers


def measure(settings: Settings) -> list[Row]:
    """The same pixels by both, and by healpy also from the frame that they are in."""
    import healpy

    from g3reduce.formats import write_maps

    nside = SIZES[settings.survey_size].nside_sparse
    frame, n_pixels = _frame(nside)
    arrays = _arrays(frame)
    logger = logging.getLogger("healpy")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells which kind of numbers it writes

    def by_healpy(file: str, maps: list[NDArray[np.float64]]) -> None:
        healpy.write_map(file, maps, partial=True, coord="C", column_units="K_CMB")

    def check(file: str) -> None:
        found = healpy.read_map(file, field=(0, 1, 2)) * 1000.0
        for mine, values in zip(found, arrays, strict=True):
            hit = values != healpy.UNSEEN
            if not np.allclose(mine[hit], values[hit], rtol=1e-14, atol=0):
                raise RuntimeError(f"{file} does not have the pixels that were written")

    settings.folder.mkdir(exist_ok=True)
    check(write_maps(str(settings.folder / "checked.fits"), frame)[0])
    (settings.folder / "checked.fits").unlink()
    runs = {
        OURS: lambda file: write_maps(file, frame),
        ARRAYS: lambda file: by_healpy(file, arrays),
        FRAME: lambda file: by_healpy(file, _arrays(frame)),
    }
    try:
        seconds = in_turn(
            {name: timed_output(run, settings.folder) for name, run in runs.items()},
            settings.rounds,
        )
    finally:
        logger.setLevel(level)
    row: Row = {"nside": nside, "pixels": n_pixels}
    row |= {f"{name} s": spread(times) for name, times in seconds.items()}
    row |= {f"against {name}": ratio(seconds[name], seconds[OURS]) for name in (ARRAYS, FRAME)}
    return [row]


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
        "T, Q and U of 4 % of the sky, in the frame of a coadd, become a FITS table with explicit "
        "pixels. healpy takes arrays of all pixels of the sky: once it is timed with these given "
        "(`write_map`), and once with their making from the frame. Of what g3reduce takes, a "
        "third is the disk's: the file is complete there before it has its name, which healpy does "
        "not wait for, and has checksums; another third reads the pixels from spt3g's maps. Above "
        "1, g3reduce is the faster one."
    ),
    tables=(
        Table(
            title="Seconds, and times as fast as healpy",
            index={"nside": "nside", "pixels": "pixels"},
            values={
                f"{OURS} s": "g3reduce, s",
                f"{ARRAYS} s": "`write_map`, s",
                f"{FRAME} s": "from the frame, s",
                f"against {ARRAYS}": "times as fast as `write_map`",
                f"against {FRAME}": "... as from the frame",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        panel="nside",
        panel_title="nside {}",
        label="{pixels} pixels",
        series={
            f"{OURS} s": "g3reduce",
            f"{ARRAYS} s": "healpy's write_map",
            f"{FRAME} s": "from the frame",
        },
        unit="seconds",
    ),
)
