"""Hashes of maps: equal for equal pixels, however they are stored."""

import subprocess
import sys
from pathlib import Path

import anynumbers
import numpy as np
import pytest
import skies
from spt3g import core, maps

from g3reduce import InputError, digest
from g3reduce.cli import main
from g3reduce.maps import mapfile
from g3reduce.maps.storedframe import StoredFrame


def changed(frame, change):
    """A frame with copies of the maps, to each of which something was done."""
    made = {}
    for name, skymap in skies.maps_by_plane(frame).items():
        made[name] = skymap.clone(True)
        made[name] = change(made[name]) or made[name]
    return skies.frame_of(frame["Id"], made)


def stored_as(storage, skymap):
    if isinstance(skymap, maps.FlatSkyMap):
        skymap.sparse = storage == "sparse"
    elif storage == "dense":
        skymap.dense = True
    elif storage == "ring":
        skymap.ringsparse = True
    else:
        skymap.indexedsparse = True


@pytest.mark.parametrize("kind", skies.KINDS)
def test_the_storage_makes_no_difference(kind):
    frame = anynumbers.map_frame(kind, "polarized", 1)
    storages = ("sparse", "dense") if "flat" in kind else ("ring", "dense", "indexed")
    found = [digest(changed(frame, lambda m, s=s: stored_as(s, m))) for s in storages]
    assert list(found[0]) == sorted(skies.planes(frame))
    assert all(one == digest(frame) for one in found)
    assert len(set(found[0].values())) == len(found[0])


def test_zeros_that_are_stored_and_negative_ones_make_none_either():
    frame = skies.map_frame("flat sparse", "hits", 1)
    pixel = next(p for p in range(frame["T"].size) if not frame["T"][p])

    def put(value):
        def change(skymap):
            skymap[pixel] = value

        return change

    assert digest(changed(frame, put(0.0))) == digest(changed(frame, put(-0.0))) == digest(frame)


def test_nans_are_alike():
    frame = skies.map_frame("flat dense", "hits", 1)
    found = []
    for bits in (0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001):

        def change(skymap, bits=bits):
            np.asarray(skymap).view(np.uint64)[3, 4] = bits

        found.append(digest(changed(frame, change)))
    assert found[0] == found[1] == found[2] != digest(frame)


@pytest.mark.parametrize("kind", skies.KINDS)
def test_a_bit_of_a_pixel_or_its_place_makes_a_difference(kind):
    frame = anynumbers.map_frame(kind, "hits", 1)
    pixel, other = np.asarray(frame["T"].nonzero_pixels()[0])[[3, 4]].tolist()

    def last_bit(skymap):
        skymap[pixel] = np.nextafter(skymap[pixel], np.inf)

    def swap(skymap):
        skymap[pixel], skymap[other] = skymap[other], skymap[pixel]

    for change in (last_bit, swap):
        there, here = digest(changed(frame, change)), digest(frame)
        assert there["T"] != here["T"]


def test_the_geometry_and_the_units_make_a_difference():
    def blank(**attributes):
        frame = core.G3Frame(core.G3FrameType.Map)
        options = {"x_len": 4, "y_len": 6, "res": core.G3Units.arcmin} | attributes
        frame["T"] = maps.FlatSkyMap(**options)
        return digest(frame)["T"]

    variants = [
        {},
        {"x_len": 6, "y_len": 4},
        {"res": 2 * core.G3Units.arcmin},
        {"proj": maps.MapProjection.Proj5},
        {"alpha_center": 0.1},
        {"units": core.G3TimestreamUnits.Power},
        {"coord_ref": maps.MapCoordReference.Galactic},
    ]
    found = [blank(**variant) for variant in variants]
    assert len(set(found)) == len(found)
    assert blank() == blank()


@pytest.mark.parametrize("family", anynumbers.FAMILIES)
def test_frames_in_files_have_the_digest_of_those_in_memory(tmp_path, family):
    files = anynumbers.write_files(tmp_path, 2, family, "polarized")
    for file in files:
        in_memory = [digest(frame) for frame in core.G3File(file)]
        stored = list(mapfile.frames_of(file))
        assert all(isinstance(frame, StoredFrame) for frame in stored)
        assert [digest(frame) for frame in stored] == in_memory


def test_digests_stay_the_same_from_version_to_version():
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["T"] = maps.HealpixSkyMap(nside=2)
    frame["T"][5] = 1.5
    assert digest(frame) == {"T": "66bd81dd6c930ca7589059a81c40654e"}


def test_the_command_prints_a_line_for_each_map_and_one_for_each_file(tmp_path, capsys):
    files = anynumbers.write_files(tmp_path, 2, "flat", "hits")
    dense = tmp_path / "dense.g3"
    with core.G3Writer(str(dense)) as writer:
        writer(core.G3Frame(core.G3FrameType.Observation))
        for frame in core.G3File(files[0]):
            writer(changed(frame, lambda m: stored_as("dense", m)))
    assert main(["digest", files[0], files[1], str(dense)]) == 0
    lines = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines()]
    expected = [
        f"{file} {number} {map_id} {plane}".rstrip()
        for file in [*files, str(dense)]
        for number, map_id in enumerate(("90GHz", "150GHz"))
        for plane in ("H", "T", "Wunpol.TT")
    ]
    assert [name for _, name in lines if " " in name] == expected
    of = {name: one for one, name in lines}
    assert of[files[0]] == of[str(dense)] != of[files[1]]
    assert main(["digest", "--total", *files]) == 0
    assert capsys.readouterr().out == "".join(f"{of[file]}  {file}\n" for file in files)


def test_the_order_of_frames_in_a_file_makes_no_difference(tmp_path, capsys):
    """What is no matter in a coadd of many Ids; but what each frame holds under its Id is."""
    frames = [anynumbers.map_frame("flat", "hits", i, map_id) for i, map_id in enumerate("abca")]
    swapped = [anynumbers.map_frame("flat", "hits", i, map_id) for i, map_id in enumerate("bbca")]
    orders = {"one": frames, "other": frames[::-1], "less": frames[:3], "swapped": swapped}
    for name, order in orders.items():
        with core.G3Writer(str(tmp_path / f"{name}.g3")) as writer:
            for frame in order:
                writer(frame)
    assert main(["digest", "--total", *(str(tmp_path / f"{name}.g3") for name in orders)]) == 0
    found = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert found[0] == found[1]
    assert len({*found}) == 3


def test_what_cannot_be_read_has_no_digest(tmp_path, capsys):
    (file,) = anynumbers.write_files(tmp_path, 1, "flat", "hits")
    data = bytearray(Path(file).read_bytes())
    data[len(data) // 4] ^= 1
    Path(file).write_bytes(data)
    assert main(["digest", file]) == 1
    assert file in capsys.readouterr().err
    assert main(["digest", str(tmp_path / "none.g3")]) == 1
    assert "none.g3" in capsys.readouterr().err
    with pytest.raises(InputError):
        list(map(digest, mapfile.frames_of(file)))


def test_no_mpi_is_needed(tmp_path):
    files = anynumbers.write_files(tmp_path, 1, "flat", "hits")
    code = (
        "import sys; from g3reduce.cli import main; "
        f"assert main(['digest', *{files!r}]) == 0; assert 'mpi4py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_public_name_is_the_function_whatever_was_imported_before():
    code = (
        "import g3reduce, g3reduce.cli.digest; from g3reduce.maps import digest;"
        "assert callable(g3reduce.digest)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
