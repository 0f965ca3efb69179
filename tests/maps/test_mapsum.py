"""The running sum of map frames, against spt3g's own addition of maps."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapsums import STORAGES, added, assert_same_pixels, by_spt3g, emptied, summed, with_overflow
from skies import (
    KINDS,
    WEIGHTINGS,
    add_maps,
    assert_same_coadd,
    bits,
    frame_of,
    map_frame,
    maps_by_plane,
    pixels,
    planes,
    read_frame,
    storage,
)
from spt3g import core, maps

from g3reduce import MismatchError
from g3reduce.maps import mapframe
from g3reduce.maps.mapsum import MapSum
from g3reduce.maps.numbering import submap_length

pytestmark = pytest.mark.usefixtures("compiled_kernels")  # both with G3REDUCE_TEST_ALL=1


def scaled(frame, rng):
    """The maps of a frame with any numbers, not only integers, in the same storage."""
    scaled = {name: skymap.clone(True) for name, skymap in maps_by_plane(frame).items()}
    for skymap in scaled.values():
        skymap *= rng.normal() * 10.0 ** rng.integers(-20, 20)
    return frame_of(frame["Id"], scaled)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_is_that_of_spt3g(kind, weighting):
    frames = [map_frame(kind, weighting, seed) for seed in range(4)]
    assert_same_coadd(summed(frames), by_spt3g(frames))


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_same_order_the_sum_of_any_numbers_is_the_same_to_the_bit(kind):
    rng = np.random.default_rng(5)
    frames = [scaled(map_frame(kind, "polarized", seed), rng) for seed in range(5)]
    assert_same_coadd(summed(frames), by_spt3g(frames))


def test_infinities_and_nan_are_summed_as_numbers_are():
    frames = [map_frame("healpix ring", "hits", seed) for seed in range(2)]
    first, second = (np.flatnonzero(planes(frame)["H"])[0] for frame in frames)
    for frame, special in zip(frames, ((np.inf, np.nan), (-np.inf, 3.0)), strict=True):
        hits = frame.pop("H")
        hits[int(first)], hits[int(second)] = special
        frame["H"] = hits
    mine, theirs = (planes(frame)["H"] for frame in (summed(frames), by_spt3g(frames)))
    assert np.isnan(mine).sum() == 2
    np.testing.assert_array_equal(mine, theirs)


MIXTURES = [
    mixture
    for kinds in STORAGES.values()
    for size in range(2, len(kinds) + 1)
    for mixture in itertools.permutations(kinds, size)
]
FULLNESS = ("empty", "indexed", "sparse", "ring", "dense")


@pytest.mark.parametrize("mixture", MIXTURES, ids=" + ".join)
def test_a_mixture_is_summed_in_any_order_and_stored_like_the_fullest(mixture):
    last = mixture[-1] if mixture[-1] != "empty" else mixture[0]
    frames = [
        emptied(map_frame(last, "polarized", seed))
        if kind == "empty"
        else map_frame(kind, "polarized", seed)
        for seed, kind in enumerate(mixture)
    ]
    mine = summed(frames)
    assert_same_pixels(mine, by_spt3g(frames))
    for name, skymap in maps_by_plane(mine).items():
        stored = {storage(maps_by_plane(frame)[name]) for frame in frames}
        assert storage(skymap) == max(stored, key=FULLNESS.index)


def test_ring_storage_is_shifted_if_that_of_any_input_is():
    plain, shifted = (
        map_frame(kind, "hits", 1) for kind in ("healpix ring", "healpix ring shifted")
    )
    for frames in itertools.permutations([plain, shifted]):
        total = summed(frames)
        assert total["T"].shift_ra
        assert_same_pixels(total, by_spt3g(frames))


def test_sums_that_began_with_the_same_frame_do_not_change_each_other():
    """As with splits, where a frame that was read once goes into several coadds."""
    plain, shifted = (
        read_frame(map_frame(kind, "hits", 1), kind)
        for kind in ("healpix ring", "healpix ring shifted")
    )
    alone, both = MapSum.of(plain), MapSum.of(plain)
    for total in (alone, both):
        add_maps(total, plain)
    add_maps(both, shifted)
    assert both.to_maps()["T"].shift_ra
    assert not alone.to_maps()["T"].shift_ra


def test_sums_that_are_numbered_anew_give_their_memory_back():
    total = added([map_frame("flat sparse", "hits", 0)])
    before = weakref.ref(total.blocks)
    add_maps(total, read_frame(map_frame("flat dense", "hits", 1), "another"))
    assert before() is None


def test_planes_of_one_frame_may_be_stored_in_different_ways():
    frames = []
    for seed in range(3):
        frame = map_frame("flat sparse", "polarized", seed)
        dense = frame.pop("TQU"[seed])
        dense.sparse = False
        frame["TQU"[seed]] = dense
        frames.append(frame)
    mine = summed(frames)
    assert_same_pixels(mine, by_spt3g(frames))
    stored = {name: storage(skymap) for name, skymap in maps_by_plane(mine).items()}
    assert {name for name, how in stored.items() if how == "dense"} == {"T", "Q", "U"}


def test_a_sparse_map_stays_sparse():
    """A patch in a large map holds few submaps, and the sum spells out no more than spt3g's."""
    skymap = maps.HealpixSkyMap(nside=256, weighted=True)
    for pixel in range(300_000, 300_500):
        skymap[pixel] = 1.0
    skymap.ringsparse = True
    frame = frame_of("patch", {"T": skymap})
    total = added([frame, frame])
    assert total.blocks.nbytes < skymap.size * 8 / 50
    result = total.to_maps()["T"]
    assert storage(result) == "ring"
    assert result.npix_allocated <= skymap.npix_allocated
    assert bits(pixels(result)).tolist() == bits(2 * pixels(skymap)).tolist()


