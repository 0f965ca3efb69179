"""MPIMapCoadder in one process, in real pipelines, against spt3g's own CoaddMaps."""

from __future__ import annotations

import logging
import os
import re

import numpy as np
import pytest
from pipelines import maps_from
from skies import KINDS, WEIGHTINGS, assert_same_coadd, map_frame, planes, write_files
from spt3g import core, maps

from g3reduce import DuplicateError, MismatchError, MPIMapCoadder, UsageError

MAP, END = core.G3FrameType.Map, core.G3FrameType.EndProcessing


def tracked(files):
    """The arguments of spt3g's own reader, so that it writes the names of files on frames."""
    return {"filename": files, "track_filename": True}


def by_spt3g(files, **arguments):
    coadder = maps.CoaddMaps(**{"keep_outputs": True, **arguments})
    came = maps_from(tracked(files), coadder)
    return coadder, came


def assert_same_frames(mine, theirs):
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert_same_coadd(one, other)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_coadd_is_that_of_spt3g(survey, kind, weighting):
    files = survey(3, kind, weighting)
    theirs, _ = by_spt3g(files)
    mine = MPIMapCoadder()
    maps_from(files, mine)
    assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)


ARGUMENTS = [
    {},
    {"map_ids": "90GHz"},
    {"map_ids": ["150GHz", "90GHz", "never seen"]},
    {"map_ids": ["220GHz"], "output_map_id": "High"},
    {"output_map_id": "Everything"},
    {"collate": True, "output_map_id": "Coadd"},
    {"collate": True, "output_map_id": "", "map_ids": ["220GHz", "90GHz"]},
    {"weighted": False},
    {"drop_input_frames": True},
    {"drop_input_frames": True, "map_ids": ["90GHz"]},
    {"drop_input_frames": True, "collate": True},
    {"record_obs_id": True},
    {"record_obs_id": True, "collate": True},
    {"ignore_missing_weights": True, "keep_outputs": True},
]


@pytest.mark.parametrize("reader", ["of g3reduce", "of spt3g"])
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_arguments_mean_what_they_mean_in_spt3g(survey, arguments, reader):
    map_ids = ("90GHz", "150GHz", "220GHz")
    files = survey(3, "healpix ring", "unweighted", map_ids=map_ids)
    theirs, their_frames = by_spt3g(files, **arguments)
    mine = MPIMapCoadder(**arguments)
    my_frames = maps_from(files if reader == "of g3reduce" else tracked(files), mine)
    if reader == "of g3reduce" and arguments.get("drop_input_frames"):
        # Those that are left out would reach the writer of whichever rank has read them.
        their_frames = [frame for frame in their_frames if frame["Id"].startswith("Coadd")]
    assert [frame["Id"] for frame in my_frames] == [frame["Id"] for frame in their_frames]
    if arguments.get("collate"):
        assert list(mine.coadd_frames) == list(theirs.coadd_frames)
        results = theirs.coadd_frames.values()
    else:
        assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)
        results = [theirs.coadd_frame]
    assert_same_frames(list(mine.coadd_frames.values()), list(results))
    assert_same_frames(my_frames[-len(results) :], list(results))


@pytest.mark.parametrize("in_between", [[], [lambda frame: frame.type in (MAP, END)]])
def test_what_one_coadder_leaves_out_reaches_those_behind_it(survey, in_between):
    """Also where these do not see the first frames. The last one drops what nobody wants."""
    files = survey(3, "flat sparse", "hits", map_ids=("90GHz", "150GHz", "220GHz"))
    first = MPIMapCoadder(map_ids="90GHz", output_map_id="1", drop_input_frames=True)
    second = MPIMapCoadder(map_ids="150GHz", output_map_id="2", drop_input_frames=True)
    came = maps_from(files, first, *in_between, second)
    assert [frame["Id"] for frame in came] == ["1", "2"]
    for coadder, map_id in ((first, "90GHz"), (second, "150GHz")):
        theirs, _ = by_spt3g(files, map_ids=map_id, output_map_id=coadder.output_map_id)
        assert_same_coadd(coadder.coadd_frame, theirs.coadd_frame)


def test_the_coadds_are_what_a_writer_writes(tmp_path, survey):
    files = survey(2, "flat sparse", "polarized")
    coadder, output = MPIMapCoadder(collate=True, drop_input_frames=True), str(tmp_path / "out.g3")
    maps_from(files, coadder, lambda frame: frame.type in (MAP, END), core.G3Writer(output))
    written = [frame for frame in core.G3File(output) if frame.type == MAP]
    assert_same_frames(written, list(coadder.coadd_frames.values()))
    assert [frame["Id"] for frame in written] == ["Coadd90GHz", "Coadd150GHz"]


