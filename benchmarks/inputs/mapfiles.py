"""Files of map frames to coadd: T, Q, U and six weights, of four kinds and any size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("dense HEALPix", "ring-sparse HEALPix", "dense flat", "sparse flat")
# Which maps have the same runs of pixels: those of one frame (as observations have, whose edges
# differ from night to night), or one of the two extremes, all maps of all files, or no two.
SURVEY, SHARED, VARIED = "one for each file", "one for all", "never the same"
# All pixels of a dense map are there, so there is nothing that could differ between maps.
SPARSE = ("sparse flat", "ring-sparse HEALPix")
REALISTIC = (
    *((kind, SURVEY) for kind in SPARSE),
    *((kind, SHARED) for kind in KINDS if kind not in SPARSE),
)
EXTREME = tuple((kind, layout) for layout in (SHARED, VARIED) for kind in SPARSE)
CASES = REALISTIC + EXTREME

STOKES = ("T", "Q", "U")
WEIGHTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")


@dataclass(frozen=True)
class Size:
    """How large maps are.

    Attributes
    ----------
    nside_dense, nside_sparse : int
        Of HEALPix maps that are dense, or that are a disc.
    radius : float
        Of that disc, in degrees.
    dense, sparse : (int, int)
        Pixels in y and x of flat maps. Of sparse ones 28 % are observed.
    """

    nside_dense: int
    nside_sparse: int
    radius: float
    dense: tuple[int, int]
    sparse: tuple[int, int]


SIZES = {
    "tiny": Size(8, 32, 13, (20, 30), (40, 60)),  # some 10 kB a file: for tests
    "100 kB": Size(8, 128, 9.5, (33, 42), (60, 90)),  # a file; dense HEALPix 55
    "small": Size(64, 256, 13, (110, 165), (220, 330)),  # a MB a file; HEALPix 2 to 4
    "patch": Size(128, 512, 20.5, (250, 400), (485, 728)),  # 7 MB a file; dense HEALPix 14
    "medium": Size(256, 2048, 13, (800, 1200), (1500, 2250)),  # 45 to 70 MB a file
    "survey": Size(512, 2048, 20.5, (960, 1440), (1940, 2910)),  # 100 MB; dense HEALPix 226
    "large": Size(1024, 4096, 13, (1500, 2250), (3000, 4500)),  # 190 to 900 MB a file
}


def write_files(
    folder: Path, kind: str, layout: str, size: str, n_files: int, n_ids: int = 1
) -> list[str]:
    """Write files of one map frame each, of so many Ids in turn, and return their names.

    With the layout `SHARED` the files have the maps of the first one, because what the values of
    pixels are makes no difference to anybody's speed.
    """
    from spt3g import core

    folder.mkdir(parents=True, exist_ok=True)
    names = [str(folder / f"{number}.g3") for number in range(n_files)]
    frame = None
    for number, name in enumerate(names):
        if frame is None or layout != SHARED or n_ids > 1:
            frame = _frame(number, kind, layout, SIZES[size], f"{150 + number % n_ids}GHz")
        # By this the files differ: files of the same content are refused.
        frame.pop("Number", None)
        frame["Number"] = number
        with core.G3Writer(name) as writer:
            writer(frame)
    return names


def _frame(number: int, kind: str, layout: str, size: Size, map_id: str) -> Any:
    from spt3g import core, maps

    values, of_each_map = np.random.default_rng(number), np.random.default_rng([number, 1])
    make = _healpix if "HEALPix" in kind else _flat

    def skymap(weighted: bool, pol_type: str) -> Any:
        attributes = {
            "weighted": weighted,
            "pol_type": getattr(maps.MapPolType, pol_type),
            "pol_conv": maps.MapPolConv.IAU,
        }
        of_file = np.random.default_rng([0 if layout == SHARED else number, 2])
        ragged = of_each_map if layout == VARIED else of_file
        return make(kind, size, values, ragged, attributes)

    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = map_id
    for key in STOKES:
        frame[key] = skymap(True, key)
    weights = maps.G3SkyMapWeights()
    for key in WEIGHTS:
        component = skymap(False, key)
        setattr(weights, key, component * component if key == "TT" else component)  # positive
    frame["Wpol"] = weights
    return frame


def _healpix(
    kind: str,
    size: Size,
    rng: np.random.Generator,
    ragged: np.random.Generator,
    attributes: dict[str, Any],
) -> Any:
    from spt3g import core, maps

    if kind.startswith("dense"):
        dense = maps.HealpixSkyMap(size.nside_dense, **attributes)
        np.asarray(dense)[:] = rng.normal(size=dense.size)
        return dense
    empty = maps.HealpixSkyMap(size.nside_sparse, **attributes)
    degree = core.G3Units.deg
    pixels = np.sort(np.asarray(empty.query_disc(90 * degree, -50 * degree, size.radius * degree)))
    # A ring ends where the next pixel is not the neighbour.
    ends = np.flatnonzero(np.diff(pixels, append=-1) != 1) + 1
    starts = np.concatenate([[0], ends[:-1]])
    pixels = pixels[_cut_ends(starts, ends, ragged)]
    sparse = maps.HealpixSkyMap(
        pixels.astype(np.int64), rng.normal(size=len(pixels)), size.nside_sparse, **attributes
    )
    sparse.ringsparse = True
    return sparse


def _flat(
    kind: str,
    size: Size,
    rng: np.random.Generator,
    ragged: np.random.Generator,
    attributes: dict[str, Any],
) -> Any:
    from spt3g import core, maps

    n_y, n_x = size.dense if kind.startswith("dense") else size.sparse
    resolution = 75 * core.G3Units.deg / n_x
    flat = maps.FlatSkyMap(n_x, n_y, resolution, proj=maps.MapProjection.Proj5, **attributes)
    values = np.asarray(flat)
    if kind.startswith("dense"):
        values[:] = rng.normal(size=values.shape)
        return flat
    first_x, last_x = n_x * 4 // 15, n_x * 11 // 15
    first_y, last_y = n_y * 2 // 10, n_y * 8 // 10
    n_columns, length = last_x - first_x, last_y - first_y
    starts = np.arange(n_columns) * length
    observed = _cut_ends(starts, starts + length, ragged).reshape(n_columns, length).T
    values[first_y:last_y, first_x:last_x] = np.where(observed, rng.normal(size=observed.shape), 0)
    flat.sparse = True
    return flat


def _cut_ends(
    starts: NDArray[np.int64], ends: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which pixels stay if each run loses up to an eighth at each end, as scans that turn do."""
    at_most = (ends - starts) // 8 + 1
    begins = starts + rng.integers(0, at_most)
    stops = ends - rng.integers(0, at_most)
    change = np.zeros(int(ends[-1]) + 1, np.int64)
    np.add.at(change, begins, 1)
    np.add.at(change, stops, -1)
    kept: NDArray[np.bool_] = np.cumsum(change[:-1]) > 0
    return kept
