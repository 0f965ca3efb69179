"""Families of coadds of coadds, of which it is known what is in each."""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter

import numpy as np
from spt3g import core, maps

BANDS = ("90GHz", "150GHz")


def write(name: str, values: dict[str, float], observation: int | None = None) -> str:
    """Write a file of maps of one value each, by their Ids, perhaps of an observation."""
    with core.G3Writer(name) as writer:
        if observation is not None:
            frame = core.G3Frame(core.G3FrameType.Observation)
            frame["SourceName"], frame["ObservationID"] = "field", observation
            writer(frame)
        for map_id, value in values.items():
            writer(frame_of(map_id, value))
    return name


def frame_of(map_id: str, value: float) -> core.G3Frame:
    """A map of four pixels."""
    skymap = maps.FlatSkyMap(
        2, 2, core.G3Units.arcmin, weighted=True, units=core.G3TimestreamUnits.Tcmb
    )
    np.asarray(skymap)[:] = value
    weights = maps.G3SkyMapWeights(skymap)
    np.asarray(weights.TT)[:] = 1
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"], frame["T"], frame["Wunpol"] = map_id, skymap, weights
    return frame


def value_of(frame: core.G3Frame) -> float:
    """The one value that all pixels of T have."""
    values = np.unique(np.asarray(frame["T"]))
    assert len(values) == 1
    return float(values[0])


class Family:
    """Files in a folder, and what is in each: how often each (number of the file, band).

    Parameters
    ----------
    folder : str
    rng : random.Random
    n_originals, n_coadds : int
        Coadds are made of originals and of other coadds, without counting anything twice.
    relative : bool
        Whether coadds list relative names.
    observed : bool
        Whether coadds record observations, each by chance.
    by : callable
        What makes a coadd: ``g3reduce.coadd_files`` or spt3g's.
    """

    def __init__(self, folder, rng: random.Random, *, n_originals=5, n_coadds=5, relative, by):
        self.value: dict[tuple[int, str], float] = {}
        self.within: dict[str, Counter[tuple[int, str]]] = {}
        self.ids: dict[str, set[str]] = {}
        for number in range(n_originals):
            inside = {(number, band): float(4 ** (2 * number + i)) for i, band in enumerate(BANDS)}
            self.value |= inside
            name = write(
                os.path.join("" if relative else folder, f"obs{number}.g3"),
                {band: value for (_, band), value in inside.items()},
                observation=number,
            )
            self.within[name] = Counter(dict.fromkeys(inside, 1))
            self.ids[name] = set(BANDS)
        for number in range(n_coadds):
            inputs, inside = [], Counter()
            bands = rng.choice([BANDS[:1], BANDS[1:], BANDS])
            for name in rng.sample(list(self.within), len(self.within)):
                mine = self.taken(name, bands)
                if mine and not mine & inside and len(inputs) < 3 and rng.random() < 0.7:
                    inputs.append(name)
                    inside += mine
            if not inputs:
                continue
            name = os.path.join("" if relative else folder, f"coadd{number}.g3")
            # Coadds have the Id of what they were made of where that is one, as collating gives it.
            ids = [band for band in BANDS if any(inside_band == band for _, inside_band in inside)]
            present = set.union(*(self.ids[one] for one in inputs))
            self.ids[name] = {ids[0] if len(ids) == 1 else "both"}
            by(
                inputs,
                name,
                map_ids=sorted(present & {*bands, "both"}),
                output_map_id=ids[0] if len(ids) == 1 else "both",
                record_obs_id=rng.random() < 0.5,
            )
            self.within[name] = inside

    def taken(self, name: str, bands) -> Counter[tuple[int, str]]:
        """What of a file goes into a coadd of these bands; coadds of both bands always do."""
        inside = self.within[name]
        if not name.rpartition("/")[2].startswith("obs") and len({b for _, b in inside}) == 2:
            return inside
        return Counter({one: n for one, n in inside.items() if one[1] in bands})

    def said(self, name: str) -> list[set[tuple[int, str]]]:
        """What each frame of a file says that is in it: a coadd does not say what is of which."""
        inside = self.within[name]
        if name.rpartition("/")[2].startswith("obs"):
            return [{one} for one in inside]
        numbers, bands = zip(*inside, strict=True)
        return [set(itertools.product(numbers, bands))]

    def overlap(self, files) -> bool:
        """Whether what is said in these files overlaps."""
        said = [one for name in files for one in self.said(name)]
        return any(not a.isdisjoint(b) for a, b in itertools.combinations(said, 2))

    def sum_of(self, inside: Counter[tuple[int, str]]) -> float:
        return sum(self.value[one] * count for one, count in inside.items())
