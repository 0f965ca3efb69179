"""Maps in HDF5 files: to the bit, and by hand."""

import sys

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from choices import some_of
from skies import KINDS, WEIGHTINGS, assert_same_coadd, map_frame, planes
from spt3g import core, maps

import g3reduce
from g3reduce.formats import WriteOptions, map_frames_in, write_maps


@pytest.mark.parametrize(
    ("kind", "weighting", "compress"),
    some_of(
        *(KINDS, WEIGHTINGS, [False, True]),
        fewer=[
            (kind, WEIGHTINGS[number % len(WEIGHTINGS)], bool(number % 2))
            for number, kind in enumerate(KINDS)
        ],
    ),
)
def test_what_was_written_is_read_as_it_was(tmp_path, kind, weighting, compress):
    frames = [map_frame(kind, weighting, seed, f"{seed}/0GHz") for seed in (1, 2)]
    frames[0]["InputFiles"] = core.G3VectorString(["a.g3", "ü.g3", ""])
    frames[0]["Table"] = core.G3MapVectorString({"0": ["x"], "1": ["y", "z"]})
    file = tmp_path / "maps.h5"
    assert write_maps(file, frames, WriteOptions(compress=compress)) == [str(file)]
    again = list(map_frames_in(file))
    for mine, theirs in zip(again, frames, strict=True):
        assert_same_coadd(mine, theirs)
    assert str(g3reduce.unit_of(again[1])) == f"{file}, frame 1"
    assert {k: list(v) for k, v in again[0]["Table"].items()} == {"0": ["x"], "1": ["y", "z"]}


def test_by_hand(tmp_path):
    frame = map_frame("healpix ring", "polarized", 1)
    write_maps(tmp_path / "maps.h5", frame)
    with h5py.File(tmp_path / "maps.h5") as file:
        group = file["150GHz"]
        assert dict(group.attrs) == {
            "ID": "150GHz",
            "COORDREF": "Equatorial",
            "COORDSYS": "C",
            "POLCCONV": "IAU",
            "WEIGHTED": True,
            "PIXTYPE": "HEALPIX",
            "ORDERING": "RING",
            "NSIDE": 8,
        }
        for plane, values in planes(frame).items():
            np.testing.assert_array_equal(group[plane.replace(".", "/")][:], values)
        assert group["T"].attrs["UNITS"] == "mK_CMB^-1"
        assert group["Wpol/TT"].attrs["UNITS"] == "mK_CMB^-2"


def test_flat_maps_have_a_wcs(tmp_path):
    frame = map_frame("flat sparse", "polarized", 1)
    write_maps(tmp_path / "maps.h5", frame)
    with h5py.File(tmp_path / "maps.h5") as file:
        attributes = file["150GHz"].attrs
        cards = [key for key in attributes if key.startswith("WCS ")]
        header = fits.Header({key.removeprefix("WCS "): attributes[key] for key in cards})
    x, y = np.array([0, 3, 7]), np.array([1, 2, 5])
    stub = frame["T"]
    lon, lat = stub.xy_to_angle(core.DoubleVector(x), core.DoubleVector(y))
    found = WCS(header).all_world2pix(np.rad2deg(lon), np.rad2deg(lat), 0)
    np.testing.assert_allclose(found, [x, y], atol=1e-6)


def test_flat_maps_of_no_projection_have_none(tmp_path):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "patch"
    frame["T"] = maps.FlatSkyMap(np.arange(6.0).reshape(2, 3), core.G3Units.arcmin, weighted=False)
    write_maps(tmp_path / "maps.h5", frame)
    (again,) = map_frames_in(tmp_path / "maps.h5")
    assert g3reduce.digest(again) == g3reduce.digest(frame)


def test_a_patch_does_not_take_the_room_of_the_sky(tmp_path):
    skymap = maps.HealpixSkyMap(256, weighted=False, units=core.G3TimestreamUnits.Tcmb)
    skymap[123456] = 1.5
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"], frame["T"] = "90GHz", skymap
    write_maps(tmp_path / "maps.h5", frame)
    with h5py.File(tmp_path / "maps.h5") as file:
        assert file["90GHz/T"].id.get_num_chunks() == 1
        assert file["90GHz/T"].chunks == (12 * 4**2,)
    assert (tmp_path / "maps.h5").stat().st_size < 100_000


def toasts(file, values, **attributes):
    with h5py.File(file, "w") as opened:
        dataset = opened.create_dataset("map", data=values, chunks=(len(values), 48))
        for key, value in attributes.items():
            dataset.attrs[key] = value


def test_maps_of_toast_are_read(tmp_path):
    values = np.zeros((3, 768))
    values[:, 100:200] = np.arange(300.0).reshape(3, 100)
    file = tmp_path / "toast_map.h5"
    toasts(file, values, ORDERING="NESTED", NSIDE=8, UNITS="K", COORDSYS="C")
    with pytest.raises(g3reduce.InputError, match=r"toast_map\.h5.*POLCCONV.*pol_conv"):
        list(map_frames_in(file))
    (frame,) = map_frames_in(file, pol_conv="COSMO")
    for name, row in zip("TQU", values, strict=True):
        skymap = frame[name]
        np.testing.assert_array_equal(np.asarray(skymap.clone(True)), row * core.G3Units.K)
        assert skymap.nested
        assert skymap.pol_conv == maps.MapPolConv.COSMO
    toasts(file, values[:1], ORDERING="RING", NSIDE=8)
    with pytest.raises(g3reduce.InputError, match="units"):
        list(map_frames_in(file, coord="C"))
    (frame,) = map_frames_in(file, coord="G", units="hits")
    np.testing.assert_array_equal(np.asarray(frame["H"].clone(True)), values[0])


def test_without_h5py_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    frame = map_frame("healpix ring", "hits", 1)
    with pytest.raises(g3reduce.UsageError, match=r"pip install h5py"):
        write_maps(tmp_path / "maps.h5", frame)
    assert list(tmp_path.iterdir()) == []


def test_broken_files_are_input_errors(tmp_path):
    frame = map_frame("healpix ring", "hits", 1)
    file = tmp_path / "maps.h5"
    write_maps(file, frame)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(g3reduce.InputError, match=r"maps\.h5.*broken or cut off"):
        list(map_frames_in(file))
    file.write_bytes(content)
    with h5py.File(file, "r+") as opened:
        opened["150GHz"].attrs["NSIDE"] = 16
    with pytest.raises(g3reduce.InputError, match=r"\(768,\); expected floats \(3072,\)"):
        list(map_frames_in(file))
    with h5py.File(file, "w") as opened:
        opened["x"] = 1
    with pytest.raises(g3reduce.InputError, match="neither one of g3reduce"):
        list(map_frames_in(file))
