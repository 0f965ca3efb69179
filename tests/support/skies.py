"""Small real map frames and files for tests, and how to compare coadds.

All values are small integers (as floats), so that sums are exact in whatever order, and two
coadds are the same only if they are the same to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from spt3g import core, maps

from g3reduce.coadd.adding import Pending, add_pixels
from g3reduce.maps import mapfile, mapframe

KINDS = (
    "flat sparse",
    "flat dense",
    "healpix dense",
    "healpix ring",
    "healpix ring shifted",
    "healpix indexed",
    "healpix nested dense",
    "healpix nested indexed",
)
WEIGHTINGS = ("polarized", "unpolarized", "unweighted", "no weights", "hits")

MAP_KEYS = ("T", "Q", "U", "Wpol", "Wunpol", "H")
N_X, N_Y, NSIDE = 30, 20, 8
N_FOOTPRINTS = 4  # after so many seeds in a row the first footprint comes again

_PLANES = {
    "polarized": ("T", "Q", "U", "Wpol"),
    "unpolarized": ("T", "Wunpol"),
    "unweighted": ("T", "Q", "U", "Wpol"),
    "no weights": ("T", "Q", "U"),
    "hits": ("T", "Wunpol", "H"),
}
_COMPONENTS = {"Wpol": ("TT", "TQ", "TU", "QQ", "QU", "UU"), "Wunpol": ("TT",)}


def map_frame(kind: str, weighting: str, seed: int, map_id: str = "150GHz") -> core.G3Frame:
    """A Map frame. Frames of neighbouring seeds have footprints that overlap partly."""
    rng = np.random.default_rng(seed)
    footprint = _footprint(kind, (seed + seed // 10) % N_FOOTPRINTS)
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = map_id
    for key in _PLANES[weighting]:
        if key in _COMPONENTS:
            weights = maps.G3SkyMapWeights()
            for component in _COMPONENTS[key]:
                blank = _blank(kind, component, weighted=False, polarized=key == "Wpol")
                low = 1 if component in ("TT", "QQ", "UU") else -3
                setattr(weights, component, _filled(blank, kind, footprint, rng, low, 9))
            frame[key] = weights
        elif key == "H":
            blank = _blank(kind, "none", weighted=False, polarized=False)
            frame[key] = _filled(blank, kind, footprint, rng, 1, 20)
        else:
            blank = _blank(kind, key, weighting != "unweighted", "Q" in _PLANES[weighting])
            frame[key] = _filled(blank, kind, footprint, rng, -50, 50)
    return frame


def write_files(
    folder: str | os.PathLike[str],
    n_files: int,
    kind: str,
    weighting: str,
    seed: int = 0,
    map_ids: tuple[str, ...] = ("90GHz", "150GHz"),
    start: int = 0,
) -> list[str]:
    """Write files ``obs_<number>.g3``, numbered from `start`: an Observation frame, then one Map
    frame for each Id. Another `start` with the same `seed` continues the same series."""
    names = []
    for number in range(start, start + n_files):
        name = os.path.join(folder, f"obs_{number:03d}.g3")
        observation = core.G3Frame(core.G3FrameType.Observation)
        observation["SourceName"] = "field"
        observation["ObservationID"] = 1000 + number
        writer = core.G3Writer(name)
        writer(observation)
        for i, map_id in enumerate(map_ids):
            writer(map_frame(kind, weighting, (1000 * seed + number) * 10 + i, map_id))
        writer(core.G3Frame(core.G3FrameType.EndProcessing))
        del writer
        names.append(name)
    return names


def write_frames(folder: str | os.PathLike[str], frames: Sequence[core.G3Frame]) -> list[str]:
    """Write each frame into a file of its own, ``obs<number>.g3``."""
    files = [os.path.join(folder, f"obs{number}.g3") for number in range(len(frames))]
    for file, frame in zip(files, frames, strict=True):
        with core.G3Writer(file) as writer:
            writer(frame)
    return files


def write_file(file: str | os.PathLike[str], frames: Sequence[core.G3Frame]) -> str:
    """Write all frames into one file; return its name."""
    with core.G3Writer(str(file)) as writer:
        for frame in frames:
            writer(frame)
    return str(file)


def maps_by_plane(frame: core.G3Frame) -> dict[str, maps.G3SkyMap]:
    """The maps themselves: T, Q, U, H, and components of weights as Wpol.TT."""
    found = {}
    for key in MAP_KEYS:
        if key in frame and key in _COMPONENTS:
            for component in _COMPONENTS[key]:
                found[f"{key}.{component}"] = getattr(frame[key], component)
        elif key in frame:
            found[key] = frame[key]
    return found


def frame_of(map_id: str, planes: dict[str, maps.G3SkyMap]) -> core.G3Frame:
    """A Map frame with these maps, by their names as `maps_by_plane` has them."""
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = map_id
    for name, skymap in planes.items():
        key, _, component = name.partition(".")
        if component:
            weights = frame.pop(key, maps.G3SkyMapWeights())
            setattr(weights, component, skymap)
            frame[key] = weights
        else:
            frame[key] = skymap
    return frame


def planes(frame: core.G3Frame) -> dict[str, np.ndarray]:
    """The pixels of all maps, in dense copies (2-D for flat-sky maps)."""
    return {name: pixels(skymap) for name, skymap in maps_by_plane(frame).items()}


def pixels(skymap: maps.G3SkyMap) -> np.ndarray:
    """All pixels, without changing the map (np.asarray alone would make it dense)."""
    return np.array(skymap.clone(True))


def bits(values: np.ndarray) -> np.ndarray:
    """Floats as integers: by these, -0.0 is not 0.0, and a NaN equals itself."""
    return np.ascontiguousarray(values, np.float64).view(np.int64)


def storage(skymap: maps.G3SkyMap) -> str:
    """How spt3g stores a map."""
    if skymap.npix_allocated == 0:
        return "empty"
    if isinstance(skymap, maps.FlatSkyMap):
        return "sparse" if skymap.sparse else "dense"
    return "dense" if skymap.dense else "ring" if skymap.ringsparse else "indexed"


def assert_same_attributes(mine: maps.G3SkyMap, theirs: maps.G3SkyMap, name: str = "map") -> None:
    """Geometry, attributes and storage."""
    assert type(mine) is type(theirs), name
    assert mine.compatible(theirs), name
    attributes = ["units", "coord_ref", "weighted", "pol_type", "pol_conv"]
    attributes += ["flat_pol"] if isinstance(mine, maps.FlatSkyMap) else ["nested", "shift_ra"]
    for attribute in attributes:
        values = getattr(mine, attribute), getattr(theirs, attribute)
        assert values[0] == values[1], (name, attribute, values)
    overflows = mine.overflow, theirs.overflow
    assert bits(overflows[0]) == bits(overflows[1]), (name, "overflow", overflows)
    assert storage(mine) == storage(theirs), name


def assert_same_map(mine: maps.G3SkyMap, theirs: maps.G3SkyMap, name: str = "map") -> None:
    """Geometry, attributes, storage and the bits of all pixels."""
    assert_same_attributes(mine, theirs, name)
    np.testing.assert_array_equal(bits(pixels(mine)), bits(pixels(theirs)), err_msg=name)


def keys_but_ledger(frame: core.G3Frame) -> list[str]:
    """The keys of a coadd, without those that say where it is from, which spt3g's have not."""
    own = ("Ledger", "LeftOut", "Split")
    return sorted(key for key in frame.keys() if not key.startswith(own))  # noqa: SIM118


