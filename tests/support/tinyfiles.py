"""Tiny files of maps, what becomes of them when bits flip, and a process that may end by it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
from skies import bits, planes
from spt3g import core, maps

from g3reduce import G3ReduceError, coadd_files
from g3reduce.g3files.frames import walk
from g3reduce.g3files.source import MemoryBytes
from g3reduce.limits import LIMITS

KINDS = ("flat sparse", "flat dense", "ring", "shifted", "indexed", "dense", "nested")


def tiny_map(kind, factor):
    """A map of a few bytes."""
    if kind.startswith("flat"):
        skymap = maps.FlatSkyMap(x_len=3, y_len=4, res=1.0, weighted=True)
    else:
        shifted = kind == "shifted"
        skymap = maps.HealpixSkyMap(
            nside=1, weighted=True, shift_ra=shifted, nested=kind == "nested"
        )
    for pixel in (1, 2, 7):
        skymap[pixel] = factor * (pixel + 1.0)
    if kind.startswith("flat"):
        skymap.sparse = kind == "flat sparse"
    elif kind == "dense":
        skymap.dense = True
    elif kind in ("ring", "shifted"):
        skymap.ringsparse = True
    elif kind == "indexed":
        skymap.indexedsparse = True
    return skymap


def tiny_frame(kind, factor, weights=True):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "x"
    frame["T"] = tiny_map(kind, factor)
    if weights:
        weights = maps.G3SkyMapWeights()
        weights.TT = tiny_map(kind, 1.0)
        frame["Wunpol"] = weights
    return frame


def tiny_file(file, kind, weights=True):
    """One Observation frame and two Map frames."""
    with core.G3Writer(str(file)) as writer:
        observation = core.G3Frame(core.G3FrameType.Observation)
        observation["ObservationID"] = 5
        writer(observation)
        for factor in (1.0, 2.0):
            writer(tiny_frame(kind, factor, weights))
    return Path(file).read_bytes()


def is_same(mine, theirs):
    mine, theirs = planes(mine), planes(theirs)
    return mine.keys() == theirs.keys() and all(
        np.array_equal(bits(mine[name] + 0.0), bits(theirs[name] + 0.0)) for name in mine
    )


def offsets(data):
    """Where frames begin and end, and the places that the checksums cover or are."""
    covered, ends = set(), [0]
    for raw in walk(MemoryBytes(data)):
        ends.append(raw.end)
        for blob in raw.blobs:
            covered |= set(range(blob.offset, blob.end))
            covered |= set(range(blob.offset - 8 - len(blob.name), blob.offset - 8))
        covered |= set(range(raw.end - 4, raw.end))
    return ends, covered


def problem_of(file, data, bit, covered):
    """What is wrong with what becomes of a file of which a bit was flipped; empty if nothing."""
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    Path(file).write_bytes(flipped)
    try:
        mine = coadd_files(file).frame
    except G3ReduceError as error:
        return "" if file in str(error) else f"the file is not named in {error}"
    except Exception as error:
        return repr(error)
    if bit // 8 in covered:
        return "it was not noticed"
    # To spt3g, too, this must be a file, and the same one.
    return "" if is_same(mine, maps.coadd_map_files([file])) else "the result is another"


def look_at(kind, bits_of, folder, weights=True):
    """Flip bits of a small file, one at a time."""
    file = os.path.join(folder, "flipped.g3")
    data = tiny_file(file, kind, weights)
    _, covered = offsets(data)
    problems = [
        f"{kind}: bit {bit % 8} of byte {bit // 8} of {len(data)}: {problem}"
        for bit in bits_of(len(data), covered)
        if (problem := problem_of(file, data, bit, covered))
    ]
    assert not problems, "\n".join(problems)


def fuzz(kind, number, seed, folder):
    """Flip bits anywhere."""

    def some(size, covered):
        return np.random.default_rng(seed).choice(8 * size, number, replace=False).tolist()

    look_at(kind, some, folder)


def fuzz_headers(folder):
    """Flip each bit that no checksum covers."""

    def uncovered(size, covered):
        return [8 * byte + bit for byte in range(size) if byte not in covered for bit in range(8)]

    look_at("flat sparse", uncovered, folder, weights=False)


def limit_memory():
    """Let this process have no more than 512 MiB beside what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**29
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def tell(folder):
    """Print what becomes of each file of a folder: an error that names it, or what else."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        # What is written here is seen even if the process ends at the next file.
        print(f"{name}\t", end="", flush=True)
        ends = {_end_of(path, small_frame) for small_frame in (0, 2**17)}
        print(" or ".join(sorted(ends)), flush=True)


def _end_of(path, small_frame):
    """What becomes of a file if frames up to this size count as small."""
    LIMITS.small_frame = small_frame
    try:
        coadd_files(path)
    except G3ReduceError as error:
        return "named" if path in str(error) else f"not named: {error!r}"
    except BaseException as error:
        return repr(error)[:200].replace("\n", " ")
    return "no error"
