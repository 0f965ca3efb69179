"""Coadds that grow: files are added to one that is there, or subtracted from it."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import anynumbers
import numpy as np
import pytest
import skies
from choices import ALL, some_of
from hypothesis import given, settings
from hypothesis import strategies as st
from spt3g import core, maps

import g3reduce
from g3reduce import (
    DuplicateError,
    G3ReduceError,
    InputError,
    OutputError,
    Stopped,
    UsageError,
    coadd_files,
    digest,
)

EXACT = {"reproducible": True, "keep_exact": True}
COLLATE = {"collate": True, "output_map_id": ""}


@pytest.fixture
def season(tmp_path):
    return str(tmp_path / "season.g3")


def frames_in(file):
    return {frame["Id"]: frame for frame in core.G3File(str(file))}


def assert_same(file, others, **options):
    """The coadd in a file is that of these files, made at once: maps, Ids, files."""
    direct, found = coadd_files(others, **options), frames_in(file)
    assert sorted(found) == sorted(direct)
    for name, frame in found.items():
        assert digest(frame) == digest(direct[name])
        for key in ("InputFiles", "InputMapIds"):
            assert sorted(frame[key]) == sorted(direct[name][key])


@pytest.mark.parametrize(
    ("kind", "how"),
    some_of(
        skies.KINDS,
        [EXACT, {}],
        fewer=[("healpix ring shifted", {}), ("healpix dense", EXACT)],
    ),
)
def test_files_are_added_and_subtracted(survey, season, kind, how):
    """The values are integers, so that plain sums are exact, too."""
    files = survey(6, kind, "hits")
    coadd_files(files[:2], season, **how, **COLLATE)
    coadd_files(files[2:5], season, add_to=season, **COLLATE)
    assert_same(season, files[:5], **how, **COLLATE)
    coadd_files([], season, add_to=season, subtract=files[1:3], **COLLATE)
    assert_same(season, [files[0], *files[3:5]], **how, **COLLATE)
    coadd_files(files[5], season, add_to=season, subtract=files[0], **COLLATE)
    assert_same(season, files[3:], **how, **COLLATE)
    assert all(("SumState" in frame) == bool(how) for frame in frames_in(season).values())


@settings(max_examples=50 if ALL else 3)
@given(data=st.data())
def test_a_season_of_any_steps_is_that_of_the_files_that_are_left(tmp_path_factory, data):
    """Of any numbers, with the bits of the direct coadd."""
    folder = tmp_path_factory.mktemp("season")
    family = data.draw(st.sampled_from(sorted(anynumbers.FAMILIES)))
    files = anynumbers.write_files(folder, 5, family, "hits")
    season, inside, outside = f"{folder}/season.g3", files[:1], files[1:]
    coadd_files(inside, season, **EXACT)
    for _ in range(data.draw(st.integers(1, 4))):
        some = st.lists(st.sampled_from(outside), unique=True) if outside else st.just([])
        added = data.draw(some)
        more = st.lists(st.sampled_from(inside), unique=True, max_size=len(inside) - 1)
        removed = data.draw(more) if added or len(inside) > 1 else []
        if added or removed:
            coadd_files(added, season, add_to=season, subtract=removed)
        inside = [one for one in inside if one not in removed] + added
        outside = [one for one in outside if one not in added] + removed
    assert_same(season, inside, **EXACT)


def test_whole_days_are_subtracted_and_made_anew(survey, season, tmp_path):
    files = survey(6, "flat sparse", "polarized")
    days = [str(tmp_path / f"day{number}.g3") for number in range(3)]
    for number, day in enumerate(days):
        coadd_files(files[2 * number : 2 * number + 2], day, **EXACT, **COLLATE)
    coadd_files(days, season, **EXACT, **COLLATE)
    coadd_files([], season, add_to=season, subtract=days[1], **COLLATE)
    assert_same(season, files[:2] + files[4:], **EXACT, **COLLATE)
    coadd_files(files[2], season, add_to=season, **COLLATE)
    assert_same(season, files[:3] + files[4:], **EXACT, **COLLATE)


def test_a_coadd_of_spt3gs_grows(survey, season, tmp_path):
    files = survey(4, "healpix ring", "polarized", map_ids=("150GHz",))
    maps.coadd_map_files(files[:2], season)
    coadd_files(files[2], season, add_to=season)
    coadd_files(files[3], season, add_to=season, subtract=files[0])
    (frame,) = frames_in(season).values()
    assert list(frame["InputFiles"]) == files[1:]
    theirs = maps.coadd_map_files(files[1:])
    for name, plane in skies.planes(theirs).items():
        np.testing.assert_array_equal(skies.bits(skies.planes(frame)[name]), skies.bits(plane))


def test_the_result_may_go_elsewhere(survey, season, tmp_path):
    files = survey(3, "flat dense", "hits")
    coadd_files(files[:2], season)
    before, other = Path(season).read_bytes(), str(tmp_path / "other.g3")
    coadds = coadd_files(files[2], add_to=season)
    coadd_files(files[2], other, add_to=season)
    assert Path(season).read_bytes() == before
    assert digest(coadds.frame) == digest(frames_in(other)["Coadd"])
    assert_same(other, files)


def refused(error, text, *arguments, **options):
    with pytest.raises(error, match=text) as caught:
        coadd_files(*arguments, **options)
    assert isinstance(caught.value, G3ReduceError)


def test_what_makes_no_sense_is_refused_and_the_coadd_stays(survey, season, tmp_path):
    files = survey(4, "flat sparse", "hits")
    coadd_files(files[:2], season, **COLLATE)
    before = Path(season).read_bytes()
    to = {"output_file": season, "add_to": season, **COLLATE}
    both = r"season\.g3.*obs_001\.g3"
    refused(DuplicateError, both, files[1:3], **to)
    refused(InputError, r"obs_002\.g3.* is not in the coadd", [], subtract=files[2], **to)
    refused(InputError, r"obs_002\.g3.* is not in the coadd", files[3], subtract=files[2], **to)
    refused(DuplicateError, r"obs_001\.g3", files[1], subtract=files[1], **to)
    refused(InputError, "nothing would be left", [], subtract=files[:2], **to)
    refused(UsageError, "no files to add", [], **to)
    refused(UsageError, "these options do not make", files[2], **{**to, "collate": False})
    refused(UsageError, "has no exact sums", files[2], reproducible=True, **to)
    sharded = {"result": "sharded", "add_to": season}
    refused(UsageError, "no frames, and so none to add to", files[2], **sharded)
    refused(UsageError, "say which in add_to", files[2], subtract=files[0])
    refused(UsageError, r"subtract is \[3\]", files[2], subtract=[3], add_to=season)
    refused(UsageError, "add_to is 3", files[2], add_to=3)
    refused(InputError, "no such file to add to", files[2], add_to=str(tmp_path / "none.g3"))
    refused(InputError, "only coadds in .g3 files can be added to", files[2], add_to="none.fits")
    refused(InputError, "Map frame without an Id", files[2], add_to=str(with_frames(tmp_path, {})))
    (tmp_path / "two").mkdir()
    (other,) = skies.write_files(tmp_path / "two", 1, "flat sparse", "hits", map_ids=("x",))
    refused(InputError, r"belongs to the coadd 'x'", other, **to)
    refused(InputError, "no map with the Id '90GHz'", other, map_ids="90GHz", **to)
    assert Path(season).read_bytes() == before


def with_frames(folder, *frames):
    file = folder / "frames.g3"
    with core.G3Writer(str(file)) as writer:
        for entries in frames:
            frame = core.G3Frame(core.G3FrameType.Map)
            for key, value in entries.items():
                frame[key] = value
            writer(frame)
    return file


def test_files_of_which_no_coadd_can_be_taken_up(survey, tmp_path):
    (file,) = survey(1, "flat sparse", "hits")
    several = with_frames(tmp_path, {"Id": "x"}, {"Id": "x"})
    refused(InputError, "several Map frames of one Id", file, add_to=several)
    with core.G3Writer(str(tmp_path / "other.g3")) as writer:
        writer(core.G3Frame(core.G3FrameType.Observation))
    refused(InputError, "there is no coadd in it", file, add_to=tmp_path / "other.g3")


def test_another_job_that_adds_meanwhile_is_noticed(survey, season, monkeypatch):
    files = survey(4, "flat sparse", "hits")
    coadd_files(files[:2], season)
    with open(season) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(OutputError, "another job is about to replace it", files[2], season, add_to=season)
    with monkeypatch.context() as patch:
        patch.setattr("g3reduce.jobs.passes.followed", replaced_meanwhile(season))
        refused(OutputError, "replaced or changed since", files[2], season, add_to=season)
    assert list(frames_in(season)) == ["Coadd"]
    assert not [name for name in os.listdir(os.path.dirname(season)) if name.startswith(".")]


def replaced_meanwhile(file):
    """Let somebody else touch the file after everything was written."""

    def followed(items, check):
        yield from items
        os.utime(file, (1, 1))
        check()

    return followed


def test_where_hits_tell_plain_sums_are_empty_again(tmp_path, season, caplog):
    """Without hits it is told that something may be left."""
    frames = [
        anynumbers.map_frame("flat sparse", weighting, seed)
        for weighting in ("hits", "polarized")
        for seed in range(3)
    ]
    for frame in frames[:3]:  # hits are counts
        hits = skies.map_frame("flat sparse", "hits", 0)["H"].clone(False)
        for skymap in skies.maps_by_plane(frame).values():
            for number in np.asarray(skymap.nonzero_pixels()[0]).tolist():
                hits[number] = 3
        hits.sparse = True
        del frame["H"]
        frame["H"] = hits
    for told, group in enumerate((frames[:3], frames[3:])):
        files = skies.write_frames(tmp_path, group)
        coadd_files(files[:2], season)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            coadd_files(files[2], season, add_to=season, subtract=files[0])
        assert ("may be tiny numbers" in caplog.text) == bool(told)
        (coadd,) = frames_in(season).values()
        direct = skies.planes(coadd_files(files[1:]).frame)
        for name, plane in skies.planes(coadd).items():
            most = np.abs(plane).max()
            np.testing.assert_allclose(plane, direct[name], rtol=1e-6, atol=1e-6 * most)
            if not told:
                assert not np.any(plane[direct["H"] == 0])


def test_what_the_new_frames_will_not_have_is_told(survey, season, caplog):
    files = survey(3, "flat sparse", "hits", map_ids=("x",))
    coadd_files(files[:2], season)
    (frame,) = core.G3File(season)
    frame["Comment"] = "by me"
    with core.G3Writer(season) as writer:
        writer(frame)
    coadd_files(files[2], season, add_to=season)
    assert "have Comment besides what coadds have" in caplog.text


def test_a_season_with_signs(survey, season):
    files = survey(4, "healpix dense", "polarized")

    def halves(frame):
        return {"sum": 1, "difference": 1 if frame["Id"] == "90GHz" else -1}

    coadd_files(files[:3], season, assign=halves, **EXACT)
    coadd_files(files[3], season, add_to=season, subtract=files[1], assign=halves)
    assert_same(season, [files[0], *files[2:]], assign=halves, **EXACT)


@pytest.mark.ranks(3)
def test_a_season_grows_on_ranks(comm, shared_folder, on_first):
    files = on_first(lambda: anynumbers.write_files(shared_folder, 6, "healpix", "hits"))
    season = f"{shared_folder}/season.g3"
    coadd_files(files[:3], season, mpicomm=comm, **EXACT, **COLLATE)
    for result in ("root", "all"):
        how = {"mpicomm": comm, "result": result, "add_to": season, **COLLATE}
        coadds = coadd_files(files[3:5], season, subtract=files[:2], **how)
        assert coadds.here == (comm.rank == 0 or result == "all")
        with pytest.raises(G3ReduceError):
            coadd_files(files[3], season, **how)
        with pytest.raises(G3ReduceError):
            coadd_files([], season, subtract=files[0], **how)
        comm.Barrier()
        if comm.rank == 0:
            alone = {"mpicomm": g3reduce.mpi.communicators.OneProcess()}
            assert_same(season, files[2:5], **alone, **EXACT, **COLLATE)
        comm.Barrier()
        coadd_files(files[:2], season, mpicomm=comm, add_to=season, subtract=files[3:5], **COLLATE)
    assert comm.size > 1


def test_bad_files_are_left_out_but_not_those_to_be_subtracted(survey, season):
    files = survey(5, "flat sparse", "hits")
    coadd_files(files[:3], season, **EXACT)
    whole = Path(files[2]).read_bytes()
    for file in (files[2], files[4]):
        Path(file).write_bytes(whole[: len(whole) // 2])
    before = Path(season).read_bytes()
    how = {"add_to": season, "on_error": "skip"}
    text = r"obs_002\.g3: this cannot be subtracted"
    refused(InputError, text, files[3], season, subtract=files[2], **how)
    assert Path(season).read_bytes() == before
    coadd_files(files[3:], season, subtract=files[1], **how)
    Path(files[2]).write_bytes(whole)
    assert_same(season, [files[0], *files[2:4]], **EXACT)
    Path(season).write_bytes(before[: len(before) // 2])
    refused(InputError, r"season\.g3", files[3], season, **how)


def test_files_that_were_moved_changed_or_had_another_sign(survey, season, tmp_path):
    files = survey(5, "flat sparse", "hits")

    def signed(frame):
        return {"x": -1 if "obs_002" in g3reduce.unit_of(frame).file else 1}

    coadd_files(files[:3], season, assign=signed)
    to = {"output_file": season, "add_to": season}
    plus = {**to, "assign": lambda frame: {"x": 1}}
    refused(InputError, r"with the sign -1.*with the sign \+1", [], subtract=files[2], **plus)
    moved = str(tmp_path / "moved.g3")
    os.rename(files[0], moved)
    os.rename(files[3], files[0])  # another one has its name now
    refused(InputError, "changed since it was added", [], subtract=files[0], **plus)
    coadd_files(files[4], subtract=moved, assign=signed, **to)
    assert_same(season, [*files[1:3], files[4]], assign=signed)


def test_on_duplicate_skip_adds_what_is_new(survey, season):
    files = survey(4, "flat sparse", "hits")
    for last in (2, 4, 4):
        base = {"add_to": season} if last > 2 or os.path.exists(season) else {}
        coadds = coadd_files(files[:last], season, on_duplicate="skip", **EXACT, **base)
        assert all("is in" in one.reason for one in coadds.left_out)
        assert_same(season, files[:last], **EXACT)


def test_an_observation_that_was_made_anew_replaces_the_old_one(survey, season, tmp_path, caplog):
    files = survey(3, "flat sparse", "hits", map_ids=("x",))
    anew = str(tmp_path / "anew.g3")
    with core.G3Writer(anew) as writer:
        observation, _ = core.G3File(files[1])
        writer(observation)
        writer(skies.map_frame("flat sparse", "hits", 77, "x"))
    coadd_files(files, season, **EXACT)
    to = {"output_file": season, "add_to": season, "same_observation": "error"}
    refused(DuplicateError, r"field/1001.*obs_001\.g3 and .*anew\.g3", anew, **to)
    coadd_files(anew, subtract=files[1], **to)
    coadd_files(files[1], subtract=anew, **{**to, "same_observation": "warn"})
    assert "counted from several files" not in caplog.text
    assert_same(season, files, **EXACT)


def test_a_job_that_adds_and_subtracts_is_stopped_and_goes_on(survey, season, tmp_path):
    files = survey(5, "healpix ring", "hits")
    coadd_files(files[:3], season, **EXACT)
    how = {"add_to": season, "subtract": files[1], "checkpoint": tmp_path / "kept"}
    with pytest.raises(Stopped):
        coadd_files(files[3:], season, stop_after=1e-6, **how)
    assert_same(season, files[:3], **EXACT)
    with pytest.raises(InputError, match="other"):
        coadd_files(files[3:], season, resume=True, **{**how, "subtract": files[2]})
    coadd_files(files[3:], season, resume=True, **how)
    left = [files[0], *files[2:]]
    assert_same(season, left, **EXACT)
    coadd_files(files[3:], season, resume=True, **how)  # as a script may that was killed later
    assert_same(season, left, **EXACT)