def assert_same_coadd(mine: core.G3Frame, theirs: core.G3Frame) -> None:
    """Two coadd frames say the same, to the bit."""
    assert mine.type == theirs.type == core.G3FrameType.Map
    assert keys_but_ledger(mine) == keys_but_ledger(theirs)
    assert mine.get("Id", None) == theirs.get("Id", None)
    for key in ("InputMapIds", "InputFiles"):
        assert list(mine.get(key, ())) == list(theirs.get(key, ())), key
    expected = maps_by_plane(theirs)
    for name, skymap in maps_by_plane(mine).items():
        assert_same_map(skymap, expected[name], name)


def _blank(kind: str, pol_type: str, weighted: bool, polarized: bool) -> maps.G3SkyMap:
    stokes = pol_type in ("T", "Q", "U")
    attributes = {
        "weighted": weighted,
        "coord_ref": maps.MapCoordReference.Equatorial,
        "units": core.G3TimestreamUnits.Tcmb if stokes else core.G3TimestreamUnits.names["None"],
        "pol_type": getattr(maps.MapPolType, pol_type),
        "pol_conv": maps.MapPolConv.IAU if polarized else maps.MapPolConv.none,
    }
    if kind.startswith("flat"):
        return maps.FlatSkyMap(
            x_len=N_X,
            y_len=N_Y,
            res=30 * core.G3Units.arcmin,
            proj=maps.MapProjection.Proj5,
            alpha_center=10 * core.G3Units.deg,
            delta_center=-50 * core.G3Units.deg,
            **attributes,
        )
    return maps.HealpixSkyMap(
        nside=NSIDE, nested="nested" in kind, shift_ra="shifted" in kind, **attributes
    )


def _footprint(kind: str, number: int) -> np.ndarray:
    """Pixels of one of the footprints. That of shifted maps lies on both sides of RA 0."""
    if kind.startswith("flat"):
        x, y = np.meshgrid(np.arange(4 * number, 4 * number + 14), np.arange(2 + number, 11))
        return np.sort((y * N_X + x).ravel())
    center = (-25 if "shifted" in kind else 120) + 20 * number
    blank = _blank(kind, "T", weighted=True, polarized=False)
    degree = core.G3Units.deg
    inside = blank.query_disc(center % 360 * degree, -30 * degree, 32 * degree)
    return np.sort(np.asarray(inside))


def _filled(
    skymap: maps.G3SkyMap,
    kind: str,
    footprint: np.ndarray,
    rng: np.random.Generator,
    low: int,
    high: int,
) -> maps.G3SkyMap:
    """Put integers on most pixels of a footprint, in the storage of the kind."""
    values = rng.integers(low, high, len(footprint)).astype(float)
    values[rng.random(len(values)) < 0.1] = 0  # gaps
    for pixel, value in zip(footprint.tolist(), values.tolist(), strict=True):
        if value:
            skymap[pixel] = value
    if kind.startswith("flat"):
        skymap.sparse = kind == "flat sparse"
    elif "dense" in kind:
        skymap.dense = True
    elif "ring" in kind:
        skymap.ringsparse = True
    else:
        skymap.indexedsparse = True
    return skymap


def read_frame(frame, where, **options):
    """The maps of a frame in memory, as a coadder reads them."""
    return mapframe.read(mapfile.planes_of(frame, where), where, **options)


def add_maps(total, read, sign=1):
    """Add maps that were read to a running sum, as a coadder does."""
    pending = Pending(None, read, [(total, sign)])
    pending.announce()
    add_pixels([pending])
