"""What MPIMapCoadder refuses, and what it warns of."""

from __future__ import annotations

import logging
import re

import pytest
from pipelines import maps_from
from skies import assert_same_coadd, map_frame, planes, write_files, write_frames
from spt3g import core, maps
from spt3gcoadds import END, by_spt3g, halves

from g3reduce import (
    DuplicateError,
    MismatchError,
    MPIMapCoadder,
    UsageError,
    coadd_files,
    splits,
)

# Duplicates


def test_a_file_that_comes_twice_is_an_error_with_the_way_out(survey):
    files = survey(2, "flat sparse", "hits")
    with pytest.raises(DuplicateError) as caught:
        maps_from([*files, files[0]], MPIMapCoadder())
    assert str(caught.value).startswith(f"{files[0]}, frame 1 came twice and would be summed twice")
    assert 'on_duplicate="sum"' in str(caught.value)


def test_a_file_that_comes_twice_is_summed_twice_where_that_is_wanted(survey):
    files = survey(2, "healpix ring", "polarized")
    mine = MPIMapCoadder(on_duplicate="sum")
    maps_from(files * 2, mine)
    theirs, _ = by_spt3g(files * 2)
    assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)
    assert list(mine.coadd_frame["InputFiles"]) == files


def test_a_frame_may_come_again_for_another_coadd_but_not_for_the_same(survey):
    (file,) = survey(1, "flat sparse", "hits", map_ids=("90GHz",))
    targets = [{"one": 1}, {"two": 1}, {"three": 1, "one": -1}]

    def coadder():
        coming = iter(targets)
        return MPIMapCoadder(assign=lambda frame: next(coming))

    mine = coadder()
    maps_from([file] * 2, mine)
    assert list(mine.result) == ["one", "two"]
    with pytest.raises(DuplicateError, match="came twice"):
        maps_from([file] * 3, coadder())


# What is refused


@pytest.mark.parametrize("small_frame", [0, 2**17])
def test_a_frame_that_agrees_with_one_coadd_may_not_agree_with_another(
    tmp_path, limits, small_frame
):
    """What was compared once for all frames alike was so for one coadd."""
    limits(small_frame=small_frame)
    frames = [map_frame("flat sparse", "hits", number, map_id=str(number)) for number in range(4)]
    skymap = frames[1].pop("T")
    skymap.units = core.G3TimestreamUnits.Power
    frames[1]["T"] = skymap
    files = write_frames(tmp_path, frames)
    targets = {"0": {"one": 1}, "1": {"two": 1}, "2": {"one": 1}, "3": {"one": 1, "two": 1}}
    with pytest.raises(MismatchError, match=r"obs3\.g3, frame 0 .*obs1\.g3, frame 0 .*units"):
        coadd_files(files, assign=lambda frame: targets[frame["Id"]])
    coadds = coadd_files(files[:3], assign=lambda frame: targets[frame["Id"]])
    expected = maps.coadd_map_files([files[0], files[2]])
    assert planes(coadds["one"])["T"].tolist() == planes(expected)["T"].tolist()


def test_maps_that_do_not_agree_end_the_pipeline_with_both_frames(tmp_path, survey):
    files = survey(1, "healpix ring", "hits")
    (tmp_path / "other").mkdir()
    files += write_files(tmp_path / "other", 1, "healpix nested indexed", "hits")
    text = (
        f"{files[1]}, frame 1 (Id '90GHz') does not agree with {files[0]}, frame 1 (Id '90GHz'): "
        "H differs in nested, True and False."
    )
    with pytest.raises(MismatchError, match=re.escape(text)):
        maps_from(files, MPIMapCoadder())


def test_conventions_that_differ_are_refused_or_converted():
    iau, cosmo = (map_frame("flat dense", "polarized", 1) for _ in range(2))
    expected = {name: (2 * plane).tolist() for name, plane in planes(iau).items()}
    maps.SetPolConv(cosmo, maps.MapPolConv.COSMO)
    with pytest.raises(MismatchError, match="pol_conv, COSMO and IAU"):
        maps_from([iau, cosmo], MPIMapCoadder())
    coadder = MPIMapCoadder(pol_conv="IAU")
    maps_from([iau, cosmo], coadder)
    sums = planes(coadder.coadd_frame)
    assert {name: plane.tolist() for name, plane in sums.items()} == expected


