"""Nothing is proportional to the whole sky, unless the map is.

With ``G3REDUCE_TEST_ALL=1`` in the environment also the deepest maps that spt3g holds in 4 GB, and
maps of few pixels on runs that go over the whole sky.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from choices import ALL
from deepmaps import sky, values
from patience import HANGS_S
from spt3g import core

from g3reduce import MPIMapCoadder
from g3reduce.arrays import SUM
from g3reduce.arrays.blocks import Blocks, distinct
from g3reduce.choices import Result, choices_of
from g3reduce.g3files.lines import Rings
from g3reduce.maps.framekind import kind_of
from g3reduce.mpi.communicators import private
from g3reduce.strategies import reduce, registry
from g3reduce.strategies.nodes import DIRECT_MEMORY

SKIES = [("indexed", 2**17, 1.5)]
if ALL:
    SKIES += [
        ("indexed nested", 2**17, 1.5),
        ("ring", 2**17, 1.5),
        ("flat", 2**17, 1.5),
        ("indexed", 2**20, 7),
    ]


@pytest.mark.parametrize(("kind", "nside", "gib"), SKIES)
def test_few_pixels_on_a_deep_sky_take_little_memory(tmp_path, kind, nside, gib):
    """In so much memory, in GiB, as spt3g's own objects need for a few of such maps."""
    script = Path(__file__).parents[1] / "support" / "deepmaps.py"
    command = [sys.executable, str(script), str(tmp_path), str(nside), str(gib), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("nside", [1, 2, 3, 8, 64])
def test_rings_are_where_they_are_counted_to_be(nside, shifted):
    rings = Rings(nside, shifted)
    ring = np.arange(4 * nside)
    lengths = [4 * min(r, 4 * nside - r, nside) for r in ring]
    begins = np.cumsum(lengths) - lengths
    assert rings.lengths(0, 4 * nside).tolist() == lengths
    assert rings.lengths(2, 5).tolist() == lengths[2:7]
    assert rings.begins(0, 4 * nside + 1).tolist() == [*begins, 12 * nside**2]
    lines, places = rings.locate(np.arange(12 * nside**2))
    assert lines.tolist() == np.repeat(ring, lengths).tolist()
    half = (np.array(lengths) // 2)[lines] if shifted else 0
    expected = (np.arange(12 * nside**2) - begins[lines] + half) % np.array(lengths)[lines]
    assert places.tolist() == expected.tolist()


def test_rings_of_the_deepest_sky():
    nside = 2**29
    rng = np.random.default_rng(0)
    some = [1, 2, nside - 1, nside, nside + 1, 2 * nside, 3 * nside, 3 * nside + 1, 4 * nside - 1]
    for ring in [*some, *rng.integers(1, 4 * nside, 200).tolist()]:
        length = 4 * min(ring, 4 * nside - ring, nside)
        begin = 2 * ring * (ring - 1)
        if ring > nside:
            begin = 2 * nside * (nside - 1) + 4 * nside * (ring - nside)
        if ring > 3 * nside:
            begin = 12 * nside**2 - 2 * (4 * nside - ring) * (4 * nside - ring + 1)
        rings = Rings(nside, False)
        assert rings.begins(ring, ring + 1).tolist() == [begin]
        lines, places = rings.locate(np.array([begin, begin + length - 1]))
        assert (lines.tolist(), places.tolist()) == ([ring, ring], [0, length - 1])


@pytest.mark.parametrize("nside", [2**4, 2**14])
def test_what_maps_of_a_deep_sky_say_is_not_kept(nside):
    """Empty maps of it are large, and those of a pipeline never come again."""
    skymap = sky(nside, "indexed")
    before = sys.getrefcount(skymap)
    kind = kind_of({"T": skymap}, "a frame", weighted=True, pol_conv=None)
    assert kind.stubs["T"] is skymap
    del kind
    assert (sys.getrefcount(skymap) > before) == (nside == 2**4)


@pytest.mark.parametrize("n_rows", [300, 2**17, 2**60])
def test_blocks_know_few_rows_of_many(n_rows):
    rng = np.random.default_rng(1)
    blocks = Blocks(n_rows, 2, {"T": "f8"})
    held = set()
    assert blocks.locate(np.array([0, n_rows - 1])).tolist() == [-1, -1]
    for _ in range(5):
        rows = rng.integers(0, n_rows, 20)
        blocks.insert(rows)
        held |= set(rows.tolist())
        assert blocks.rows.tolist() == sorted(held)
        asked = np.array([*rows, *rng.integers(0, n_rows, 20), 0, n_rows - 1])
        where = {row: place for place, row in enumerate(sorted(held))}
        assert blocks.locate(asked).tolist() == [where.get(row, -1) for row in asked.tolist()]
    assert distinct(asked, n_rows).tolist() == sorted(set(asked.tolist()))


@pytest.mark.ranks(3)
@pytest.mark.parametrize("direct", ["0", "1"])
def test_ranks_join_few_rows_of_many(comm, monkeypatch, direct):
    """By each strategy, to each place, as they join rows of which each could have a bit."""
    monkeypatch.setenv(DIRECT_MEMORY, direct)
    whole = comm.Dup()  # it finds its nodes by itself
    mine = private(whole)
    for result in choices_of(Result):
        for strategy in registry.names(result):
            sums = {}
            for n_rows in (1000, 2**55):
                # The same rows, but for how far they are from each other.
                rows = np.unique(np.random.default_rng(comm.rank).integers(0, 1000, 50))
                blocks = Blocks(n_rows, 4, {"T": "f8"})
                blocks.insert(rows * (n_rows // 1000))
                blocks.planes["T"][:] = rows[:, None] + comm.rank
                joined, _ = reduce(mine, blocks, SUM, strategy, result=result, root=1)
                if joined is not None:
                    rows, planes = joined.rows // (n_rows // 1000), joined.planes["T"]
                    sums[n_rows] = rows.tolist(), planes.tolist()
            assert not sums or sums[1000] == sums[2**55]
            assert any(comm.allgather(len(sums)))
    whole.Free()


@pytest.mark.ranks(2)
@pytest.mark.parametrize("options", [{}, {"reproducible": True}, {"result": "sharded"}])
def test_ranks_coadd_a_deep_sky(comm, options):
    nside = 2**15
    coadder = MPIMapCoadder(comm, ignore_missing_weights=True, **options)
    skymap = sky(nside, "indexed")
    pixels = [7, 12 * nside**2 - 1, 1000 * nside * (1 + comm.rank)]
    for pixel in pixels:
        skymap[pixel] = 1.5 + comm.rank
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"], frame["T"] = "150GHz", skymap
    coadder.add(frame)
    coadder.finish()
    expected = {7: 4, 12 * nside**2 - 1: 4, 1000 * nside: 1.5, 2000 * nside: 2.5}
    if options.get("result") == "sharded":
        shard = coadder.result.shard
        hit = shard.planes["T"] != 0
        mine = dict(zip(shard.pixels[hit].tolist(), shard.planes["T"][hit].tolist(), strict=True))
        assert {k: v for part in comm.allgather(mine) for k, v in part.items()} == expected
    elif comm.rank == 0:
        assert dict(values(coadder.coadd_frame["T"])) == expected
