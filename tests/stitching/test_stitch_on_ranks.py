"""Stitching on any number of ranks is the serial concatenation, whoever had which scan."""

import tracemalloc

import numpy as np
import pytest
import scans
from spt3g import core
from stitching_oracle import accumulate, assert_share, keys_of, whole

import g3reduce
from g3reduce import stitch, unstitch
from g3reduce.choices import Distribution, choices_of
from g3reduce.stitching import restitch
from g3reduce.stitching.accumulated import read_accumulated
from g3reduce.stitching.rules import StitchRules
from g3reduce.stitching.scans import ScanKeys
from g3reduce.stitching.shares import Samples, shares_of

QUATS = (None, core.G3VectorQuat, core.G3TimestreamQuat)


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


def any_frames(rng, obs):
    """The scans of an observation, in any order, of any type, with any detectors and flags."""
    names = [f"w{i}.det" for i in rng.permutation(5)[: rng.integers(1, 6)]]
    n_scans = int(rng.integers(1, 6))
    kinds = rng.integers(3)  # of detectors: all, all in any order, some
    each = [
        [names, list(rng.permutation(names)), list(rng.permutation(names))[: rng.integers(1, 6)]]
        for _ in range(n_scans)
    ]
    frames = scans.an_observation(
        rng,
        [int(n) for n in rng.integers(0, 12, n_scans - 1)] + [5],
        gaps=[int(n) for n in rng.integers(0, 4, n_scans)],
        detectors=[some[kinds] for some in each],
        dtype=pick(rng, scans.DTYPES),
        boresight=pick(rng, QUATS),
        flags=pick(rng, (None, *scans.FLAG_KINDS)),
        detector_flags=pick(rng, (None, *scans.DETECTOR_FLAG_KINDS)),
        obs=obs,
    )
    return [frames[i] for i in rng.permutation(n_scans)]


class Case:
    """Scans of an observation, the same on all ranks, and who owns them: any ranks, or one."""

    def __init__(self, seed, size):
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.frames = any_frames(rng, seed)
        self.group = f"field-{seed}"
        self.owners = rng.integers(0, size, len(self.frames))
        if rng.random() < 0.3:
            self.owners[:] = rng.integers(0, size)
        self.keys = keys_of(self.frames)
        self.gaps = pick(rng, ("keep", "fill"))

    def accumulate(self, comm, extracted=False):
        keys = self.keys if extracted else None
        return accumulate(comm, self.frames, self.owners, keys=keys)


@pytest.fixture
def small_pieces(limits):
    """Pieces of a few samples: scans are cut in rows, and rows in samples."""
    return lambda size: limits(swap_piece=size)


def assert_back(comm, case, accumulator, observation):
    """Each rank gets the scans that it has, to the bit."""
    back = unstitch(observation, observation.signal)
    mine = {
        index: frame
        for index, (_, rank, _) in enumerate(accumulator.fullobs[case.group])
        for frame in [in_order(case, comm.size)[index]]
        if rank == comm.rank and frame[scans.KEY].n_samples
    }
    assert set(back) == set(mine)
    for index, frame in mine.items():
        expected = frame[scans.KEY]
        assert list(back[index].keys()) == list(expected.keys())
        assert (back[index].start, back[index].stop) == (expected.start, expected.stop)
        assert back[index].units == expected.units
        for one, other in zip(back[index].values(), expected.values(), strict=True):
            np.testing.assert_array_equal(scans.bits(one), scans.bits(other))


def in_order(case, size):
    """The frames as `fullobs` has them: by rank, and on a rank as they came."""
    return [
        frame
        for rank in range(size)
        for frame, owner in zip(case.frames, case.owners, strict=True)
        if owner == rank
    ]


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize("distribution", choices_of(Distribution))
@pytest.mark.parametrize("piece", [9, 64])
def test_observations_are_whole_and_go_back_whoever_had_their_scans(
    comm, small_pieces, distribution, piece
):
    small_pieces(piece)
    first = 100 * comm.size + piece
    for seed in range(first, first + (2 if comm.size == 5 else 4)):
        case = Case(seed, comm.size)
        expected = whole(case.frames, case.gaps)
        extracted = seed % 2 == 0
        accumulator = case.accumulate(comm, extracted)
        options = {} if extracted else case.keys  # the extractor has its own
        (found,) = stitch(accumulator, distribution, gaps=case.gaps, **options).values()
        assert_share(found, expected, case.gaps)
        assert_shares(comm, distribution, found)
        assert_back(comm, case, accumulator, found)


