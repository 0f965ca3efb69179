"""Sparse maps of few pixels on a very large sky, summed with little memory: run by tests.

``python deepmaps.py FOLDER NSIDE GIB KIND...`` writes files, coadds them, and compares with spt3g's
coadd.
"""

from __future__ import annotations

import resource
import sys

from skies import storage
from spt3g import core, maps

import g3reduce


def sky(nside, kind):
    """An empty map."""
    attributes = {"weighted": True, "units": core.G3TimestreamUnits.Tcmb}
    if kind == "flat":
        return maps.FlatSkyMap(nside, nside, core.G3Units.arcmin / nside, **attributes)
    skymap = maps.HealpixSkyMap(nside, nested="nested" in kind, **attributes)
    setattr(skymap, "ringsparse" if kind == "ring" else "indexedsparse", True)
    return skymap


def write(file, nside, kind, number):
    """A file with one map, and its weights, of pixels that differ from file to file in part."""
    skymap = sky(nside, kind)
    last = skymap.size - 1
    for pixel in (5, 6, skymap.size // 2 + 7, last - number, last - 2**11 * number - 2):
        skymap[pixel] = pixel % 13 + 1 + number
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "150GHz"
    frame["T"] = skymap
    frame["H"] = skymap
    with core.G3Writer(file) as writer:
        writer(frame)
    return file


def values(skymap):
    """Numbers and values of its pixels."""
    pixels, found = skymap.nonzero_pixels()
    return sorted(zip(list(pixels), list(found), strict=True))


def main(folder, nside, gib, *kinds):
    """These kinds, one after the other."""
    resource.setrlimit(resource.RLIMIT_AS, (int(gib * 2**30),) * 2)
    for kind in kinds:
        files = [write(f"{folder}/{kind}{number}.g3", nside, kind, number) for number in range(2)]
        theirs = maps.coadd_map_files(files)["T"]
        expected, stored = values(theirs), storage(theirs)
        del theirs
        output = f"{folder}/{kind} coadd.g3"
        for options in ({}, {"reproducible": True}):
            options["ignore_missing_weights"] = True
            mine = g3reduce.coadd_files(files, output, **options).frame
            assert values(mine["T"]) == values(mine["H"]) == expected
            assert storage(mine["T"]) == stored
            assert len(expected) == 7
            del mine
            (written,) = core.G3File(output)
            assert values(written["T"]) == expected
            digests = g3reduce.digest(written)
            assert digests["T"] == digests["H"]
            del written
        print(kind, digests["T"], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
