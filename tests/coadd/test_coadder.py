"""MPIMapCoadder in one process, in real pipelines, against spt3g's own CoaddMaps."""

from __future__ import annotations

import os

import numpy as np
import pytest
from pipelines import maps_from
from skies import KINDS, WEIGHTINGS, assert_same_coadd, map_frame, planes
from spt3g import core, maps
from spt3gcoadds import END, MAP, by_spt3g, halves, tracked

from g3reduce import MPIMapCoadder, UsageError


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
