"""Outputs of a coadd in other formats: by one rank, and by all that have shards."""

import contextlib
import os
import subprocess
import sys

import healpy
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from choices import among_all, some_of
from filesizes import no_file_longer_than
from patience import HANGS_S
from skies import map_frame, planes, write_files, write_frames
from spt3g import core

import g3reduce
from g3reduce import OutputError, RemoteError, splits
from g3reduce.coadd.joining import Coadd
from g3reduce.formats import WriteOptions, healpixfits, map_frames_in
from g3reduce.mpi.launch import mpirun_command, mpirun_environment

KINDS = some_of(
    [
        *("healpix ring", "healpix dense", "healpix ring shifted", "healpix nested indexed"),
        *("healpix indexed", "flat sparse", "flat dense"),
    ],
    fewer=("healpix ring", "healpix dense", "flat sparse"),
)
RESULTS = some_of(["root", "all", "sharded"], fewer=("root", "sharded"))
TO_THE_BIT = WriteOptions(units="mK")


def files_of(comm, folder, kind, weighting="hits"):
    if comm.rank == 0:
        write_files(folder, 4, kind, weighting)
    comm.Barrier()
    return sorted(str(path) for path in folder.glob("obs_*.g3"))


@pytest.mark.ranks(1, 3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("name", ["out.fits", "out.h5", "out.g3"])
def test_the_output_is_the_coadd(comm, shared_folder, kind, result, name):
    files = files_of(comm, shared_folder, kind, "polarized")
    whole = g3reduce.coadd_files(files, mpicomm=comm, collate=True, result="all")
    expected = {frame["Id"]: frame for frame in whole.values()}
    output = str(shared_folder / f"{result}_{name}")
    coadds = g3reduce.coadd_files(
        *(files, output),
        mpicomm=comm,
        collate=True,
        result=result,
        output_options=TO_THE_BIT,
    )
    stem = output.removesuffix(".fits")
    several = [f"{stem}_{one}.fits" for one in expected]
    assert coadds.written == (several if name == "out.fits" else [output])
    found = {f["Id"]: f for file in coadds.written for f in map_frames_in(file)}
    assert list(found) == list(expected)
    for map_id, frame in expected.items():
        assert g3reduce.digest(found[map_id]) == g3reduce.digest(frame)
        for key in ("InputFiles", "InputMapIds"):
            assert list(found[map_id][key]) == list(frame[key])
        assert list(found[map_id]["Ledger"]["file"]) == list(frame["Ledger"]["file"])
    if name == "out.g3":  # spt3g compares the checksums
        assert [frame["Id"] for frame in core.G3File(output)] == list(expected)
    comm.Barrier()
    if comm.rank == 0:
        assert not [name for name in os.listdir(shared_folder) if "partial" in name]


MANY = {
    "sign flips": {"assign": splits.by("id") * splits.signflips(5, seed=2)},
    "exact": {"collate": True, "reproducible": True},
}


@pytest.mark.ranks(2)
@pytest.mark.parametrize(
    ("kind", "what"),
    some_of(
        ["healpix ring", "healpix dense", "healpix indexed", "flat sparse"],
        [*MANY],
        fewer=[("healpix ring", "sign flips"), ("flat sparse", "exact")],
    ),
)
def test_all_ranks_write_what_one_would(comm, shared_folder, kind, what):
    files = files_of(comm, shared_folder, kind, "polarized")
    outputs = [shared_folder / f"{result}.g3" for result in ("root", "sharded")]
    for output in outputs:
        result = output.stem
        made = g3reduce.coadd_files(
            files, output, mpicomm=comm, result=result, keep_maps=False, **MANY[what]
        )
        assert len(made) == ((12 if what == "sign flips" else 2) if comm.rank == 0 else 0)
    comm.Barrier()
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.ranks(3)
@pytest.mark.parametrize("n_pixels", some_of([0, 1, 3], fewer=(1,)))
@pytest.mark.parametrize("kind", ["flat", "healpix"])
def test_ranks_without_a_pixel_write_none(comm, shared_folder, kind, n_pixels):
    if comm.rank == 0:
        values = np.zeros((4, 4) if kind == "flat" else 192)
        values.flat[5 : 5 + n_pixels] = 1.0
        geometry = {"geometry": _wcs()} if kind == "flat" else {"coord": "C"}
        for number in range(2):
            values *= number + 1
            frame = g3reduce.map_frame(values, units="mK", map_id="x", **geometry)
            g3reduce.formats.write_maps(shared_folder / f"obs_{number}.g3", frame)
    comm.Barrier()
    files = sorted(map(str, shared_folder.glob("obs_*.g3")))
    whole = g3reduce.coadd_files(files, mpicomm=comm, result="all").frame
    for name in ("out.fits", "out.h5", "out.g3"):
        output = str(shared_folder / name)
        g3reduce.coadd_files(
            files, output, mpicomm=comm, result="sharded", output_options=TO_THE_BIT
        )
        (found,) = map_frames_in(output)
        assert g3reduce.digest(found) == g3reduce.digest(whole)
        np.testing.assert_array_equal(planes(found)["T"], planes(whole)["T"])


@pytest.mark.ranks(2)
def test_where_one_rank_cannot_write_the_file_of_before_stays(comm, shared_folder):
    files = files_of(comm, shared_folder, "healpix dense", "polarized")
    output = shared_folder / "out.g3"
    if comm.rank == 0:
        output.write_bytes(b"something old")
    comm.Barrier()
    limit = no_file_longer_than(1000) if comm.rank == 1 else contextlib.nullcontext()
    with limit, pytest.raises((g3reduce.OutputError, g3reduce.RemoteError), match="writing failed"):
        g3reduce.coadd_files(files, output, mpicomm=comm, map_ids="90GHz", result="sharded")
    assert output.read_bytes() == b"something old"
    assert not [name for name in os.listdir(shared_folder) if "partial" in name]


KILLED = """
import os, signal, sys
from mpi4py import MPI
import g3reduce
from g3reduce.formats import shardedframes

real = shardedframes.write_at

def write_at(fd, data, offset):
    real(fd, data[: len(data) // 2], offset)
    if MPI.COMM_WORLD.rank == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(fd, data, offset)

shardedframes.write_at = write_at
g3reduce.coadd_files(sys.argv[2:], "out.g3", map_ids="90GHz", result="sharded")
"""


@among_all
@pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_while_it_writes_leaves_the_file_of_before(tmp_path, victim):
    files = write_files(tmp_path, 2, "healpix dense", "polarized")
    (tmp_path / "out.g3").write_bytes(b"something old")
    command = [sys.executable, "-c", KILLED, str(victim), *map(str, files)]
    done = subprocess.run(
        mpirun_command(2, command), cwd=tmp_path, env=mpirun_environment(), timeout=HANGS_S
    )
    assert done.returncode != 0
    assert (tmp_path / "out.g3").read_bytes() == b"something old"
    left = {*os.listdir(tmp_path)} - {"out.g3", *(os.path.basename(file) for file in files)}
    assert len(left) <= 1
    assert all(name.startswith(".g3reduce-") and name.endswith(".partial") for name in left)


def _wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---ZEA", "DEC--ZEA"], ["deg", "deg"]
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cdelt = [2.5, 2.5], [10.0, -50.0], [-0.1, 0.1]
    return wcs


@pytest.mark.ranks(2)
@pytest.mark.parametrize("full_sky", [None, False])
@pytest.mark.parametrize("kind", ["healpix dense", "healpix nested dense"])
def test_shards_make_a_full_sky_with_right_checksums(comm, shared_folder, full_sky, kind):
    files = files_of(comm, shared_folder, kind)
    output = str(shared_folder / "out.fits")
    options = WriteOptions(units="mK", full_sky=True if full_sky is None else full_sky)
    g3reduce.coadd_files(
        *(files, output), mpicomm=comm, map_ids="90GHz", result="sharded", output_options=options
    )
    expected = g3reduce.coadd_files(files, mpicomm=comm, map_ids="90GHz", result="all").frame
    with fits.open(output, checksum=True) as parts:
        assert parts[1].verify_checksum() == parts[1].verify_datasum() == 1
        assert parts[1].header["OBJECT"] == ("FULLSKY" if full_sky is None else "PARTIAL")
        parts[1].verify("exception")
    found = healpy.read_map(output, field=0, nest="nested" in kind)
    np.testing.assert_array_equal(np.where(found == healpy.UNSEEN, 0, found), planes(expected)["T"])


@pytest.mark.ranks(2)
@pytest.mark.parametrize("style", ["spt3g", "enmap"])
def test_shards_of_flat_maps_are_what_one_rank_writes(comm, shared_folder, style):
    files = files_of(comm, shared_folder, "flat sparse", "polarized")
    options = WriteOptions(style=style)
    for result in ("root", "sharded"):
        output = str(shared_folder / f"{result}.fits")
        g3reduce.coadd_files(
            *(files, output),
            mpicomm=comm,
            map_ids="90GHz",
            result=result,
            output_options=options,
        )
    contents = [(shared_folder / f"{one}.fits").read_bytes() for one in ("root", "sharded")]
    assert contents[0] == contents[1]


@pytest.mark.ranks(2)
def test_what_a_format_cannot_hold_is_refused(comm, shared_folder):
    files = files_of(comm, shared_folder, "healpix ring")
    for output, options, message in (
        ("out.g3.gz", {"result": "sharded"}, "compressed"),
        ("out.fits.gz", {"result": "sharded"}, "compressed"),
        ("out.fits", {"checkpoint": shared_folder / "points"}, "checkpoint= the output must be"),
        ("out.h5", {"reproducible": True, "keep_exact": True}, "keep_exact the output must be"),
    ):
        with pytest.raises(g3reduce.UsageError, match=message):
            g3reduce.coadd_files(files, str(shared_folder / output), mpicomm=comm, **options)
    with pytest.raises(g3reduce.UsageError, match="output_options is 3"):
        g3reduce.coadd_files(files, mpicomm=comm, output_options=3)
    with pytest.raises((g3reduce.OutputError, g3reduce.RemoteError), match="must end in"):
        g3reduce.coadd_files(files, str(shared_folder / "out.txt"), mpicomm=comm)


@pytest.mark.ranks(2)
def test_what_fails_on_one_rank_before_it_writes_is_told_on_all(comm, shared_folder, monkeypatch):
    files = files_of(comm, shared_folder, "healpix ring", "polarized")

    def fail(*args):
        raise MemoryError("no memory for it")

    if comm.rank == 1:
        monkeypatch.setattr(healpixfits, "MapColumns", fail)
    options = {"mpicomm": comm, "result": "sharded", "map_ids": "90GHz"}
    with pytest.raises(MemoryError if comm.rank == 1 else RemoteError, match="no memory for it"):
        g3reduce.coadd_files(files, shared_folder / "out.fits", **options)


@pytest.mark.ranks(2)
def test_maps_that_cannot_be_divided_by_weights_are_an_error_on_all_ranks(comm, shared_folder):
    if comm.rank == 0:
        frames = [map_frame("flat sparse", "polarized", seed) for seed in range(2)]
        for frame in frames:
            for key in ("Wpol", "Wunpol"):
                frame.pop(key, None)
        write_frames(shared_folder, frames)
    comm.Barrier()
    files = sorted(map(str, shared_folder.glob("*.g3")))
    options = {"ignore_missing_weights": True, "output_options": WriteOptions(unweight=True)}
    with pytest.raises(Exception, match="there are no weights") as raised:
        g3reduce.coadd_files(files, shared_folder / "out.h5", mpicomm=comm, **options)
    assert isinstance(raised.value, OutputError if comm.rank == 0 else RemoteError)


@pytest.mark.ranks(2)
def test_frames_that_cannot_be_made_are_an_error_on_all_ranks(comm, shared_folder, monkeypatch):
    files = files_of(comm, shared_folder, "flat sparse")

    def fail(coadd):
        raise MemoryError("no memory for it")

    if comm.rank == 0:
        monkeypatch.setattr(Coadd, "to_frame", fail)
    with pytest.raises(MemoryError if comm.rank == 0 else RemoteError, match="no memory for it"):
        g3reduce.coadd_files(files, mpicomm=comm, collate=True)
    comm.Barrier()
