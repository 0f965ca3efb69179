"""What cannot be stitched on ranks is an error on all of them."""

import numpy as np
import pytest
import scans
from stitching_oracle import accumulate, assert_share, whole

import g3reduce
from g3reduce import stitch, unstitch
from g3reduce.mpi import waiting


def all_raise(comm, work, kind, *parts, everywhere=True):
    """Every rank raises: this error on all, or on those where it happened."""
    with pytest.raises(g3reduce.G3ReduceError) as caught:
        work()
    stories = comm.allgather((type(caught.value), str(caught.value)))
    kinds = {some for some, _ in stories}
    assert kinds == {kind} if everywhere else kinds <= {kind, g3reduce.RemoteError}, stories
    assert all(part in text for part in parts for _, text in stories), stories
    if everywhere:
        assert len({text for _, text in stories}) == 1, stories
    assert not waiting.open_guards()


def disagreeing(rng, what):
    """Two scans of an observation that do not go together, and what the error says."""
    after = scans.START + round(10 / scans.RATE)
    one = {"n_samples": 10}
    other = {"n_samples": 10, "start": after}
    parts = ["'field-1000'", "a Scan frame made in the pipeline (rank 0)", "(rank 1)"]
    error = g3reduce.MismatchError
    if what == "overlap":
        other["start"], error = after - 10**6, g3reduce.InputError
        parts.append("must not overlap")
    elif what == "duplicate":
        other["start"], error = scans.START, g3reduce.DuplicateError
        parts.append("have the same samples, 10 from")
    elif what == "gap":
        other["start"], error = after + 10**7, g3reduce.InputError
        parts.append("15 samples")
    elif what == "rate":
        other["rate"] = 2 * scans.RATE
        parts += ["152.6 samples a second", "305.2"]
    elif what == "units":
        other["units"] = scans.UNITS.Power
        parts += ["in Tcmb", "in Power"]
    elif what == "detectors":
        other["detectors"] = ("a", "c")
        parts += ["lacks 1 of 3 detectors, such as 'c'"]
    return [scans.make_scan(rng, **one), scans.make_scan(rng, **other)], error, parts


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("what", ["overlap", "duplicate", "gap", "rate", "units", "detectors"])
@pytest.mark.parametrize("extracted", [False, True])
def test_scans_of_two_ranks_that_do_not_go_together_are_refused_on_all_with_both_named(
    comm, what, extracted
):
    frames, error, parts = disagreeing(np.random.default_rng(1), what)
    accumulator = accumulate(comm, frames, [0, 1], keys={} if extracted else None)
    all_raise(comm, lambda: stitch(accumulator, gaps="refuse", missing="refuse"), error, *parts)
    if what in ("gap", "detectors"):
        (found,) = stitch(accumulator, gaps="fill").values()
        assert_share(found, whole(frames, "fill"), "fill")


@pytest.mark.ranks(2, 3)
def test_a_frame_that_is_not_as_it_should_be_on_one_rank_is_an_error_on_all(comm):
    frames = scans.an_observation(np.random.default_rng(1))
    del frames[1][scans.BORESIGHT]
    accumulator = accumulate(comm, frames, [0, 1, 0])
    text = "a Scan frame made in the pipeline has no 'OnlineRaDecRotation'"
    all_raise(comm, lambda: stitch(accumulator), g3reduce.InputError, text, everywhere=False)
    (found,) = stitch(accumulator, boresight=None).values()
    assert found.boresight is None
    assert found.timeline.n_samples == 21


@pytest.mark.ranks(2, 3)
def test_keys_that_only_some_ranks_extracted_are_refused_on_all(comm):
    frames = scans.an_observation(np.random.default_rng(1), (4, 4), flags="int")
    keys = {"flags": scans.FLAGS} if comm.rank else {}
    accumulator = accumulate(comm, frames, [0, 1], keys=keys)
    parts = ("(rank 0) has no flags, but", "(rank 1) has")
    all_raise(comm, lambda: stitch(accumulator), g3reduce.MismatchError, *parts)


@pytest.mark.ranks(2, 3)
def test_arguments_that_differ_or_cannot_be_used_are_refused_on_all(comm):
    frames = scans.an_observation(np.random.default_rng(1))
    accumulator = accumulate(comm, frames, [0, 1, 0])
    last = comm.rank == comm.size - 1
    for arguments, text in (
        ({"distribution": "time" if last else "detector"}, "The arguments of stitch must be the"),
        ({"gaps": "fill" if last else "keep"}, "The arguments of stitch must be the same on all"),
        ({"root": comm.rank}, "The arguments of stitch must be the same on all ranks"),
        ({"drop_input": last}, "The arguments of stitch must be the same on all ranks"),
        ({"flags": "F" if last else None}, "The arguments of stitch must be the same on all"),
        ({"distribution": "rows"}, "distribution is 'rows'"),
        ({"root": comm.size}, f"root is {comm.size}; expected a rank, 0 to {comm.size - 1}"),
    ):
        all_raise(
            comm, lambda some=arguments: stitch(accumulator, **some), g3reduce.UsageError, text
        )
    one_alone = {"gaps": "x"} if last else {}
    for arguments, text in ((one_alone, "gaps is 'x'"), ({"root": -1} if last else {}, "root is")):
        all_raise(
            comm,
            lambda some=arguments: stitch(accumulator, **some),
            g3reduce.UsageError,
            text,
            everywhere=False,
        )
    (found,) = stitch(accumulator).values()
    assert_share(found, whole(frames))


@pytest.mark.ranks(2, 3)
def test_samples_that_cannot_go_back_are_refused_on_all(comm):
    frames = scans.an_observation(np.random.default_rng(1))
    (found,) = stitch(accumulate(comm, frames, [0, 1, 0]), "time").values()
    last = comm.rank == comm.size - 1
    for samples, text, everywhere in (
        (found.signal[:1] if last else found.signal, "the share of this rank", False),
        (found.signal > 0 if last else found.signal, "are bool; expected float64", False),
        (found.signal.astype("f4") if last else found.signal, "must be the same on all", True),
    ):
        all_raise(
            comm,
            lambda some=samples: unstitch(found, some),
            g3reduce.UsageError,
            text,
            everywhere=everywhere,
        )
    assert len(unstitch(found, found.signal)) == {0: 2, 1: 1}.get(comm.rank, 0)


@pytest.mark.ranks(2, 3)
def test_an_error_before_stitching_on_one_rank_ends_all_in_a_guard(comm):
    accumulator = accumulate(comm, scans.an_observation(np.random.default_rng(1)), [0, 1, 0])

    def work():
        with g3reduce.guard(comm):
            if comm.rank == 1:
                raise g3reduce.InputError("so it is")
            stitch(accumulator)

    all_raise(comm, work, g3reduce.InputError, "so it is", everywhere=False)
