"""What frames say of maps: observations, their times, and what stands in for these."""

from __future__ import annotations

import os

import pytest
from skies import map_frame
from spt3g import core

from g3reduce import InputError, UsageError, coadd_files, splits
from g3reduce.pipeline.units import Unit, set_unit
from g3reduce.splits.clocks import Clock
from g3reduce.splits.instants import instant_of
from g3reduce.splits.observing import FactsOfFrames

DAYS = ("2019-04-29T00:00:00", "2019-04-30T23:59:59", "2019-05-01T00:00:00", "2019-05-02T00:00:00")


def observation(number, **keys):
    frame = core.G3Frame(core.G3FrameType.Observation)
    frame["SourceName"] = "field"
    frame["ObservationID"] = number
    for key, value in keys.items():
        frame[key] = value
    return frame


def write(folder, number, *before, inside=()):
    """A file of one map, after other frames."""
    frame = map_frame("flat sparse", "hits", number)
    for key, value in inside:
        frame[key] = value
    file = os.path.join(folder, f"obs_{number}.g3")
    with core.G3Writer(file) as writer:
        for one in (*before, frame):
            writer(one)
    return file


def files_in(coadds):
    return {
        name: [os.path.basename(file) for file in frame["InputFiles"]]
        for name, frame in coadds.items()
    }


HALVES = splits.split(early="date<2019-05-01", late="date>=2019-05-01")
EXPECTED = {"early": ["obs_0.g3", "obs_1.g3"], "late": ["obs_2.g3", "obs_3.g3"]}


@pytest.mark.parametrize("key", ["ObservationStart", "StartTime"])
@pytest.mark.parametrize("inside", [False, True], ids=["before", "of the map"])
def test_times_are_those_of_frames(tmp_path, key, inside):
    files = []
    for number, day in enumerate(DAYS):
        time = {key: core.G3Time(day)}
        before = observation(number, **({} if inside else time))
        after = core.G3Frame(core.G3FrameType.Calibration)  # says nothing of observations
        mine = list(time.items()) if inside else []
        files.append(write(tmp_path, number, before, after, inside=mine))
    assert files_in(coadd_files(files, assign=HALVES)) == EXPECTED


def test_times_are_not_guessed(tmp_path):
    """ObservationIDs may be seconds since any time, or no seconds."""
    begin = instant_of("2017-01-01")
    numbers = [int(instant_of(day) - begin) for day in DAYS]
    files = [write(tmp_path, at, observation(number)) for at, number in enumerate(numbers)]
    with pytest.raises(InputError, match=r"obs_0.g3, frame 1 .* not known when it was observed"):
        coadd_files(files, assign=HALVES)
    assert files_in(coadd_files(files, assign=HALVES.using(time="spt"))) == EXPECTED
    (early,) = coadd_files(files, assign=HALVES.using(time="ctime"))  # of 1972
    assert early == "early"


def test_the_observation_of_a_file_ends_with_it(tmp_path):
    files = [write(tmp_path, 0, observation(7)), write(tmp_path, 1)]
    rule = splits.split(seven="observation=7")
    with pytest.raises(InputError, match=r"obs_1.g3, frame 0 .* its observation is not known"):
        coadd_files(files, assign=rule)


def test_a_later_frame_of_a_file_counts_and_the_map_itself_before_it(tmp_path):
    facts = FactsOfFrames()
    file = Unit("x.g3", 0)

    def seen(frame, index):
        set_unit(frame, Unit(file.file, index))
        facts.observe(frame)
        return frame

    def of_map(index, **keys):
        frame = map_frame("flat sparse", "hits", 1)
        for key, value in keys.items():
            frame[key] = value
        return facts.facts_of(seen(frame, index))

    first = core.G3Time("2019-05-01T00:00:00")
    kept = [seen(observation(1, ObservationStart=first), 0)]
    assert (of_map(1).observation, of_map(1).time) == ("field/1", instant_of("2019-05-01"))
    # The name once more, without the time; half a name says nothing.
    same = of_map(1, SourceName="field", ObservationID=1)
    assert (same.observation, same.time) == ("field/1", instant_of("2019-05-01"))
    assert of_map(1, SourceName="moon").observation == "field/1"
    kept.append(seen(observation(2), 2))
    assert (of_map(3).observation, of_map(3).time) == ("field/2", None)
    own = of_map(4, SourceName="moon", ObservationID=9)
    assert (own.source, own.observation, own.time) == ("moon", "moon/9", None)