@given(st.integers(1, 12 * 8192**2))
def test_submaps_are_a_power_of_two_between_64_and_256(npix):
    length = submap_length(npix)
    assert 64 <= length <= 256
    assert length & (length - 1) == 0


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_sign_goes_to_stokes_maps_and_weights_and_hits_are_added(kind, weighting):
    frames = [map_frame(kind, weighting, seed) for seed in range(3)]
    mine = planes(summed(frames, signs=(-1, 1, -1)))
    inputs = [planes(frame) for frame in frames]
    for name, values in mine.items():
        sign = -1 if name in ("T", "Q", "U") else 1
        expected = sign * inputs[0][name] + inputs[1][name] + sign * inputs[2][name] + 0.0
        assert bits(values).tolist() == bits(expected).tolist(), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_fell_outside_of_the_maps_is_summed_with_the_same_signs(kind):
    frames = [with_overflow(map_frame(kind, "hits", seed), 2.0**seed) for seed in range(3)]
    total = summed(frames, signs=(1, -1, 1))
    assert (total["T"].overflow, total["H"].overflow) == (1 - 2 + 4, 70)


@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring"])
def test_empty_maps_sum_to_an_empty_map_that_keeps_its_overflow(kind):
    frame = with_overflow(emptied(map_frame(kind, "hits", 0)), 3.0)
    total = summed([frame, frame])
    assert storage(total["T"]) == "empty"
    assert total["T"].compatible(frame["T"])
    assert total["T"].overflow == 6


def state(frame):
    """The frame in bytes, and the storage of its maps."""
    return frame.__getstate__()[1], {n: storage(m) for n, m in maps_by_plane(frame).items()}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_that_are_added_do_not_change_and_are_not_held(kind):
    frames = [map_frame(kind, "polarized", seed) for seed in range(3)]
    before = [state(frame) for frame in frames]
    total = added(frames)
    assert [state(frame) for frame in frames] == before
    expected = by_spt3g(frames)
    for change in (frames[0].pop("T"), frames[1].pop("U"), *total.to_maps().values()):
        change *= 3.0  # neither inputs nor results are what the sum is kept in
    assert_same_coadd(mapframe.to_frame("sum", total.to_maps()), expected)


def test_what_does_not_agree_is_refused_before_anything_is_added():
    frames = [map_frame("flat sparse", "polarized", seed) for seed in range(3)]
    total = added(frames[:2])
    u = frames[2].pop("U")
    u.units = core.G3TimestreamUnits.Trj
    frames[2]["U"] = u
    with pytest.raises(MismatchError, match=r"wrong\.g3, frame 2 does not agree with .*Trj"):
        add_maps(total, read_frame(frames[2], "wrong.g3, frame 2"))
    assert_same_coadd(mapframe.to_frame("sum", total.to_maps()), by_spt3g(frames[:2]))


@pytest.mark.parametrize("in_maps", [False, True])
@pytest.mark.parametrize("conventions", [("IAU", "COSMO"), ("COSMO", "IAU")])
def test_the_attributes_of_a_sum_do_not_depend_on_which_map_came_first(conventions, in_maps):
    reads = []
    for seed, convention in enumerate(conventions):
        frame = map_frame("flat dense", "no weights", seed)
        skymap = frame.pop("T")  # which is the same in both conventions
        skymap.pol_conv = maps.MapPolConv.names[convention]
        skymap.flat_pol = convention == "IAU"
        frame["T"] = skymap
        reads.append(read_frame(frame, "it", weighted=False))
    total = MapSum.of(reads[0], in_maps=in_maps)
    for read in reads:
        add_maps(total, read)
    found = total.to_maps()["T"]
    assert (found.pol_conv, found.flat_pol) == (maps.MapPolConv.names["none"], False)


@pytest.mark.parametrize("order", [("polarized", "no weights"), ("no weights", "polarized")])
def test_weights_in_only_some_frames_are_refused_unless_that_is_wanted(order):
    frames = [map_frame("healpix ring", w, i, f"frame {i}") for i, w in enumerate(order)]
    with pytest.raises(MismatchError) as caught:
        added(frames)
    having = order.index("polarized")
    assert str(caught.value).startswith(
        f"frame {having} has Wpol.QQ, and frame {1 - having} has not"
    )
    assert_same_coadd(summed(frames, require_weights=False), by_spt3g(frames))