def test_without_keep_outputs_the_coadds_go_down_the_pipeline_only(survey):
    files = survey(2, "flat sparse", "hits")
    coadder = MPIMapCoadder(keep_outputs=False)
    came = maps_from(files, coadder)
    assert came[-1]["Id"] == "Coadd"
    assert coadder.coadd_frame is None
    assert coadder.coadd_frames == {}


def test_frames_of_input_go_on_unchanged(survey):
    """Unweighted ones, too, which spt3g weights in place."""
    files = survey(2, "healpix ring", "unweighted")
    expected = [frame for file in files for frame in core.G3File(file) if frame.type == MAP]
    came = maps_from(files, MPIMapCoadder())
    assert_same_frames(came[:-1], expected)


@pytest.mark.parametrize("reader", ["of g3reduce", "of spt3g"])
def test_coadds_of_coadds_list_the_original_inputs(tmp_path, survey, reader):
    coadds = []
    for half in range(2):
        files = survey(2, "healpix ring", "polarized", start=2 * half)
        name = str(tmp_path / f"coadd{half}.g3")
        maps.coadd_map_files(files, name, record_obs_id=True)
        coadds.append(name)
    extra = survey(2, "healpix ring", "polarized", start=4)
    theirs, _ = by_spt3g([*coadds, *extra])
    mine = MPIMapCoadder()
    maps_from([*coadds, *extra] if reader == "of g3reduce" else tracked([*coadds, *extra]), mine)
    assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)
    originals = [f"obs_{number:03d}.g3" for number in range(6)]
    assert [os.path.basename(file) for file in mine.coadd_frame["InputFiles"]] == originals
    assert list(mine.coadd_frame["InputMapIds"])[:2] == ["field/1000/90GHz", "field/1000/150GHz"]


def test_frames_made_in_the_pipeline_have_no_files_and_are_never_duplicates():
    frames = [map_frame("flat sparse", "hits", seed % 2) for seed in range(4)]
    theirs, mine = maps.CoaddMaps(keep_outputs=True), MPIMapCoadder()
    maps_from(frames, theirs)
    maps_from(frames, mine)
    assert "InputFiles" not in mine.coadd_frame
    assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)


def test_frames_without_an_id_are_not_coadded():
    frames = [map_frame("flat sparse", "hits", seed) for seed in range(2)]
    del frames[1]["Id"]
    coadder = MPIMapCoadder(drop_input_frames=True)
    came = maps_from(frames, coadder)
    assert [frame.get("Id", None) for frame in came] == [None, "Coadd"]
    assert planes(came[1])["T"].tolist() == planes(frames[0])["T"].tolist()


def test_an_id_is_taken_as_a_whole():
    """Not for a part of another one: "50GHz" is in "150GHz"."""
    map_ids = ("50GHz", "150GHz", "GHz", "")
    frames = [map_frame("flat sparse", "hits", i, map_id) for i, map_id in enumerate(map_ids)]
    coadder = MPIMapCoadder(map_ids="150GHz")
    maps_from(frames, coadder)
    assert list(coadder.coadd_frame["InputMapIds"]) == ["150GHz"]


def test_a_frame_without_an_id_adds_no_empty_one_to_the_list():
    frames = [map_frame("flat sparse", "hits", seed, "90GHz") for seed in range(2)]
    del frames[0]["Id"]
    coadder = MPIMapCoadder(assign=lambda frame: {"all": 1})
    maps_from(frames, coadder)
    assert list(coadder.coadd_frames["all"]["InputMapIds"]) == ["90GHz"]


def test_weighted_and_unweighted_maps_add_up_to_weighted_ones():
    frames = [map_frame("healpix ring", w, i) for i, w in enumerate(("unweighted", "polarized"))]
    mine, theirs = MPIMapCoadder(), maps.CoaddMaps(keep_outputs=True)
    maps_from(frames, mine)
    maps_from(frames, theirs)
    assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)
    assert mine.coadd_frame["Q"].weighted


