"""Pixels that are not finite, on any number of ranks."""

import pytest
from skies import maps_by_plane, write_frames
from spoiled import assert_same_sums, by_spt3g, series

import g3reduce
from g3reduce.kernels import choice as kernels


@pytest.mark.ranks(1, 2, 3)
@pytest.mark.parametrize("kind", ["flat sparse", "healpix dense"])
def test_the_same_pixels_are_left_out_on_any_number_of_ranks(
    comm, shared_folder, on_first, monkeypatch, kind
):
    monkeypatch.setenv(kernels.KERNELS, "numpy")  # these start faster
    frames, clean, count = series(kind, "polarized", 5)
    files = on_first(lambda: write_frames(shared_folder, frames))
    for reproducible in (False, True):
        coadd = g3reduce.coadd_files(
            files, mpicomm=comm, nonfinite="skip", result="all", reproducible=reproducible
        ).frame
        assert_same_sums(coadd, by_spt3g(clean))
        assert coadd["SkippedPixels"] == count


@pytest.mark.ranks(2, 3)
def test_all_ranks_know_how_many_were_left_out_of_shares(comm):
    frames, _, count = series("flat sparse", "polarized", 5)
    coadder = g3reduce.MPIMapCoadder(comm, nonfinite="skip", result="sharded")
    for frame in frames[comm.rank :: comm.size]:
        coadder.add(frame)
    coadder.finish()
    assert coadder.skipped_pixels == {"Coadd": count}
    assert set(coadder.result.shard.planes) == set(maps_by_plane(frames[0]))


@pytest.mark.ranks(2, 3)
def test_a_frame_that_is_refused_is_refused_on_all_ranks(comm, shared_folder, on_first):
    frames, clean, _ = series("flat sparse", "polarized", 4)
    frames = [*clean[:3], frames[3]]
    files = on_first(lambda: write_frames(shared_folder, frames))
    with pytest.raises(g3reduce.G3ReduceError, match=r"obs3.g3, frame 0 .* is not finite"):
        g3reduce.coadd_files(files, mpicomm=comm, nonfinite="error")
