"""Reproducible coadds that keep their exact sums, and coadds of these."""

from __future__ import annotations

import logging

import anynumbers
import numpy as np
import pytest
import skies
from choices import ALL
from hypothesis import given, settings
from hypothesis import strategies as st
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, MismatchError, UsageError

FAMILIES = sorted(anynumbers.FAMILIES)


def coadded(frames, **options):
    coadder = g3reduce.MPIMapCoadder(reproducible=True, **options)
    for frame in frames:
        coadder.add(frame)
    return coadder.finish()


def frames_of(family, n_frames, weighting="hits", numbers=anynumbers.of_any_size):
    kinds = anynumbers.FAMILIES[family]
    return [
        anynumbers.map_frame(kinds[seed % len(kinds)], weighting, seed, "x", numbers)
        for seed in range(n_frames)
    ]


def assert_same_maps(mine, theirs):
    expected = skies.maps_by_plane(theirs)
    found = skies.maps_by_plane(mine)
    assert found.keys() == expected.keys()
    for name, skymap in found.items():
        skies.assert_same_map(skymap, expected[name], name)


@settings(max_examples=100 if ALL else 12)
@given(st.sampled_from(FAMILIES), st.data())
def test_coadds_of_coadds_of_coadds_are_the_direct_one(family, data):
    """In memory; with any grouping, and with signs."""
    frames = frames_of(family, data.draw(st.integers(2, 6)))
    bounded = data.draw(st.sampled_from([None, 1e3]))
    days = [[] for _ in range(data.draw(st.integers(1, 3)))]
    for frame in frames:
        data.draw(st.sampled_from(days)).append(frame)
    how = {"absmax": bounded, "keep_exact": True, "output_map_id": "x"}
    coadds = [coadded(day, **how).frame for day in days if day]
    week = coadded(coadds, **how).frame
    assert_same_maps(week, coadded(frames, absmax=bounded).frame)

    def signs(frame):
        return {"difference": -1}

    minus = coadded(coadds, absmax=bounded, assign=signs)["difference"]
    assert_same_maps(minus, coadded(frames, absmax=bounded, assign=signs)["difference"])


def test_without_exact_sums_it_is_told_once_that_rounded_maps_are_summed(caplog):
    frames = frames_of("flat", 6, numbers=anynumbers.of_moderate_size)
    coadds = [coadded(frames[:3]).frame, coadded(frames[3:]).frame]
    with caplog.at_level(logging.INFO, "g3reduce"):
        season = coadded(coadds).frame
    direct = coadded(frames).frame
    assert g3reduce.digest(season) != g3reduce.digest(direct)
    assert sum("without its exact sums" in record.message for record in caplog.records) == 1
    assert "SumState" not in season
    assert "ExactBytes" not in season


def test_plain_coadds_sum_the_maps_and_ignore_the_exact_sums():
    frames = [skies.map_frame("healpix ring", "polarized", seed) for seed in range(4)]
    halves = [coadded(part, keep_exact=True).frame for part in (frames[:2], frames[2:])]
    coadder = g3reduce.MPIMapCoadder()
    theirs = maps.CoaddMaps()
    for half in halves:
        coadder.add(half)
        theirs(half)
    coadd = coadder.finish().frame
    assert "SumState" not in coadd
    assert_same_maps(coadd, theirs.coadd_frame)


@pytest.mark.parametrize("kind", ["flat sparse", "healpix dense", "healpix indexed"])
def test_spt3g_reads_such_files_and_writes_them_again(tmp_path, kind, limits):
    for small_sum in (0, 2**20):
        limits(small_sum=small_sum)
        (tmp_path / str(small_sum)).mkdir()
        files = skies.write_files(tmp_path / str(small_sum), 3, kind, "hits", map_ids=("x",))
        how = {"reproducible": True, "keep_exact": True}
        day = str(tmp_path / f"day{small_sum}.g3")
        g3reduce.coadd_files(files[:2], day, keep_maps=False, **how)
        (frame,) = core.G3File(day)
        exact = [frame[key] for key in frame if key.startswith("Sum.")]
        assert frame["ExactBytes"] == 8 * sum(len(limbs) for limbs in exact)
        for name, plane in skies.planes(maps.coadd_map_files(files[:2])).items():
            np.testing.assert_array_equal(skies.bits(plane), skies.bits(skies.planes(frame)[name]))
        again = str(tmp_path / f"again{small_sum}.g3")
        with core.G3Writer(again) as writer:
            writer(frame)
        direct = g3reduce.coadd_files(files, reproducible=True).frame
        for name in (day, again):
            season = g3reduce.coadd_files([name, files[2]], **how).frame
            assert_same_maps(season, direct)


