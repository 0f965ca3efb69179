"""MPIAccumulator in one process: what it keeps, in which order, and what it refuses."""

import numpy as np
import pytest
import scans
from spt3g import core

import g3reduce
from g3reduce import MPIAccumulator, ScanExtractor
from g3reduce.mpi.communicators import OneProcess

OBSERVATION = core.G3FrameType.Observation


def a_scan(number, **keys):
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["Number"] = number
    for key, value in keys.items():
        frame[key] = value
    return frame


def accumulate(frames, *arguments, **options):
    accumulator = MPIAccumulator(OneProcess(), *arguments, **options)
    for frame in frames:
        accumulator.add(frame)
    accumulator.finish()
    return accumulator


def run(frames, *arguments, behind=(), **options):
    accumulator = MPIAccumulator(OneProcess(), *arguments, **options)
    source = iter([*frames])
    pipe = core.G3Pipeline()
    pipe.Add(lambda frame: next(source, []))
    pipe.Add(accumulator)
    for module in behind:
        pipe.Add(module)
    pipe.Run()
    return accumulator


def numbers(items):
    return [frame["Number"] for _, _, frame in items]


def by_number(frame):
    """What a user would write, for frames of any type."""
    return ("all", frame["Number"], frame) if "Number" in frame else None


def test_frames_are_kept_by_observation_in_their_order():
    frames = [
        scans.observation_frame(1, "a"),
        a_scan(0),
        a_scan(1, ObservationID=9),
        a_scan(2, SourceName="b"),
        core.G3Frame(core.G3FrameType.Calibration),
        core.G3Frame(core.G3FrameType.Map),
        scans.observation_frame(2, "b"),
        a_scan(3),
        a_scan(4, SourceName="a", ObservationID=1),
    ]
    accumulator = run(frames)
    assert {group: numbers(items) for group, items in accumulator.fullobs.items()} == {
        "a-1": [0, 4],
        "a-9": [1],
        "b-1": [2],
        "b-2": [3],
    }
    assert all(
        (metadata, rank) == (None, 0)
        for items in accumulator.fullobs.values()
        for metadata, rank, _ in items
    )


def test_other_types_of_frames_are_kept_if_so_wished():
    timepoint = core.G3Frame(core.G3FrameType.Timepoint)
    timepoint["Number"] = 1
    frames = [scans.observation_frame(), a_scan(0), timepoint]
    assert numbers(run(frames).fullobs["field-1000"]) == [0, 1]
    only = run(frames, dataframes=[core.G3FrameType.Timepoint])
    assert numbers(only.fullobs["field-1000"]) == [1]
    assert [f.type for _, _, f in run(frames, None, None, {OBSERVATION}).fullobs["field-1000"]] == [
        OBSERVATION
    ]


def test_a_frame_that_belongs_to_no_observation_is_refused():
    with pytest.raises(g3reduce.InputError, match="has no SourceName, and no Observation fr"):
        run([a_scan(0)])
    with pytest.raises(g3reduce.InputError, match=r"has no ObservationID.*an extractfunc"):
        run([a_scan(0, SourceName="a")])


@pytest.mark.parametrize(
    "groups",
    [(1, 2), ("a", ("b", 1)), (None, True), (frozenset("a"), core.G3FrameType.Scan), ("",)],
)
def test_groups_may_be_anything_hashable(groups):
    frames = [a_scan(i) for i in range(6)]
    accumulator = run(
        frames,
        lambda f: (groups[f["Number"] % len(groups)], 0, f["Number"]) if "Number" in f else None,
    )
    assert list(accumulator.fullobs) == list(groups)
    for place, group in enumerate(groups):
        expected = range(place, 6, len(groups))
        assert accumulator.fullobs[group] == [(0, 0, number) for number in expected]


def test_the_extractor_sees_frames_of_all_types_and_may_keep_anything():
    seen = []

    def extract(frame):
        seen.append(frame.type)
        return ("g", None, None) if frame.type == OBSERVATION else None

    accumulator = run([scans.observation_frame(), a_scan(0)], extract)
    assert seen == [OBSERVATION, core.G3FrameType.Scan]
    assert accumulator.fullobs == {"g": [(None, 0, None)]}


