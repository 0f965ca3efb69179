"""Small pictures of coadds, which notebooks show above their table.

They are quick whatever the size of a map: of large ones some hundred thousand pixels are looked at.
"""

from __future__ import annotations

import base64
import io
import math
import sys
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from ..errors import G3ReduceError, UsageError
from ..spt3gtypes import Frame, SkyMap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..coadd.coadds import Coadds
    from .panels import Panel

SHOWN = 6  # coadds that are drawn
SIDE = 160  # pixels of a picture on the screen
_SAMPLES = 400_000  # pixels of a map that are looked at, about
_CELLS = 30_000  # into which they are averaged
_MOST_SPARSE = 15_000_000  # pixels of a sparse map: the list of them is copied

_PLANES = ("T", "Q", "U", "TT", "H")


def register() -> None:
    """Let the running IPython show coadds with their pictures. Imports nothing."""
    shell = sys.modules["IPython"].get_ipython()
    if shell is not None:  # none is made in a process that has only imported it
        html = shell.display_formatter.formatters["text/html"]
        html.for_type_by_name("g3reduce.coadd.coadds", "Coadds", html_of)


def html_of(coadds: Coadds) -> str:
    """Pictures of the first coadds, above the table that they show without any.

    Parameters
    ----------
    coadds : Coadds

    Returns
    -------
    str
        HTML that is complete in itself.
    """
    table = coadds._repr_html_()
    if not coadds.here or coadds.shards:
        return table
    pictures = pictures_of(coadds)
    return f'<div style="display: flex; flex-wrap: wrap">{pictures}</div>\n{table}'


def pictures_of(frames: Mapping[str, Frame]) -> str:
    """Figures in HTML; of what cannot be drawn there is none."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return ""
    found = []
    for name in list(frames)[:SHOWN]:
        try:
            panel, aspect = thumbnail_of(frames[name])
        except G3ReduceError:  # such as a map without any pixel
            continue
        height, width = panel.values.shape
        scale = SIDE / max(width, height * aspect)
        size = f"width: {width * scale:.0f}px; height: {height * aspect * scale:.0f}px"
        source = f"data:image/png;base64,{base64.b64encode(_png_of(panel)).decode()}"
        low, high = panel.limits
        text = escape(f"{name}: {panel.name}")
        found.append(
            f'<figure style="margin: 0 1em 0.5em 0"><img style="{size}" src="{source}" '
            f'alt="{text}, colours from {low:.3g} to {high:.3g}"><figcaption>{text}</figcaption>'
            "</figure>"
        )
    return "".join(found)


def thumbnail_of(frame: Frame) -> tuple[Panel, float]:
    """The first of T, Q, U, weights and hits that a frame has, in few pixels.

    T is divided by its weight TT. (To divide by the whole matrix of polarised weights takes all
    planes; the picture would look the same.)

    Returns
    -------
    panel : Panel
    aspect : float
        The height of a pixel over its width.

    Raises
    ------
    InputError
        If a map cannot be read.
    UsageError
        If there is no map, no pixel was observed, or the map is sparse and too large to be quick.
    """
    from spt3g import core, maps

    from ..maps.mapframe import maps_of
    from .panels import panels_of
    from .patch import observed_patch

    planes = {key.rpartition(".")[2]: one for key, one in maps_of(frame, "The frame").items()}
    name = next((name for name in _PLANES if name in planes), None)
    if name is None:
        raise UsageError("There is no map to be drawn.")
    few = _few_cells({key: planes[key] for key in (name, "TT") if key in planes})
    small = core.G3Frame(core.G3FrameType.Map)
    if "TT" in few:
        weights = maps.G3SkyMapWeights()
        weights.TT = few["TT"]
        small["Wunpol"] = weights
    if name != "TT":
        small[name] = few[name]
    patch = observed_patch(small, max_side=SIDE)
    (panel,) = panels_of(patch, [name])
    return panel, float(patch.view.aspect)


def _few_cells(planes: Mapping[str, SkyMap]) -> dict[str, SkyMap]:
    """Maps of few pixels that look the same: sums with weights, or else means.

    A sample of the pixels does, since each cell of the picture has many of them.
    """
    import numpy as np

    pixels, values = _sampled(planes)
    cell_of, cells = _cells_of(next(iter(planes.values())), pixels)
    n_in = np.bincount(cell_of)
    weight = values.get("TT")
    found = {}
    for name, plane in planes.items():
        one = values[name]
        summed = False
        if weight is not None and name in ("T", "Q", "U"):
            one, summed = one if plane.weighted else one * weight, True
        found[name] = cells(np.bincount(cell_of, one) / n_in)
        found[name].units, found[name].weighted = plane.units, summed or plane.weighted
    return found


def _cells_of(
    plane: SkyMap, pixels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Callable[[NDArray[np.float64]], SkyMap]]:
    """In which cell each pixel is, and a function that makes a map of the values of all cells."""
    import numpy as np
    from spt3g import maps

    if isinstance(plane, maps.FlatSkyMap):
        y, x = np.divmod(pixels, plane.shape[1])
        y, x = y - y.min(), x - x.min()
        side = max(int(y.max()), int(x.max())) + 1
        scale = max(-(-side // SIDE), math.ceil(math.sqrt(plane.npix_nonzero / _CELLS)))
        shape = (int(y.max()) // scale + 1, int(x.max()) // scale + 1)
        place, cell_of = np.unique(y // scale * shape[1] + x // scale, return_inverse=True)

        def flat(values: NDArray[np.float64]) -> SkyMap:
            array = np.zeros(shape)
            array.reshape(-1)[place] = values
            return maps.FlatSkyMap(array, plane.y_res * scale, x_res=plane.x_res * scale)

        return cell_of, flat
    nside = plane.nside
    while nside > 1 and plane.npix_nonzero * (nside / plane.nside) ** 2 > _CELLS:
        nside //= 2
    about = {"nested": plane.nested, "coord_ref": plane.coord_ref}
    numbers = pixels
    if nside < plane.nside:
        grid = maps.HealpixSkyMap(nside, **about)
        numbers = np.asarray(grid.angles_to_pixels(*plane.pixels_to_angles(pixels))).astype(int)
    place, cell_of = np.unique(numbers, return_inverse=True)
    return cell_of, lambda values: maps.HealpixSkyMap(place, values, nside, **about)


def _sampled(
    planes: Mapping[str, SkyMap],
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Numbers of some pixels that were observed, and their values in all maps."""
    import numpy as np

    from ..g3files.archive import DENSE
    from ..maps.pixels import storage_of

    first = planes.get("TT", next(iter(planes.values())))
    if all(storage_of(plane) == DENSE for plane in planes.values()):
        step = _step(first.npix_nonzero)
        values = {name: np.asarray(one).reshape(-1)[::step] for name, one in planes.items()}
        pixels = step * np.arange(len(values[next(iter(values))]))
    else:
        if max(plane.npix_allocated for plane in planes.values()) > _MOST_SPARSE:
            raise UsageError("The map is sparse and too large to be drawn in a moment.")
        pixels, values = _of_sparse(planes)
    # Maps without weights are NaN where they were not observed.
    there = np.all([np.isfinite(one) for one in values.values()], axis=0)
    there &= values["TT" if "TT" in values else next(iter(values))] != 0
    pixels, step = pixels[there], _step(int(there.sum()))
    if not pixels.size:
        raise UsageError("No pixel of the map was observed, so there is nothing to plot.")
    return pixels[::step], {name: one[there][::step] for name, one in values.items()}