@pytest.mark.parametrize(
    ("text", "observed", "row", "expected"),
    [
        ("spt", "field/0", None, "2017-01-01"),
        ("spt", "field/70005000", None, "2019-03-22T05:50"),
        ("ctime", "x/1556668800", None, "2019-05-01"),
        ("mjd:when", "x/1", {"when": 58604.5}, "2019-05-01T12:00"),
        ("ctime:when", "x/1", {"when": "1556668800.5"}, "2019-05-01T00:00:00.5"),
        ("iso:when", "x/1", {"when": "2019-05-01T12:00Z"}, "2019-05-01T12:00"),
        ("iso:when", "x/1", {"when": None}, None),
    ],
)
def test_other_clocks(text, observed, row, expected):
    time = Clock.of(text).time_of(None, observed, row)
    assert time == (None if expected is None else instant_of(expected))


def test_mjd_and_the_begin_of_spt_are_those_of_astropy():
    from astropy.time import Time

    assert Clock.of("mjd:x").time_of(None, "", {"x": 58604.25}) == Time(58604.25, format="mjd").unix
    assert Clock.of("spt").time_of(None, "x/0", None) == Time("2017-01-01").unix


@pytest.mark.parametrize("text", ["", "SPT", "mjd", "iso", "spt:", "frame:x", "x", 7])
def test_unknown_clocks_are_refused(text):
    with pytest.raises(UsageError, match="expected 'frame'"):
        splits.by("id").using(time=text)


@pytest.mark.parametrize(
    ("text", "observed", "row", "problem"),
    [
        ("spt", "field/night7", None, "the ObservationID is 'night7', which is no time"),
        ("mjd:x", "a/1", {"x": "late"}, "the column 'x' is 'late', which is no time"),
        ("iso:x", "a/1", {"x": 58604.0}, r"the column 'x' is 58604\.0"),
    ],
)
def test_what_is_no_time_is_an_error_that_names_the_observation(text, observed, row, problem):
    with pytest.raises(InputError, match=f"'{observed}': {problem}"):
        Clock.of(text).time_of(None, observed, row)


# Names


@pytest.mark.parametrize("name", ["a b", "a/b", "", "_x", "ä", "x\n"])
def test_names_that_cannot_be_part_of_a_file_name_are_refused(name):
    with pytest.raises(UsageError, match="expected letters and digits"):
        splits.split(**{name: "all"})


@pytest.mark.parametrize("map_id", ["a/b", "a\tb", ""])
def test_ids_that_cannot_be_part_of_a_name_are_refused_where_they_would_be(map_id):
    facts = splits.MapFacts("x.g3", 3, map_id, "field", "field/1")
    with pytest.raises(InputError, match=r"x.g3, frame 3"):
        splits.by("id").plan([facts])
    assert splits.by("observation").plan([facts]).names == ["field-1"]


def test_names_that_clash_say_which():
    facts = [
        splits.MapFacts("x.g3", 1, "a_b", "f", "f/1"),
        splits.MapFacts("x.g3", 2, "a", "f", "f/1"),
    ]
    both = splits.by("id") * splits.split(b="all", c="all") + splits.split(a_b="id=a_b")
    message = r"two coadds would be named 'a_b': one of \(by id \* b: all\), and one of \(a_b: id="
    with pytest.raises(InputError, match=message):
        both.plan(facts)
    assigner = both.assigner()
    assert set(assigner.signs_of(facts[1])) == {"a_b", "a_c"}
    with pytest.raises(InputError, match=message):
        assigner.signs_of(facts[0])


def test_a_split_without_maps_is_warned_of(caplog):
    plan = splits.split(low="id=90Ghz", all="all").plan([splits.MapFacts("x.g3", 1, "90GHz")])
    assert plan.names == ["all"]
    assert "No map of the input is in (low: id=90Ghz)" in caplog.text
    assert "Ids: 90GHz." in caplog.text


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: splits.split(), "no rule"),
        (lambda: splits.split(x=lambda facts: True), "expected a rule"),
        (lambda: splits.split(x="id"), "cannot be read"),
        (lambda: splits.by("date"), "expected one of id, source, observation"),
        (lambda: splits.by(""), "expected one of"),
        (lambda: splits.date(), "neither start nor stop"),
        (lambda: splits.date("2019-05-02", "2019-05-01"), "no date is in this range"),
        (lambda: splits.parity(1), "expected 'odd' or 'even'"),
        (lambda: splits.map_id(""), "expected a text"),
        (lambda: splits.column("x", "~", 1), "expected one of =, !="),
        (lambda: splits.column("x", "<", None), "expected a number or a text"),
    ],
)
def test_arguments_that_cannot_be_used_say_why(make, problem):
    with pytest.raises(UsageError, match=problem):
        make()