def test_the_sorter_orders_each_group_and_sees_metadata_rank_and_data():
    seen = []

    def sorter(item):
        seen.append(item)
        return -item[0], "same kind"

    accumulator = run([a_scan(i) for i in (2, 0, 1)], by_number, sorter)
    assert numbers(accumulator.fullobs["all"]) == [2, 1, 0]
    assert [(number, rank, frame["Number"]) for number, rank, frame in seen] == [
        (2, 0, 2),
        (0, 0, 0),
        (1, 0, 1),
    ]
    stable = run([a_scan(i) for i in (2, 0, 1)], by_number, lambda item: 0)
    assert numbers(stable.fullobs["all"]) == [2, 0, 1]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (lambda item: item[0] if item[0] else "zero", "'<' not supported between"),
        (lambda item: {"a": 1}, "'<' not supported between"),
        (lambda item: None, "'<' not supported between"),
        (lambda item: np.arange(3), "truth value of an array"),
    ],
)
def test_keys_that_cannot_be_compared_are_refused_with_the_group(key, text):
    with pytest.raises(g3reduce.ReductionError, match=r"^The group .all. cannot be pu") as caught:
        run([a_scan(0), a_scan(1)], by_number, key)
    assert text in str(caught.value)
    assert run([a_scan(0)], by_number, key).fullobs["all"][0][0] == 0  # one alone is in order


@pytest.mark.parametrize("returned", [1, "abc", ("a", 1), ["a", 1, 2], ("a", 1, 2, 3)])
def test_extractors_that_do_not_return_three_things_are_refused(returned):
    with pytest.raises(
        g3reduce.ReductionError, match=r"extractfunc of MPIAccumulator returned .*exp"
    ):
        run([a_scan(0)], lambda frame: returned)


def test_groups_that_are_not_hashable_are_refused():
    with pytest.raises(
        g3reduce.ReductionError, match=r"gives the group \['a'\] \(list\)"
    ) as caught:
        run([a_scan(0)], lambda frame: (["a"], 1, 2))
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(g3reduce.ReductionError, match="expected one that is hashable"):
        run([a_scan(0)], lambda frame: (("a", []), 1, 2))


@pytest.mark.parametrize("which", ["extractfunc", "sorter"])
def test_an_error_in_a_users_function_says_where(which):
    def fail(argument):
        raise KeyError("nowhere")

    functions = {"extractfunc": by_number, which: fail}
    text = rf"^{which} of MPIAccumulator failed: KeyError: 'nowhere' \(at a Scan frame made in"
    with pytest.raises(g3reduce.ReductionError, match=text) as caught:
        run([a_scan(0)], **functions)
    assert isinstance(caught.value.__cause__, KeyError)


def test_arguments_that_cannot_be_used_are_refused():
    for arguments, text in (
        ({"extractfunc": 3}, "extractfunc is 3; expected a function"),
        ({"sorter": "time"}, "sorter is 'time'; expected a function"),
        ({"on_duplicate": "x"}, "on_duplicate is 'x'; expected one of error, sum"),
        ({"dataframes": core.G3FrameType.Scan}, "dataframes is .*Scan; expected types of frames"),
        ({"dataframes": ["Scan"]}, r"dataframes is \['Scan'\]; expected types of frames"),
    ):
        with pytest.raises(g3reduce.UsageError, match=text):
            MPIAccumulator(OneProcess(), **arguments)


def test_frames_go_down_the_pipeline_and_may_change_there():
    frames = [scans.observation_frame(), a_scan(0), a_scan(1)]
    seen = []

    def change(frame):
        seen.append(frame.type)
        if frame.type == core.G3FrameType.Scan:
            del frame["Number"]
            frame["Other"] = 1

    accumulator = run(frames, behind=[change])
    assert numbers(accumulator.fullobs["field-1000"]) == [0, 1]
    assert not any("Other" in frame for _, _, frame in accumulator.fullobs["field-1000"])
    types = core.G3FrameType
    assert [t for t in seen if t != types.PipelineInfo] == [
        types.Observation,
        types.Scan,
        types.Scan,
        types.EndProcessing,
    ]


