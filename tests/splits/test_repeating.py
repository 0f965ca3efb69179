"""Coadds that are made again from their ledgers, and plans in pipelines."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from pipelines import maps_from
from skies import assert_same_coadd, map_frame, planes, write_files
from spt3g import core

from g3reduce import InputError, MPIMapCoadder, UsageError, coadd_files, splits
from g3reduce.splits import repeat
from g3reduce.splits.repeating import RECORD

EVERYTHING = (
    splits.by("id") * splits.bundles(2) * splits.signflips(3, seed=5)
    + splits.split(low="id=90GHz") * splits.jackknife(splits.bundles(2))
    + splits.split(none="id=220GHz")
)
MAP = core.G3FrameType.Map


def coadds_in(file):
    return {frame["Id"]: frame for frame in core.G3File(file) if frame.type == MAP}


def columns_of(frame):
    """The ledger of a coadd without the names of files."""
    texts, numbers = frame["Ledger"], frame["LedgerNumbers"]
    columns = {key: list(texts[key]) for key in texts.keys() if key != "file"}  # noqa: SIM118
    columns |= {key: list(numbers[key]) for key in numbers.keys()}  # noqa: SIM118
    return columns


def assert_repeated(file, again):
    """To the bit: values of tests are integers."""
    first, second = coadds_in(file), coadds_in(again)
    assert list(first) == list(second)
    for name, frame in first.items():
        assert_same_coadd(second[name], frame)
        assert columns_of(second[name]) == columns_of(frame)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    names = ("90GHz", "150GHz", "220GHz")
    files = write_files(folder, 6, "flat sparse", "polarized", map_ids=names)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # so that the ledgers have names without folders
        coadd_files([*map(os.path.basename, files)], "coadds.g3", assign=EVERYTHING)
    return folder


@pytest.fixture
def made(tmp_path, made_once):
    """A file of coadds, in a folder of its own with its input."""
    return str(shutil.copytree(made_once, tmp_path / "first") / "coadds.g3")


def test_coadds_are_made_again_from_their_ledgers_alone(tmp_path, made, monkeypatch):
    monkeypatch.chdir(os.path.dirname(made))
    again = repeat("coadds.g3")
    assert again.files == [f"obs_{number:03}.g3" for number in range(6)]
    coadds = coadd_files(again.files, str(tmp_path / "again.g3"), assign=again.assign)
    assert_repeated(made, str(tmp_path / "again.g3"))
    again.require_all(coadds.ledger)
    assert again.assign.base_of["150GHz_bundle1_signflip002"] == "150GHz_bundle1"


def test_of_some_maps_only_those_that_are_in_the_ledger_are_added(tmp_path, survey):
    files = survey(4, "flat sparse", "hits", map_ids=("90GHz", "150GHz"))
    output = str(tmp_path / "some.g3")
    coadd_files(files, output, assign=splits.split(some="id=90GHz & observation=100[12]"))
    again = repeat(output)
    assert [os.path.basename(name) for name in again.files] == ["obs_001.g3", "obs_002.g3"]
    coadd_files(files, str(tmp_path / "again.g3"), assign=again.assign)
    assert_repeated(output, str(tmp_path / "again.g3"))


def test_files_that_were_moved_are_found_by_what_is_in_them(tmp_path, made):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    moved = []
    for number, name in enumerate(repeat(made).files):
        moved.append(str(folder / f"renamed{9 - number}.g3"))
        shutil.move(name, moved[-1])
    with pytest.raises(InputError, match=r"6 of 6 files of its maps are not there: .*obs_000.g3"):
        repeat(made)
    with pytest.raises(InputError, match=r"3 of 18 maps are in none of the 5 files .*obs_005.g3"):
        repeat(made, files=moved[:-1])
    again = repeat(made, files=moved[::-1])
    coadd_files(again.files, str(tmp_path / "again.g3"), assign=again.assign)
    first, second = coadds_in(made), coadds_in(str(tmp_path / "again.g3"))
    assert set(first) == set(second)
    for name, frame in first.items():
        for plane, skymap in planes(frame).items():
            np.testing.assert_array_equal(planes(second[name])[plane], skymap)


def test_the_coadds_follow_their_folder(tmp_path, survey, monkeypatch):
    """Names in the ledger are relative to where the coadd was made."""
    files = survey(3, "flat sparse", "hits")
    folder = tmp_path / "before"
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    monkeypatch.chdir(folder)
    coadd_files("obs_*.g3", "coadds.g3", assign=splits.by("id"))
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "after")
    again = repeat("after/coadds.g3")
    assert again.files == [f"after/obs_{number:03}.g3" for number in range(3)]


def test_a_map_that_has_changed_since_is_an_error(made):
    again = repeat(made)
    with core.G3Writer(again.files[2]) as writer:
        for frame in (core.G3Frame(), map_frame("flat sparse", "polarized", 77, "90GHz")):
            writer(frame)
    with pytest.raises(InputError, match=r"obs_002.g3, frame 1: the map has changed since"):
        coadd_files(again.files, assign=again.assign)


def test_a_result_that_lacks_a_map_is_an_error(made):
    again = repeat(made)
    missing = r"3 of 18 maps are not there.*obs_000.g3, frame 1"
    with pytest.raises(InputError, match=missing):
        coadd_files(again.files[1:], made, assign=again.assign)
    coadder = MPIMapCoadder(assign=again.assign)
    maps_from(again.files[1:], coadder)
    with pytest.raises(InputError, match=missing):
        again.require_all(coadder.result.ledger)


def without(key):
    def drop(frame):
        del frame[key]
        return frame

    return drop


def with_value(key, value):
    def put(frame):
        frame.pop(key, None)
        frame[key] = value
        return frame

    return put


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without("Ledger"), "cannot be used|has no ledger"),
        (without("Id"), "a coadd without an Id"),
        (with_value("Id", "none"), "a second coadd is named 'none'"),
        (
            with_value(RECORD, core.G3VectorString()),
            "Split is a G3VectorString; expected a G3MapString",
        ),
    ],
)
def test_what_cannot_be_repeated_says_why(made, change, problem):
    frames = list(coadds_in(made).values())
    change(frames[0])
    with pytest.raises(InputError, match=problem):
        repeat(frames)


def test_what_is_no_coadd_is_refused(tmp_path, survey):
    file = survey(1, "flat sparse", "hits")[0]
    with pytest.raises(InputError, match=r"obs_000.g3, coadd 0 \(Id '90GHz'\) has no ledger"):
        repeat(file)
    with pytest.raises(UsageError, match="expected the name of a file, or Map frames"):
        repeat([7])
    with pytest.raises(InputError, match="no coadd in it"):
        repeat([])


def test_maps_made_in_a_pipeline_cannot_be_repeated_nor_planned_for():
    frames = [map_frame("flat sparse", "hits", seed) for seed in range(2)]
    coadder = MPIMapCoadder()
    maps_from(frames, coadder)
    with pytest.raises(InputError, match="made in a pipeline"):
        repeat([coadder.coadd_frame])
    with pytest.raises(InputError, match="cannot be planned for"):
        splits.signflips(2).planned(coadder.result)


# Plans in pipelines


def test_a_splitting_is_planned_for_a_pipeline_by_the_ledger_of_another_coadd(survey):
    files = survey(5, "healpix ring", "polarized")
    splitting = splits.by("id") * splits.bundles(2) * splits.signflips(3, seed=1)
    expected = coadd_files(files, assign=splitting)
    coadder = MPIMapCoadder(assign=splitting.planned(coadd_files(files, collate=True)))
    maps_from(files, coadder)
    assert set(coadder.result) == set(expected)
    for name, frame in expected.items():
        assert_same_coadd(coadder.result[name], frame)
        assert dict(coadder.result[name][RECORD]) == dict(frame[RECORD])


def test_a_splitting_that_is_not_planned_is_refused_in_a_pipeline():
    with pytest.raises(UsageError, match=r"pass assign=splitting.planned\(coadds\)"):
        MPIMapCoadder(assign=splits.bundles(2))


def test_maps_that_were_not_planned_for_are_an_error(survey):
    files = survey(3, "flat sparse", "hits")
    plan = splits.bundles(2).planned(coadd_files(files[:2]))
    with pytest.raises(InputError, match=r"obs_002.g3, frame 1: this is none of the 4 maps"):
        maps_from(files, MPIMapCoadder(assign=plan))
    with pytest.raises(InputError, match="no reader of g3reduce has read it"):
        maps_from([map_frame("flat sparse", "hits", 1)], MPIMapCoadder(assign=plan))


def test_direct_splittings_need_no_plan_in_a_pipeline(survey):
    files = survey(3, "flat sparse", "hits")
    splitting = splits.split(first="observation=1000", rest="observation!=field/1000")
    coadder = MPIMapCoadder(assign=splits.by("id") * splitting)
    before = coadder._settings.of_sums()
    maps_from(files, coadder)
    assert coadder._settings.of_sums() == before  # a checkpoint must not depend on what came
    expected = coadd_files(files, assign=splits.by("id") * splitting)
    assert set(expected) == set(coadder.result)
    for name, frame in expected.items():
        assert_same_coadd(coadder.result[name], frame)
        assert dict(coadder.result[name][RECORD]) == dict(frame[RECORD])


def test_copies_that_were_moved_are_counted_as_often_as_before(tmp_path, survey):
    (file,) = survey(1, "flat sparse", "hits")
    files = [shutil.copy(file, str(tmp_path / name)) for name in ("a.g3", "b.g3")]
    coadd_files(files, str(tmp_path / "coadds.g3"), assign=splits.by("id"), on_duplicate="sum")
    moved = [shutil.move(name, f"{name[:-3]}_moved.g3") for name in files]
    again = repeat(tmp_path / "coadds.g3", files=moved)
    coadds = coadd_files(again.files, assign=again.assign, on_duplicate="sum")
    for name, frame in coadds_in(str(tmp_path / "coadds.g3")).items():
        for plane, skymap in planes(frame).items():
            np.testing.assert_array_equal(planes(coadds[name])[plane], skymap)
    with pytest.raises(InputError, match="2 of 4 maps are in none"):
        repeat(tmp_path / "coadds.g3", files=moved[:1])


def test_a_file_that_is_named_twice_is_refused(survey):
    files = survey(2, "flat sparse", "hits")
    facts = splits.MapFacts(files[0], 1, "90GHz", "field", "field/1", fingerprint=None)
    with pytest.raises(InputError, match="name each file once"):
        splits.by("id").plan([facts, facts])
