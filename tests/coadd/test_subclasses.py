"""Subclasses of the coadder, as spt3g's CoaddMaps allows them: the same results, or a refusal."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipelines import maps_from
from skies import assert_same_coadd, map_frame
from spt3g import core, maps

from g3reduce import InputError, MPIMapCoadder, UsageError

IDS = ("90GHz", "150GHz", "", "220GHz")


def frames_of(ids):
    """Map frames of these Ids (None: without any), with an Observation before every third one."""
    frames = []
    for number, map_id in enumerate(ids):
        if number % 3 == 0:
            observation = core.G3Frame(core.G3FrameType.Observation)
            observation["SourceName"], observation["ObservationID"] = "field", number // 3
            frames.append(observation)
        frames.append(map_frame("flat sparse", "hits", number, map_id or ""))
        if map_id is None:
            del frames[-1]["Id"]
    return frames


def stateful(base, seed):
    """A subclass that uses all that `CoaddMaps` has, and remembers in which order it was asked."""

    class Stateful(base):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.random = random.Random(seed)
            self.asked = []

        def get_map_id(self, frame):
            map_id = super().get_map_id(frame)
            self.asked.append((map_id, self.obs_id, self.collate, self.weighted))
            if self.random.random() < 0.2:  # may be changed between frames
                self.map_ids = self.random.choice([None, ["90GHz", "odd"], ["150GHz", ""]])
            if self.random.random() < 0.2:
                self.drop_input_frames = not self.drop_input_frames
            if "T" in frame and self.random.random() < 0.2:  # as a calibration does
                scaled = frame.pop("T")
                scaled *= 2.0
                frame["T"] = scaled
            return self.random.choice([map_id, map_id, map_id, "odd", None, False])

        def __call__(self, frame):
            if frame.type == core.G3FrameType.Map and self.random.random() < 0.1:
                return None
            return super().__call__(frame)

    return Stateful


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from([*IDS, None]), min_size=1, max_size=8),
    st.integers(0, 2**32),
    st.booleans(),
    st.booleans(),
)
def test_a_subclass_with_a_state_gets_what_it_gets_from_spt3g(ids, seed, collate, record_obs_id):
    options = {"collate": collate, "record_obs_id": record_obs_id, "keep_outputs": True}
    outcomes = []
    for base in (maps.CoaddMaps, MPIMapCoadder):
        coadder = stateful(base, seed)(**options)
        came = maps_from(frames_of(ids), coadder)
        coadds = coadder.coadd_frames if collate else {"": coadder.coadd_frame}
        outcomes.append((came, coadder.asked, coadds))
    (their_frames, their_asked, theirs), (my_frames, my_asked, mine) = outcomes
    assert my_asked == their_asked
    theirs = {name: frame for name, frame in theirs.items() if "T" in frame}  # else it is empty
    mine = {name: frame for name, frame in mine.items() if frame is not None}
    assert list(mine) == list(theirs)
    for name, frame in mine.items():
        assert_same_coadd(frame, theirs[name])
    their_frames = [frame for frame in their_frames if "T" in frame]
    assert len(my_frames) == len(their_frames)
    for one, other in zip(my_frames, their_frames, strict=True):
        assert_same_coadd(one, other)


def test_get_map_id_is_asked_once_for_each_frame_and_in_order():
    class Counting(MPIMapCoadder):
        asked = ()

        def get_map_id(self, frame):
            self.asked += (frame["Id"],)
            return "odd" if len(self.asked) % 2 else "even"

    coadder = Counting(collate=True)
    maps_from([map_frame("flat sparse", "hits", i, f"map {i}") for i in range(5)], coadder)
    assert coadder.asked == ("map 0", "map 1", "map 2", "map 3", "map 4")
    assert list(coadder.coadd_frames["even"]["InputMapIds"]) == ["map 1", "map 3"]


@pytest.mark.parametrize("name", ["coadd_frame", "coadd_frames", "map_ids", "collate", "take"])
def test_a_class_that_takes_a_name_for_itself_is_refused_when_it_is_made(name):
    with pytest.raises(UsageError, match=f"The class Mine has a {name} of its own"):
        type("Mine", (MPIMapCoadder,), {name: None})
    mixin = type("Mixin", (), {name: None})
    with pytest.raises(UsageError, match=f"The class Mine has a {name} of its own"):
        type("Mine", (mixin, MPIMapCoadder), {})


def test_a_subclass_may_have_a_communicator_of_its_own():
    class Mine(MPIMapCoadder):
        def __init__(self, comm):
            super().__init__()
            self.comm = comm

    assert Mine("mine").comm == "mine"


def test_a_class_derived_from_both_coadders_is_refused():
    with pytest.raises(UsageError, match="Derive it from MPIMapCoadder alone"):
        type("Mine", (MPIMapCoadder, maps.CoaddMaps), {})


@pytest.mark.parametrize(
    ("name", "given", "other"),
    [
        ("collate", True, False),
        ("output_map_id", "x", "y"),
        ("weighted", False, True),
        ("ignore_missing_weights", True, False),
    ],
)
def test_what_ranks_have_agreed_on_can_be_read_but_not_set(name, given, other):
    coadder = MPIMapCoadder(**{name: given})
    assert getattr(coadder, name) == given
    with pytest.raises(UsageError, match=f"MPIMapCoadder.{name} cannot be set to"):
        setattr(coadder, name, other)


def test_reset_is_called_at_the_end_and_may_be_overridden():
    class Mine(MPIMapCoadder):
        resets = 0

        def reset(self):
            self.resets += 1
            super().reset()

    kept, not_kept = Mine(keep_outputs=True), Mine(keep_outputs=False)
    for coadder in (kept, not_kept):
        with pytest.raises(UsageError, match="no coadd before the end"):
            coadder.reset()
        came = maps_from(frames_of(["90GHz"]), coadder)
        assert came[-1]["Id"] == "Coadd"
    assert (kept.resets, not_kept.resets) == (1, 2)
    assert kept.coadd_frame is not None
    kept.reset()
    assert kept.coadd_frame is not_kept.coadd_frame is None


@pytest.mark.parametrize("wrong", [7, True, 0, b"90GHz", ["90GHz"]], ids=repr)
def test_what_is_no_id_is_refused_at_its_frame(wrong):
    coadder = type("Mine", (MPIMapCoadder,), {"get_map_id": lambda self, frame: wrong})()
    with pytest.raises(InputError, match=r"Id '90GHz'.*get_map_id\(\) returned .* expected a str"):
        coadder(map_frame("flat sparse", "hits", 0, "90GHz"))


def test_an_id_that_is_empty_is_one():
    frames = frames_of(["", "90GHz", ""])
    mine, theirs = MPIMapCoadder(collate=True), maps.CoaddMaps(collate=True, keep_outputs=True)
    maps_from(frames, mine)
    maps_from(frames, theirs)
    assert list(mine.coadd_frames) == list(theirs.coadd_frames) == ["", "90GHz"]
    for name, frame in mine.coadd_frames.items():
        assert_same_coadd(frame, theirs.coadd_frames[name])


def test_get_map_id_and_assign_exclude_each_other():
    mine = type("Mine", (MPIMapCoadder,), {"get_map_id": lambda self, frame: "x"})
    with pytest.raises(UsageError, match=r"assign says .* and so does get_map_id"):
        mine(assign=lambda frame: {"all": 1})


def test_what_is_no_frame_is_refused():
    with pytest.raises(UsageError, match="called with a dict; expected a G3Frame"):
        MPIMapCoadder()({"Id": "90GHz"})
