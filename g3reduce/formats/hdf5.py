"""HDF5 files of maps: their layout, and h5py, which may be missing.

A file has a group for each Id, and in it a dataset for each plane: ``150GHz/T``,
``150GHz/Wpol/TT``. It has all pixels of the map, in the order of the map, as G3 has them, to the
bit; chunks of submaps that were never hit are not stored. Attributes say the rest. What the frame
has beside maps is in the group ``entries``.
"""

from __future__ import annotations

from typing import Any

from spt3g import core, maps

from ..errors import UsageError
from ..spt3gtypes import SkyMap

FORMAT, VERSION, ENTRIES = "g3reduce maps", 1, "entries"

# The coordinate systems by the letters that headers have.
LETTERS = {"Equatorial": "C", "Galactic": "G", "Local": "L"}

# Attributes of planes that are names in spt3g, where they are found by these.
NAMED: dict[str, Any] = {
    "units": core.G3TimestreamUnits.names,
    "coord_ref": maps.MapCoordReference.names,
    "pol_type": maps.MapPolType.names,
    "pol_conv": maps.MapPolConv.names,
}
FLAT = ("alpha_center", "delta_center", "x_res", "y_res", "x_center", "y_center")


def h5py_or_remedy() -> Any:
    """The package h5py.

    Raises
    ------
    UsageError
        If it is not installed, with what to do.
    """
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"HDF5 files need the package h5py, which cannot be imported ({error}). Install it: "
            "pip install h5py."
        ) from error
    return h5py


def path_of(plane: str) -> str:
    """Where a plane is in its group: ``Wpol/TT``."""
    return plane.replace(".", "/")


def plane_of(path: str) -> str:
    """The plane that is there."""
    return path.replace("/", ".")


def shape_of(stub: SkyMap) -> tuple[int, ...]:
    """The shape of a dataset: (npix,), or (ny, nx) of flat maps."""
    return tuple(int(length) for length in stub.shape)


def chunks_of(stub: SkyMap, *, dense: bool) -> tuple[int, ...]:
    """The shape of its chunks: submaps of pixels that follow each other, short in sparse maps."""
    shape = shape_of(stub)
    if len(shape) == 2:
        return min(shape[0], max(1, _SUBMAP // shape[1])), shape[1]
    n_side = min(int(stub.nside), _N_SIDE_DENSE if dense else _N_SIDE)
    return (12 * n_side**2,)


# Of a patch in RING order, longer chunks would be mostly empty.
_SUBMAP, _N_SIDE_DENSE, _N_SIDE = 4096, 16, 4