def test_the_other_convention_of_polarization_is_converted_in_exact_sums():
    frames = frames_of("flat", 3, "polarized", anynumbers.of_moderate_size)
    coadd = coadded(frames, keep_exact=True).frame
    converted = coadded([coadd], pol_conv="COSMO").frame
    assert_same_maps(converted, coadded(frames, pol_conv="COSMO").frame)


def test_hits_in_frames_of_their_own_stay_apart():
    frames = frames_of("flat", 2, numbers=anynumbers.of_moderate_size)
    apart = []
    for frame in frames:
        planes = skies.maps_by_plane(frame)
        apart.append(skies.frame_of("x", {"H": planes.pop("H")}))
        apart.append(skies.frame_of("x", planes))
    coadd = coadded(apart, keep_exact=True).frame
    season = coadded([coadd, *apart[:1], *apart[1:]], on_duplicate="sum").frame
    assert_same_maps(season, coadded([*apart, *apart], on_duplicate="sum").frame)


def test_skipped_pixels_are_counted_through_coadds():
    frames = frames_of("flat", 3)
    direct = coadded(frames, nonfinite="skip").frame
    for keep_exact in (True, False):
        how = {"nonfinite": "skip", "keep_exact": keep_exact}
        coadd = coadded(frames[:2], **how).frame
        season = coadded([coadd, frames[2]], **how).frame
        assert season["SkippedPixels"] == direct["SkippedPixels"] > 0
        if keep_exact:
            assert_same_maps(season, direct)


def test_exact_sums_that_cannot_be_used_as_asked_are_refused():
    frames = frames_of("flat", 2, "unweighted", anynumbers.of_moderate_size)
    coadd = coadded(frames, weighted=False, keep_exact=True).frame
    with pytest.raises(InputError, match="cannot be weighted"):
        coadded([coadd])
    coadd = coadded(frames_of("flat", 2), keep_exact=True).frame
    with pytest.raises(InputError, match="cannot be left out of exact sums"):
        coadded([coadd], nonfinite="skip")
    with pytest.raises(MismatchError, match="Give the same absmax"):
        coadded([coadd], absmax=7.0)


def test_maps_that_were_changed_beside_their_exact_sums_are_refused():
    coadd = coadded(frames_of("healpix", 2, numbers=anynumbers.of_moderate_size), keep_exact=True)
    frame = coadd.frame
    hits = frame.pop("H")
    hits[int(np.flatnonzero(np.asarray(hits))[0])] *= 1 + 2**-52
    frame["H"] = hits
    with pytest.raises(InputError, match="H is not what the exact sums"):
        coadded([frame])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"reproducible": False}, "reproducible=True only"),
        ({"reproducible": True, "result": "sharded"}, "choose another result"),
        ({"reproducible": True, "keep_exact": "yes"}, "keep_exact is 'yes'"),
    ],
)
def test_arguments_that_cannot_be(options, problem):
    with pytest.raises(UsageError, match=problem):
        g3reduce.MPIMapCoadder(**{"keep_exact": True} | options)


@pytest.mark.ranks(1, 2, 3)
def test_days_weeks_and_seasons_on_any_number_of_ranks(comm, shared_folder, on_first):
    files = on_first(lambda: anynumbers.write_files(shared_folder, 7, "healpix", "hits"))
    how = {"mpicomm": comm, "reproducible": True, "collate": True, "output_map_id": ""}
    direct = g3reduce.coadd_files(files, strategy="gather", **how)
    days = []
    for number, part in enumerate((files[:1], files[1:3], files[3:6])):
        days.append(f"{shared_folder}/day{number}.g3")
        g3reduce.coadd_files(part, days[-1], keep_exact=True, keep_maps=False, **how)
    week = f"{shared_folder}/week.g3"
    g3reduce.coadd_files(days, week, keep_exact=True, keep_maps=False, **how)
    season = g3reduce.coadd_files([files[6], week], **how)
    coadder = g3reduce.MPIMapCoadder(
        comm, reproducible=True, collate=True, output_map_id="", drop_input_frames=True
    )
    pipe = core.G3Pipeline()  # by frames that spt3g makes
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[[files[6], week]])
    pipe.Add(coadder)
    pipe.Run()
    if comm.rank == 0:
        for coadds in (season, coadder.result):
            assert list(coadds) == list(direct)
            for name, frame in direct.items():
                assert_same_maps(coadds[name], frame)