def _step(n_pixels: int) -> int:
    """Each how many-th pixel is taken; odd, so that it is not the same one of each row."""
    return int(n_pixels // _SAMPLES) | 1


def _of_sparse(
    planes: Mapping[str, SkyMap],
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """The pixels that are stored, and their values in all maps."""
    import numpy as np

    from ..maps.pixels import as_points, decode

    known: dict[Any, Any] = {}
    points = {name: as_points(decode(one), one.shape, known) for name, one in planes.items()}
    numbers = points["TT" if "TT" in points else next(iter(points))].pixels
    found = {}
    for name, (theirs, values) in points.items():
        if not len(theirs):
            values = np.zeros(len(numbers))
        elif theirs is not numbers and not np.array_equal(theirs, numbers):
            place = np.searchsorted(theirs, numbers).clip(max=len(theirs) - 1)
            values = np.where(theirs[place] == numbers, values[place], 0)
        found[name] = values
    shape = next(iter(planes.values())).shape
    if len(shape) == 2:  # numbered by columns
        x, y = np.divmod(numbers, shape[0])
        numbers = y * shape[1] + x
    return numbers, found


def _png_of(panel: Panel) -> bytes:
    """A panel without axes; what was not observed is grey."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.image import imsave

    low, high = panel.limits
    part = np.clip((panel.values - low) / (high - low), 0, 1)
    colours = colormaps[panel.colours](np.ma.masked_invalid(part), bytes=True)
    colours[np.isnan(part)] = (224, 224, 224, 255)
    picture = io.BytesIO()
    imsave(picture, colours[::-1], format="png")
    return picture.getvalue()
