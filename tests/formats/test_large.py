"""Places in files beyond 2 and 4 GiB. Most of these files are holes."""

import os

import h5py
import numpy as np
import pytest
from astropy.io import fits
from spt3g import core, maps

import g3reduce
from g3reduce.formats import WriteOptions, write_maps
from g3reduce.formats.hdf5output import opened_hdf5
from g3reduce.formats.healpixfits import HealpixFits
from g3reduce.formats.pixeltable import PixelTable
from g3reduce.mpi.communicators import OneProcess

GIB = 2**30


class ManyPixelsBefore(OneProcess):
    """The second of two ranks, which has nobody to agree with; the first has so many pixels."""

    def __init__(self, n_pixels):
        self.rank, self.n_pixels = 1, n_pixels

    def allgather(self, mine):
        return [(self.n_pixels, 0, self.n_pixels - 1), mine]


@pytest.mark.parametrize("gib", [2, 4])
def test_rows_of_a_table(tmp_path, gib):
    before = gib * GIB // 12 + 1  # rows of 12 bytes
    pixels = before + np.arange(3)
    frame = g3reduce.map_frame(
        np.array([1.0, 2.0, 3.0]), nside=8192, pixels=pixels, units="mK", coord="C", map_id="x"
    )
    options = WriteOptions(units="mK", full_sky=False)
    table = PixelTable.of_frame(frame)
    content = HealpixFits(ManyPixelsBefore(before), table, options, table.names, "large.fits")
    file = tmp_path / "large.fits"
    with open(file, "wb") as output:
        output.truncate(content.size)
        sums = content.put(output.fileno())
        content.finish(output.fileno(), [sums])
    assert os.stat(file).st_size == content.size > gib * GIB
    with fits.open(file, memmap=True) as parts:
        rows = parts[1].data[before - 1 :]
        assert rows["PIXEL"].tolist() == [0, *pixels.tolist()]
        assert rows["TEMPERATURE"].tolist() == [0.0, 1.0, 2.0, 3.0]
        assert [part.name for part in parts[2:]] == ["ENTRIES"] or len(parts) == 2


def test_images(tmp_path):
    side = 14000  # three planes of 1.5 GiB
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "x"
    for number, name in enumerate("TQU"):
        skymap = maps.FlatSkyMap(
            *(side, side, core.G3Units.arcmin / 2),
            weighted=False,
            proj=maps.MapProjection.ProjZEA,
            pol_type=maps.MapPolType.names[name],
            pol_conv=maps.MapPolConv.IAU,
            units=core.G3TimestreamUnits.Tcmb,
        )
        skymap[side - 1, side - 2] = number + 1.0
        frame[name] = skymap
    for style in ("spt3g", "enmap"):
        (file,) = write_maps(tmp_path / f"{style}.fits", frame, WriteOptions(style=style))
        status = os.stat(file)
        assert status.st_size > 4 * GIB > 1000 * 512 * status.st_blocks
        with fits.open(file, memmap=True) as parts:
            for number in range(3):
                image = parts[0].section[number] if style == "enmap" else parts[number].section
                corner = image[-2:, -2:]
                expected = (number + 1) * (1e-3 if style == "enmap" else 1.0)
                np.testing.assert_array_equal(corner, [[0, 0], [expected, 0]])
        os.unlink(file)


def test_datasets(tmp_path):
    file = tmp_path / "large.h5"
    file.touch()
    n_values = 5 * GIB // 8
    with opened_hdf5(h5py, str(file), "w") as opened:
        dataset = opened.create_dataset("before", (n_values,), "<f8")
        dataset[-2:] = 1.0, 2.0
        opened["after"] = np.arange(10)
    assert os.stat(file).st_size > 5 * GIB > 1000 * 512 * os.stat(file).st_blocks
    with h5py.File(file) as opened:
        assert opened["before"][-3:].tolist() == [0.0, 1.0, 2.0]
        assert opened["after"][:].tolist() == list(range(10))