@pytest.mark.parametrize("weighting", ["polarized", "hits"])
def test_weights_of_older_files_that_do_not_say_what_they_are_are_completed(weighting):
    frames = [map_frame("healpix ring", weighting, seed) for seed in range(2)]
    key = "Wpol" if weighting == "polarized" else "Wunpol"
    for frame in frames:
        weights = frame.pop(key)
        for component in weights.keys():  # noqa: SIM118 (not a dictionary)
            weights[component].pol_type = maps.MapPolType.names["none"]
            weights[component].pol_conv = maps.MapPolConv.names["none"]
        frame[key] = weights
    mine, theirs = MPIMapCoadder(), maps.CoaddMaps(keep_outputs=True)
    maps_from(frames, mine)
    maps_from(frames, theirs)
    assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)


def test_a_coadder_sums_the_coadds_of_other_pipelines():
    """As with one coadd a day, and one of all days that is there from the beginning."""
    frames = [map_frame("flat sparse", "hits", seed) for seed in range(4)]
    expected = sum(planes(frame)["H"] for frame in frames)
    total = MPIMapCoadder()
    for day in (frames[:2], frames[2:]):
        coadder = MPIMapCoadder()
        maps_from(day, coadder)
        total(coadder.coadd_frame)
    total(core.G3Frame(END))
    assert total.coadd_frame is not None, "the coadds of each day were passed by"
    assert planes(total.coadd_frame)["H"].tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["flat sparse", "healpix dense"])
def test_two_coadders_do_not_sum_each_others_output(survey, kind):
    files = survey(2, kind, "polarized")
    first, second = MPIMapCoadder(collate=True), MPIMapCoadder(output_map_id="All")
    third = MPIMapCoadder(map_ids=["90GHz"], output_map_id="90GHz")
    came = maps_from(files, first, second, third)
    ids = [frame["Id"] for frame in came]
    # Each coadd is injected in front of the next, and the end comes last.
    assert ids == ["90GHz", "150GHz"] * 2 + ["Coadd90GHz", "Coadd150GHz", "All", "90GHz"]
    assert_same_coadd(second.coadd_frame, by_spt3g(files, output_map_id="All")[0].coadd_frame)
    alone = by_spt3g(files, map_ids="90GHz", output_map_id="90GHz")[0].coadd_frame
    assert_same_coadd(third.coadd_frame, alone)


# Splits


def halves(frame):
    """Even and odd files, and their difference."""
    if frame["Id"] == "150GHz":
        return None
    odd = int(os.path.basename(frame._filename)[4:7]) % 2
    return {"odd" if odd else "even": 1, "difference": -1 if odd else 1}


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_splits_is_made_in_one_pass(survey, kind):
    files = survey(4, kind, "polarized")
    coadder = MPIMapCoadder(assign=halves)
    maps_from(files, coadder)
    assert list(coadder.coadd_frames) == ["difference", "even", "odd"]
    for split, inputs in (("even", files[0::2]), ("odd", files[1::2])):
        theirs, _ = by_spt3g(inputs, map_ids="90GHz", output_map_id=split)
        assert_same_coadd(coadder.coadd_frames[split], theirs.coadd_frame)
    even, odd, difference = (planes(coadder.coadd_frames[n]) for n in ("even", "odd", "difference"))
    for name, plane in difference.items():
        sign = -1 if name in ("T", "Q", "U") else 1
        np.testing.assert_array_equal(plane, even[name] + sign * odd[name], err_msg=name)


@pytest.mark.parametrize("nothing", [None, {}])
@pytest.mark.parametrize("drop", [False, True])
def test_frames_that_belong_nowhere_are_passed_on_if_none_are_to_be_dropped(survey, nothing, drop):
    files = survey(2, "flat sparse", "hits")
    coadder = MPIMapCoadder(assign=lambda frame: nothing, drop_input_frames=drop)
    assert len(maps_from(files, coadder)) == (0 if drop else 4)
    assert coadder.coadd_frames == {}


@pytest.mark.parametrize(
    "nonsense", [3, "odd", ["odd"], {"odd": 2}, {"odd": 0}, {1: 1}, {"odd": "+1"}, {"odd": None}]
)
def test_nonsense_from_assign_is_an_error_that_names_the_frame(survey, nonsense):
    files = survey(1, "flat sparse", "hits")
    with pytest.raises(UsageError) as caught:
        maps_from(files, MPIMapCoadder(assign=lambda frame: nonsense))
    text = f"assign() returned {nonsense!r} for {files[0]}, frame 1 (Id '90GHz'); expected a dict"
    assert str(caught.value).startswith(text)


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


# What is refused


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
