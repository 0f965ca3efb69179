"""Simulated timestreams: what is in the files, and that they are those behind simulated maps."""

import itertools

import numpy as np
import pytest
from spt3g import core, maps

from g3reduce import MPIIODistributor
from g3reduce.errors import UsageError
from g3reduce.simulate import (
    Survey,
    more_observations,
    observe,
    simulate_observations,
    simulate_scans,
    write_scans,
)

U = core.G3Units
SURVEY = Survey(
    n_pixels=3, width=4 * U.deg, height=1 * U.deg, dec_step=0.4 * U.deg, sky_nside=64, nside=64
)
N_SCANS, N_SAMPLES = 3, 80


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulate_scans(tmp_path_factory.mktemp("scans"), 2, files_per_obs=2, survey=SURVEY)


def scans_of(files):
    frames = itertools.chain.from_iterable(core.G3File(file) for file in files)
    return [frame for frame in frames if frame.type == core.G3FrameType.Scan]


def signal_of(frame, band=150):
    return np.array(frame[f"CalTimestreams{band}GHz"])


def test_each_file_leads_with_metadata_and_holds_a_share_of_the_scans(made):
    for number, files in enumerate(made.files, 1):
        kinds = ["".join(frame.type.key for frame in core.G3File(file)) for file in files]
        assert kinds == ["OCS", "OCSS"]
        assert [file[-14:] for file in files] == [f"obs_{number:04d}_{i:02d}.g3" for i in (0, 1)]


def test_scans_say_what_restitching_asks_for(made):
    for files in made.files:
        observation, calibration, *_ = core.G3File(files[0])
        scans = scans_of(files)
        assert len(scans) == N_SCANS
        for frame in scans:
            assert frame["SourceName"] == observation["SourceName"]
            assert frame["ObservationID"] == observation["ObservationID"]
            boresight = frame["OnlineRaDecRotation"]
            assert np.asarray(boresight).shape == (N_SAMPLES, 4)
            for band in (95, 150):
                signal = frame[f"CalTimestreams{band}GHz"]
                assert signal.n_samples == N_SAMPLES
                assert signal.units == core.G3TimestreamUnits.Tcmb
                assert signal.start.time == boresight.start.time
                assert signal.stop.time == boresight.stop.time
                assert signal.sample_rate == pytest.approx(SURVEY.sample_rate, rel=1e-6)
                assert set(signal.keys()) == set(frame[f"TodWeights{band}GHz"].keys())
                assert set(signal.keys()) <= set(calibration["BolometerProperties"].keys())
        for before, after in itertools.pairwise(scans):
            key = "CalTimestreams150GHz"
            turnaround = after[key].start.time - before[key].stop.time
            assert turnaround * SURVEY.sample_rate == pytest.approx(41, abs=1e-3)


def test_an_observation_depends_on_seed_and_number_alone(made, tmp_path):
    """Also not on how many files it is written to."""
    (again,) = write_scans(tmp_path, 2, made.sky, SURVEY, files_per_obs=1)
    one, two, both = (scans_of(files) for files in (*made.files, [again]))
    for a, b in zip(two, both, strict=True):
        assert a.__getstate__()[1] == b.__getstate__()[1]
    assert not np.array_equal(signal_of(one[0]), signal_of(two[0]))


def test_binned_they_are_the_simulated_maps(made):
    flat, _ = observe(made.sky, SURVEY, 1)
    expected = next(frame for frame in flat[1:] if frame["Id"] == "150GHz")
    frames = itertools.chain.from_iterable(core.G3File(file) for file in made.files[0])
    binned = []
    pipe = core.G3Pipeline()
    pipe.Add(lambda _: next(frames, []))
    pipe.Add(
        maps.MapBinner,
        map_id="150GHz",
        stub_map=expected["T"],
        pointing="OnlineRaDecRotation",
        timestreams="CalTimestreams150GHz",
        detector_weights="TodWeights150GHz",
    )
    pipe.Add(lambda frame: binned.append(frame) if frame.type == core.G3FrameType.Map else None)
    pipe.Run()
    for key in "TQU":
        np.testing.assert_array_equal(binned[0][key], expected[key])


def test_without_a_filter_the_drifts_stay(made, tmp_path):
    drifting = Survey(**{**vars(SURVEY), "poly_order": None})
    files = write_scans(tmp_path, 1, made.sky, drifting)
    assert len(files) == 3
    for a, b in zip(scans_of(files), scans_of(made.files[0]), strict=True):
        assert signal_of(a).std() > signal_of(b).std()
        assert abs(signal_of(b).mean(axis=1)).max() < 1e-9 * U.K


def test_a_distributor_takes_an_observation_as_a_parallel_block(made):
    seen = []
    pipe = core.G3Pipeline()
    pipe.Add(MPIIODistributor, files=list(made.files))
    pipe.Add(lambda frame: seen.append(frame.type.key))
    pipe.Run()
    # In each block the metadata of both files are the same ones, and so come once.
    assert "".join(kind for kind in seen if kind in "OCS") == "OCSSS" * 2


@pytest.mark.parametrize("wrong", [{"n_obs": 0}, {"files_per_obs": 0}])
def test_nothing_cannot_be_simulated(tmp_path, wrong):
    with pytest.raises(UsageError, match="at least one"):
        simulate_scans(tmp_path, survey=SURVEY, **wrong)
    assert not list(tmp_path.iterdir())


def test_more_observations_have_new_noise_of_the_variance_of_their_weights(tmp_path):
    files = simulate_observations(tmp_path, 2, survey=SURVEY).healpix_files
    told = []
    more = more_observations(
        tmp_path / "more", files, 3, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [file[-11:] for file in more] == [f"obs_000{number}.g3" for number in (3, 4, 5)]
    seen = {file: list(core.G3File(file)) for file in (*files, *more)}
    ids = [frames[0]["ObservationID"] for frames in seen.values()]
    assert ids == [ids[0] + 7200 * later for later in range(5)]
    times = [frames[1]["StartTime"].time for frames in seen.values()]
    assert np.diff(times[::2]) == pytest.approx(2 * 7200 * U.s)
    scaled = []
    for was, file in zip((0, 1, 0), more, strict=True):
        for old, new in zip(seen[files[was]][1:], seen[file][1:], strict=True):
            assert new["Id"] == old["Id"]
            assert list(new.keys()) == list(old.keys())
            np.testing.assert_array_equal(new["Wpol"].TT, old["Wpol"].TT)
            np.testing.assert_array_equal(new["H"], old["H"])
            for key in "TQU":
                assert (new[key].ringsparse, new[key].shift_ra) == (True, old[key].shift_ra)
                weight = np.asarray(getattr(old["Wpol"], 2 * key))
                noise = np.asarray(new[key]) - np.asarray(old[key])
                assert not np.any(noise[weight == 0])
                scaled.append(noise[weight > 0] / np.sqrt(weight[weight > 0]))
    scaled = np.concatenate(scaled)
    assert scaled.std() == pytest.approx(1, abs=5 / np.sqrt(2 * len(scaled)))
    again = more_observations(tmp_path / "again", files, 3)
    for one, other in zip(more, again, strict=True):
        with open(one, "rb") as a, open(other, "rb") as b:
            assert a.read() == b.read()


def test_more_of_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError, match="files is empty"):
        more_observations(tmp_path, [], 3)