def test_what_is_extracted_from_scans_may_change_behind():
    rng = np.random.default_rng(1)
    frames = scans.an_observation(rng, flags="int", detector_flags="timestreams")
    expected = scans.concatenated(frames)

    def spoil(frame):
        if frame.type == core.G3FrameType.Scan:
            for key in (scans.KEY, scans.DETECTOR_FLAGS):
                for row in frame[key].values():
                    np.asarray(row)[:] = 0
            for key in (scans.BORESIGHT, scans.FLAGS):
                np.asarray(frame[key])[:] = 0

    keys = {"flags": scans.FLAGS, "detector_flags": scans.DETECTOR_FLAGS}
    extract = ScanExtractor(scans.KEY, boresight=scans.BORESIGHT, **keys)
    accumulator = run(frames, extract, behind=[spoil])
    assert not np.asarray(frames[0][scans.KEY]).any()
    kept = [scan for _, _, scan in accumulator.fullobs["field-1000"]]
    for name in ("signal", "boresight", "flags", "detector_flags"):
        found = np.concatenate(
            [getattr(scan, name).T for scan in kept]
            if name in ("signal", "detector_flags")
            else [getattr(scan, name) for scan in kept]
        )
        values = getattr(expected, name)
        values = values.T if name in ("signal", "detector_flags") else values
        np.testing.assert_array_equal(scans.bits(found), scans.bits(values))
    np.testing.assert_array_equal(kept[0].header.ends, expected.boresight[[0, 6]])


def test_there_is_nothing_before_the_end_and_nothing_goes_in_after_it():
    accumulator = MPIAccumulator(OneProcess(), by_number)
    with pytest.raises(g3reduce.UsageError, match="There is no result before the end"):
        _ = accumulator.fullobs
    accumulator.add(a_scan(0))
    assert accumulator.unfinished
    assert accumulator.finish() is accumulator.fullobs
    assert not accumulator.unfinished
    for again in (accumulator.finish, lambda: accumulator.add(a_scan(1))):
        with pytest.raises(g3reduce.UsageError, match="has ended its work"):
            again()


def test_it_cannot_be_the_first_module():
    pipe = core.G3Pipeline()
    pipe.Add(MPIAccumulator(OneProcess()))
    with pytest.raises(g3reduce.UsageError, match="MPIAccumulator is the first module"):
        pipe.Run()


def test_dropping_a_group_keeps_its_metadata():
    accumulator = accumulate([a_scan(0), a_scan(1)], lambda f: (f["Number"], "told", f))
    accumulator.drop(1)
    assert accumulator.fullobs[1] == [("told", 0, None)]
    assert accumulator.fullobs[0][0][2]["Number"] == 0
    with pytest.raises(KeyError):
        accumulator.drop("unknown")


def test_no_frames_at_all_give_no_groups():
    assert accumulate([]).fullobs == {}
    assert run([scans.observation_frame()]).fullobs == {}


def test_frames_of_files_come_once_in_the_order_of_the_files_and_know_their_places(tmp_path):
    rng = np.random.default_rng(1)
    files = []
    for obs in (3, 1, 2):
        frames = scans.an_observation(rng, obs=obs)
        files += scans.write_files(tmp_path, frames, name=f"obs_{obs}")
    accumulator = MPIAccumulator(OneProcess())
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=OneProcess(), files=[files])
    pipe.Add(accumulator)
    pipe.Run()
    assert list(accumulator.fullobs) == ["field-3", "field-1", "field-2"]
    places = [str(g3reduce.unit_of(frame)) for _, _, frame in accumulator.fullobs["field-1"]]
    assert places == [f"{files[2]}, frame 2", f"{files[3]}, frame 2", f"{files[3]}, frame 3"]


def test_a_file_that_is_read_twice_is_refused_unless_it_should_be_kept_twice(tmp_path):
    files = scans.write_files(tmp_path, scans.an_observation(np.random.default_rng(1)), n_files=1)

    def both(**options):
        accumulator = MPIAccumulator(OneProcess(), **options)
        pipe = core.G3Pipeline()
        pipe.Add(g3reduce.MPIFileReader, mpicomm=OneProcess(), files=[files[0], files[0]])
        pipe.Add(accumulator)
        pipe.Run()
        return accumulator

    with pytest.raises(g3reduce.DuplicateError, match=r"obs_1000_00\.g3, frame 2 came twice"):
        both()
    assert len(both(on_duplicate="sum").fullobs["field-1000"]) == 6