def test_after_its_end_a_coadder_takes_no_more_frames(tmp_path):
    coadder = MPIMapCoadder()
    maps_from([map_frame("flat sparse", "hits", 0)], coadder)
    with pytest.raises(UsageError, match="has ended its work; make a new one"):
        coadder(map_frame("flat sparse", "hits", 1))
    with pytest.raises(UsageError, match="has ended its work already"):
        coadder(core.G3Frame(END))


@pytest.mark.parametrize("arguments", [{"collate": True}, {"assign": halves}])
def test_one_coadd_frame_is_not_to_be_had_where_there_are_several(arguments):
    with pytest.raises(UsageError, match=r"use \.coadd_frames, which has each by its Id"):
        _ = MPIMapCoadder(**arguments).coadd_frame


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"strategy": "best"}, "'best'; expected one of auto, gather, tree, allreduce"),
        ({"result": "everywhere"}, "result is 'everywhere'; expected one of root, all, sharded"),
        ({"strategy": "gather", "result": "all"}, "'gather' cannot .* these can: auto, allreduce"),
        ({"root": 1}, "root is 1; expected a rank, 0 to 0"),
        ({"root": -1}, "root is -1; expected a rank, 0 to 0"),
        ({"root": "first"}, "root is 'first'; expected a rank, 0 to 0"),
        ({"on_duplicate": "ignore"}, "on_duplicate is 'ignore'; expected one of error, sum"),
        ({"pol_conv": "healpix"}, 'pol_conv is \'healpix\'; expected "IAU", "COSMO" or None'),
        ({"assign": halves, "collate": True}, "assign says .* map_ids and collate: give one or"),
        ({"assign": halves, "map_ids": "90GHz"}, "assign says .* map_ids and collate: give one or"),
        ({"mpicomm": "world"}, r"mpicomm is 'world' \(str\); expected an intracommunicator"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_with_the_choices(arguments, text):
    with pytest.raises(UsageError, match=text):
        MPIMapCoadder(**arguments)


# What is warned of


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({}, "Maps of 3 Ids ('', '150GHz', '90GHz') went into one coadd, 'Coadd'"),
        ({"map_ids": ["90GHz", "150GHz"]}, None),
        ({"collate": True}, None),
        ({"assign": lambda frame: {"all": 1}}, None),
        (
            {"assign": splits.split(all="all", high="id=150GHz")},
            "Maps of 3 Ids ('', '150GHz', '90GHz') went into one coadd, 'all'. For coadds of each",
        ),
        ({"assign": splits.split(high="id=150GHz", others="~id=150GHz")}, None),
    ],
    ids=str,
)
def test_maps_of_several_ids_in_one_coadd_are_warned_of_unless_that_was_said(
    caplog, options, warned
):
    frames = [map_frame("flat sparse", "hits", i, ("90GHz", "150GHz", "")[i % 3]) for i in range(9)]
    maps_from(frames, MPIMapCoadder(**options))
    maps_from([frame for frame in frames if frame["Id"] == "90GHz"], MPIMapCoadder())
    assert [warned in record.getMessage() for record in caplog.records] == (
        [True] if warned else []
    )


def warnings_of(caplog):
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_missing_weights_are_warned_of_once(survey, caplog):
    files = survey(3, "flat sparse", "no weights", map_ids=("90GHz",))
    maps_from(files, MPIMapCoadder())
    assert warnings_of(caplog) == [
        f"{files[0]}, frame 1 (Id '90GHz'): the maps are weighted, but have no weights."
    ]


@pytest.mark.parametrize("weighting", ["polarized", "no weights"])
def test_nothing_is_warned_of_where_weights_are_there_or_may_be_missing(caplog, weighting):
    maps_from([map_frame("flat sparse", weighting, 0)], MPIMapCoadder(ignore_missing_weights=True))
    assert warnings_of(caplog) == []


def test_weights_in_some_frames_only_are_summed_where_they_may_be_missing():
    frames = [map_frame("flat dense", w, i) for i, w in enumerate(("no weights", "polarized"))]
    theirs = maps.CoaddMaps(keep_outputs=True, ignore_missing_weights=True)
    mine = MPIMapCoadder(ignore_missing_weights=True)
    maps_from(frames, theirs)
    maps_from(frames, mine)
    assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)


def test_a_pipeline_without_maps_makes_no_coadd_and_says_so(survey, caplog):
    files = survey(2, "flat sparse", "hits", map_ids=())
    coadder = MPIMapCoadder()
    assert maps_from(files, coadder) == []
    assert coadder.coadd_frame is None
    assert warnings_of(caplog) == ["MPIMapCoadder: no map came on any rank, so there is no coadd."]