def assert_shares(comm, distribution, found, root=0):
    """Shares make the whole, are as equal as can be, and are known to all."""
    shares = comm.allgather(found.share)
    assert found.shares == shares
    rows, columns = zip(*[share.shape for share in shares], strict=True)
    n_detectors, n_samples = len(found.timeline.detectors), found.timeline.n_samples
    if distribution == "root":
        nothing = (0, 0)
        assert [share.shape for share in shares] == [
            (n_detectors, n_samples) if rank == root else nothing for rank in range(comm.size)
        ]
        return
    cut, kept, total, other = (
        (rows, columns, n_detectors, n_samples)
        if distribution == "detector"
        else (columns, rows, n_samples, n_detectors)
    )
    assert sum(cut) == total
    assert max(cut) - min(cut) <= 1
    assert set(kept) == {other}


@pytest.mark.ranks(1, 2, 3, 5)
def test_whole_frames_and_extracted_scans_give_the_same(comm):
    case = Case(11, comm.size)
    for distribution in choices_of(Distribution):
        one, other = (
            next(iter(stitch(case.accumulate(comm, extracted), distribution, **case.keys).values()))
            for extracted in (False, True)
        )
        np.testing.assert_array_equal(scans.bits(one.signal), scans.bits(other.signal))
        for name in ("boresight", "flags", "detector_flags", "times"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.ranks(1, 2, 3, 5)
def test_several_observations_of_which_some_are_on_one_rank_alone(comm):
    rng = np.random.default_rng(4)
    detectors = [f"d{i}" for i in range(max(1, comm.size - 1))]  # one fewer than ranks
    each = [scans.an_observation(rng, (3, 1, 4), obs=obs, detectors=detectors) for obs in range(6)]
    frames, owners = [], []
    for obs, some in enumerate(each):
        owner = {0: [0] * 3, 1: [comm.size - 1] * 3}.get(obs, rng.integers(0, comm.size, 3))
        order = rng.permutation(3)
        frames += [some[i] for i in order]
        owners += list(owner)
    for distribution in ("detector", "time"):
        accumulator = accumulate(comm, frames, owners)
        found = stitch(accumulator, distribution, drop_input=True)
        assert list(found) == list(accumulator.fullobs)
        assert set(found) == {f"field-{obs}" for obs in range(6)}
        for obs, some in enumerate(each):
            assert_share(found[f"field-{obs}"], whole(some))
        # The data are gone, what all ranks know is not.
        assert all(data is None for items in accumulator.fullobs.values() for _, _, data in items)
        if distribution == "detector" and comm.size > 1 and comm.rank == comm.size - 1:
            assert found["field-0"].signal.shape == (0, 8)
            assert found["field-0"].detectors == ()
        back = unstitch(found["field-1"], found["field-1"].signal)
        assert len(back) == (3 if comm.rank == comm.size - 1 else 0)


@pytest.mark.ranks(2, 3)
def test_everything_may_go_to_any_rank(comm):
    case = Case(12, comm.size)
    for root in range(comm.size):
        accumulator = case.accumulate(comm)
        (found,) = stitch(accumulator, "root", root=root, **case.keys).values()
        assert_share(found, whole(case.frames))
        assert_shares(comm, "root", found, root)
        assert_back(comm, case, accumulator, found)


@pytest.mark.ranks(1, 2, 3)
@pytest.mark.parametrize("distribution", choices_of(Distribution))
def test_samples_may_go_to_memory_of_the_callers_and_only_what_is_asked_for(comm, distribution):
    kinds = {"flags": "int", "detector_flags": "int"}
    frames = scans.an_observation(np.random.default_rng(1), gaps=[0, 2, 0], **kinds)
    expected = whole(frames, "fill")
    keys = keys_of(frames)
    accumulator = accumulate(comm, frames, np.arange(3) % comm.size, keys=keys)
    there, timelines = read_accumulated(accumulator, ScanKeys(**keys), StitchRules("fill"))
    (timeline,) = timelines.values()
    shares = shares_of(distribution, 3, timeline.n_samples, comm.size)
    rows, samples = share = shares[comm.rank]
    mine = there.get(timeline.group, {})
    everything = np.full((*share.shape, 2), 7.0)
    flags = np.full(share.shape[1], 4, np.uint8)
    some = Samples(everything[..., 0], flags=flags)
    restitch.restitch(comm, timeline, shares, mine, some)
    gap = slice(7, 9)
    # What no scan has is as it was, but flagged.
    expected.signal[:, gap], expected.flags[gap] = 7, 4 | 1
    np.testing.assert_array_equal(some.signal, expected.signal[rows, samples])
    np.testing.assert_array_equal(flags, expected.flags[samples])
    assert (everything[..., 1] == 7).all()


@pytest.mark.ranks(2, 3)
def test_fewer_samples_than_ranks(comm):
    frames = [scans.make_scan(np.random.default_rng(1), n_samples=1)]
    for distribution in choices_of(Distribution):
        (found,) = stitch(accumulate(comm, frames, [comm.size - 1]), distribution).values()
        assert_share(found, whole_of_one(frames[0]))


def whole_of_one(frame):
    expected = whole([frame, scans.make_scan(np.random.default_rng(2), start=scans.START + 10**9)])
    for name in ("times", "flags", "boresight"):
        setattr(expected, name, getattr(expected, name)[:1])
    for name in ("signal", "detector_flags"):
        setattr(expected, name, getattr(expected, name)[:, :1])
    return expected


@pytest.mark.ranks(2, 3)
def test_samples_move_as_buffers_and_are_never_pickled(comm, monkeypatch):
    import pickle

    from mpi4py import MPI

    pickled, real = [], pickle.dumps

    def dumps(value, protocol=None, *arguments):
        data = real(value, pickle.HIGHEST_PROTOCOL)
        pickled.append(len(data))
        return data

    rng = np.random.default_rng(1)
    frames = scans.an_observation(rng, [2000] * comm.size, detectors=("a", "b", "c"))
    accumulator = accumulate(comm, frames, range(comm.size))
    monkeypatch.setattr(pickle, "dumps", dumps)
    MPI.pickle.__init__(dumps, pickle.loads)
    try:
        (found,) = stitch(accumulator).values()
        unstitch(found, found.signal)
    finally:
        MPI.pickle.__init__()
    assert_share(found, whole(frames))
    assert pickled
    assert sum(pickled) < found.signal.nbytes / 4


@pytest.mark.ranks(1, 2, 3)
@pytest.mark.parametrize("distribution", choices_of(Distribution))
def test_a_rank_needs_memory_for_what_it_receives_and_for_some_pieces(
    comm, small_pieces, distribution
):
    small_pieces(2**14)
    frames = scans.an_observation(
        np.random.default_rng(1), [700] * 7, detectors=[f"d{i}" for i in range(60)]
    )
    accumulator = accumulate(comm, frames, np.arange(7) % comm.size, keys={})
    stitch(accumulator, distribution)  # buffers stay
    tracemalloc.start()
    try:
        (found,) = stitch(accumulator, distribution).values()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        kept, _ = tracemalloc.get_traced_memory()
        back = unstitch(found, found.signal)
        _, way_back = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    share = sum(a.nbytes for a in (found.signal, found.boresight, found.flags))
    share += found.detector_flags.nbytes
    mine = sum(np.asarray(timestreams).nbytes for timestreams in back.values())
    some_pieces = 8 * 2**14 + 2**17  # and what Python needs for itself
    assert peak < share + some_pieces
    assert way_back - kept < mine + some_pieces


@pytest.mark.ranks(1, 2, 3)
@pytest.mark.parametrize("how", ["reader", "distributor"])
def test_from_files_to_filtered_frames(comm, shared_folder, how):
    """The whole way: a pipeline reads, stitches, filters, and each rank has its scans again."""
    rng = np.random.default_rng(3)
    each = [scans.an_observation(rng, (5, 6, 7, 4), obs=obs) for obs in (1, 2)]
    if comm.rank == 0:
        for obs, frames in enumerate(each, 1):
            scans.write_files(shared_folder, frames, name=f"obs_{obs}")
    comm.Barrier()
    blocks = [[str(shared_folder / f"obs_{obs}_0{i}.g3") for i in (0, 1)] for obs in (1, 2)]
    accumulator = g3reduce.MPIAccumulator(comm)
    pipe = core.G3Pipeline()
    if how == "reader":
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=blocks)
    else:
        pipe.Add(g3reduce.MPIIODistributor, mpicomm=comm, n_io=1, files=blocks)
    pipe.Add(accumulator)
    with g3reduce.guard(comm):
        pipe.Run()
        for obs, frames in enumerate(each, 1):
            observation = stitch(accumulator)[f"field-{obs}"]
            expected = whole(frames)
            assert_share(observation, expected)
            for index, timestreams in unstitch(observation, observation.signal * 2).items():
                frame = accumulator.fullobs[f"field-{obs}"][index][2]
                frame["Filtered"] = timestreams
                np.testing.assert_array_equal(
                    np.asarray(frame["Filtered"]), 2 * np.asarray(frame[scans.KEY])
                )
