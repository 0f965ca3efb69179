"""MPIMapCoadder in pipelines that are less simple than they should be."""

from __future__ import annotations

import numpy as np
import pytest
import skies
from spt3g import core, maps

from g3reduce import InputError, MPIFileReader, MPIMapCoadder, UsageError


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_a_frame_made_from_another_belongs_to_the_observation_that_came_last(folder):
    files = skies.write_files(folder, 3, "flat sparse", "polarized", map_ids=("90GHz",))

    def remake(frame):
        if frame.type != core.G3FrameType.Map:
            return None
        new = core.G3Frame(core.G3FrameType.Map)
        for key in frame.keys():  # noqa: SIM118
            new[key] = frame[key]
        return new

    mine, theirs = MPIMapCoadder(record_obs_id=True), maps.CoaddMaps(record_obs_id=True)
    for coadder in (mine, theirs):
        pipe = core.G3Pipeline()
        pipe.Add(MPIFileReader, mpicomm=None, files=[files])
        pipe.Add(remake)
        pipe.Add(coadder)
        found = []
        pipe.Add(lambda frame, found=found: found.append(frame) if "InputMapIds" in frame else None)
        pipe.Run()
        coadder.found = list(found[0]["InputMapIds"])
    assert mine.found == theirs.found


def test_a_halted_map_maker_is_noticed_though_its_frames_are_new(folder):
    files = skies.write_files(folder, 4, "flat sparse", "polarized")
    seen = []

    def make_maps(frame):
        if frame.type == core.G3FrameType.Map:
            seen.append(frame)
            if len(seen) == 3:
                core.G3Pipeline.halt_processing()
            return skies.map_frame("flat sparse", "polarized", seed=len(seen))
        return [] if frame.type == core.G3FrameType.Observation else None

    pipe = core.G3Pipeline()
    pipe.Add(MPIFileReader, mpicomm=None, files=[files])
    pipe.Add(make_maps)
    pipe.Add(MPIMapCoadder())
    with pytest.raises(InputError, match="was halted before all files were read"):
        pipe.Run()
    reset = core.G3Pipeline()  # spt3g would end the next pipeline, too
    reset.Add(lambda frame: [])
    reset.Run()


def test_a_reader_that_could_not_be_made_does_not_halt_the_next_pipeline(folder):
    with pytest.raises(InputError, match="No such file") as held:
        MPIFileReader(None, [[str(folder / "missing.g3")]])
    coadder = MPIMapCoadder()
    pipe = core.G3Pipeline()
    pipe.Add(lambda frame: [])  # another reader, that has nothing for this rank
    pipe.Add(coadder)
    pipe.Run()
    assert len(coadder.result) == 0
    assert held.tb is not None  # as in a script that keeps the error: the reader is still there


def test_copies_of_a_result_are_not_summed_again(folder):
    files = skies.write_files(folder, 2, "flat sparse", "polarized")

    def copy(frame):
        new = core.G3Frame(frame.type)
        for key in frame.keys():  # noqa: SIM118
            new[key] = frame[key]
        return new if frame.type == core.G3FrameType.Map else None

    first, second = MPIMapCoadder(), MPIMapCoadder()
    pipe = core.G3Pipeline()
    pipe.Add(MPIFileReader, mpicomm=None, files=[files])
    pipe.Add(first)
    pipe.Add(copy)
    pipe.Add(second)
    pipe.Run()
    for name, plane in skies.planes(first.coadd_frame).items():
        np.testing.assert_array_equal(plane, skies.planes(second.coadd_frame)[name])


def test_a_frame_that_is_refused_for_one_coadd_is_in_none(folder):
    def both(frame):
        return {"B": 1, "A": 1} if frame["Id"] == "odd" else {"A": 1}

    coadder = MPIMapCoadder(assign=both, ignore_missing_weights=True)
    coadder.add(skies.map_frame("flat sparse", "polarized", seed=1))
    with pytest.raises(InputError):
        coadder.add(skies.map_frame("healpix ring", "polarized", seed=1, map_id="odd"))
    coadder.finish()
    assert list(coadder.coadd_frames) == ["A"]


def test_hits_may_come_in_frames_of_their_own(folder):
    """As spt3g's MapBinner and HitsBinner make them: two frames of one Id."""
    frames = []
    for seed in range(3):
        whole = skies.map_frame("flat sparse", "hits", seed=seed)
        hits = core.G3Frame(core.G3FrameType.Map)
        hits["Id"], hits["H"] = whole["Id"], whole.pop("H")
        frames += [whole, hits] if seed else [hits, whole]
    mine, theirs = MPIMapCoadder(keep_outputs=True), maps.CoaddMaps(keep_outputs=True)
    for coadder in (mine, theirs):
        for frame in frames:
            coadder(frame)
    mine.finish()
    skies.assert_same_coadd(mine.coadd_frame, theirs.coadd_frame)

    mixed = MPIMapCoadder()
    mixed.add(frames[0])
    with pytest.raises(InputError, match="would be counted twice"):
        mixed.add(skies.map_frame("flat sparse", "hits", seed=9))


def test_get_map_id_may_be_overridden_as_in_spt3g(folder):
    files = skies.write_files(folder, 3, "flat sparse", "polarized")

    def by_band(self, frame):
        return False if frame["Id"] == "90GHz" else "band" + frame["Id"]

    mine = type("Mine", (MPIMapCoadder,), {"get_map_id": by_band})(collate=True)
    theirs = type("Theirs", (maps.CoaddMaps,), {"get_map_id": by_band})(collate=True)
    for coadder in (mine, theirs):
        passed = []
        pipe = core.G3Pipeline()
        pipe.Add(core.G3Reader, filename=files, track_filename=True)
        pipe.Add(coadder)
        pipe.Add(lambda frame, passed=passed: passed.append(frame.get("Id", None)))
        pipe.Run()
        coadder.passed = passed
    assert mine.passed == theirs.passed
    assert list(mine.coadd_frames) == ["band150GHz"]


def test_traps_are_told_in_a_sentence():
    coadder = MPIMapCoadder()
    with pytest.raises(UsageError, match="no coadd before the end of processing"):
        _ = coadder.coadd_frame
    pipe = core.G3Pipeline()
    pipe.Add(MPIMapCoadder())
    with pytest.raises(UsageError, match="first module of this pipeline"):
        pipe.Run()
    frame = skies.map_frame("flat sparse", "polarized", seed=1)
    del frame["Id"]
    frame["Id"] = 150
    with pytest.raises(InputError, match="the Id is a int; expected a string"):
        coadder.add(frame)


def test_only_who_records_observations_looks_at_them():
    frame = core.G3Frame(core.G3FrameType.Observation)
    frame["SourceName"] = "field"
    MPIMapCoadder()(frame)
    with pytest.raises(InputError, match="a SourceName, but no ObservationID"):
        MPIMapCoadder(record_obs_id=True)(frame)


def test_no_projection_is_not_any_projection():
    """To spt3g, a map without projection is compatible with any."""
    frame = skies.map_frame("flat sparse", "no weights", seed=1)
    coadder = MPIMapCoadder(ignore_missing_weights=True)
    coadder.add(frame)
    for key in "TQU":
        skymap = frame.pop(key).clone(True)
        skymap.proj = maps.MapProjection.ProjNone
        frame[key] = skymap
    with pytest.raises(InputError, match="proj, ProjNone and ProjZEA"):
        coadder.add(frame)
