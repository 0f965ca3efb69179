"""Maps, weights and hits in files of their own, found by their names.

| who | the map | its weights | its hits |
|---|---|---|---|
| sotodlib | ``_wmap`` | ``_weights`` | ``_hits`` |
| TOAST | ``_map``, ``_noiseweighted_map`` | ``_invcov`` | ``_hits`` |
| pixell and others, g3reduce | ``_map``, or nothing | ``_div``, ``_ivar`` | ``_hits`` |
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

_MAPS = ("_noiseweighted_map", "_wmap", "_map", "")
WEIGHTS = ("_weights", "_invcov", "_div", "_ivar")
HITS = ("_hits",)
_ENDINGS = (".fits.gz", ".fits", ".fit.gz", ".fit")


def companion_of(file: str, suffixes: Iterable[str]) -> str | None:
    """The file beside a map that has its weights, or its hits.

    Parameters
    ----------
    file : str
        The file of the map.
    suffixes : iterable of str
        `WEIGHTS` or `HITS`.

    Returns
    -------
    str or None
        The first that exists; None if there is none.
    """
    stem, ending = _parted(file)
    base = _without(stem, _MAPS)
    names = (base + suffix + one for suffix in suffixes for one in (ending, *_ENDINGS))
    return next((name for name in names if name != file and os.path.isfile(name)), None)


def map_of(file: str) -> str | None:
    """The file of the map to which weights or hits belong, by their name.

    Returns
    -------
    str or None
        None if this is none of them, or there is no such map.
    """
    stem, ending = _parted(file)
    for suffix in (*WEIGHTS, *HITS):
        if stem.endswith(suffix):
            names = _names(stem.removesuffix(suffix), ending)
            return next((name for name in names if os.path.isfile(name)), None)
    return None


def without_companions(files: Iterable[str]) -> list[str]:
    """The same files without those that hold the weights or hits of another one among them."""
    files = list(files)
    there = set(files)
    return [file for file in files if not any(name in there for name in _maps_of(file))]


def is_weighted(file: str) -> bool:
    """Whether the name of a map says that it is multiplied by its weights."""
    return _parted(file)[0].endswith(("_wmap", "_noiseweighted_map"))


def stem_of(file: str) -> str:
    """What maps without an Id are called by: the name of the file, without what all have."""
    stem = _without(_parted(os.path.basename(file))[0], _MAPS)
    return stem or os.path.basename(file)


def _maps_of(file: str) -> Iterator[str]:
    stem, ending = _parted(file)
    for suffix in (*WEIGHTS, *HITS):
        if stem.endswith(suffix):
            yield from _names(stem.removesuffix(suffix), ending)


def _names(base: str, ending: str) -> Iterator[str]:
    return (base + suffix + one for suffix in _MAPS for one in (ending, *_ENDINGS))


def _parted(file: str) -> tuple[str, str]:
    ending = next((one for one in _ENDINGS if file.endswith(one)), "")
    return file.removesuffix(ending), ending


def _without(stem: str, suffixes: Iterable[str]) -> str:
    return stem.removesuffix(next(one for one in suffixes if stem.endswith(one)))
