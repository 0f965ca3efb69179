"""Frames as spt3g's own modules make them, on several ranks."""

import pytest
from skies import map_frame, write_frames
from spt3g import maps
from spt3gmakers import assert_same_sums, made, with_nothing_said_but_by_u

import g3reduce

# Those that hold integers, whose sums are exact in any order.
NAMES = (
    *("MakeMapsPolarized", "MakeMapsUnpolarized", "SetPolConv"),
    *("flattened in 2022", "weights of a T", "odd words", "a silent Q"),
)


@pytest.mark.ranks(2, 3)
def test_what_spt3g_makes_is_coadded_on_any_number_of_ranks(comm, shared_folder, on_first):
    for name in NAMES:
        folder = shared_folder / name.replace(" ", "_")
        if comm.rank == 0:
            folder.mkdir()
        files = on_first(lambda: write_frames(folder, made(name, "flat sparse")))  # noqa: B023
        coadd = g3reduce.coadd_files(files, mpicomm=comm, result="all", schedule="static").frame
        assert_same_sums(coadd, maps.coadd_map_files(files))


@pytest.mark.ranks(2, 3)
def test_ranks_whose_maps_say_different_things_of_no_matter(comm, shared_folder, on_first):
    def write():
        frames = [map_frame("flat sparse", "polarized", number) for number in range(4)]
        with_nothing_said_but_by_u(frames[0])
        maps.FlattenPol(frames[1])
        maps.FlattenPol(frames[1], invert=True)
        skymap = frames[2].pop("T")
        skymap.flat_pol, skymap.pol_conv = True, maps.MapPolConv.COSMO
        frames[2]["T"] = skymap
        return write_frames(shared_folder, frames)

    files = on_first(write)
    for order in (files, files[::-1]):
        coadd = g3reduce.coadd_files(order, mpicomm=comm, result="all", schedule="static").frame
        assert coadd["T"].pol_conv == maps.MapPolConv.names["none"]
        assert not coadd["T"].flat_pol
        assert coadd["Q"].pol_conv == coadd["Wpol"].QQ.pol_conv == maps.MapPolConv.IAU
