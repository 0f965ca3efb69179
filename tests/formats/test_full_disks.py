"""Where a disk is full, or a file too long, the output of before stays, and so does the process."""

import errno
import os

import numpy as np
import pytest
from filesizes import no_file_longer_than

import g3reduce
from g3reduce import OutputError
from g3reduce.formats import write_maps


@pytest.mark.parametrize("kib", [1, 16, 100])
@pytest.mark.parametrize("ending", [".h5", ".fits", ".fits.gz"])
def test_the_file_of_before_stays(tmp_path, ending, kib):
    output = tmp_path / f"map{ending}"
    output.write_bytes(b"something old")
    values = np.random.default_rng(0).normal(size=12 * 64**2)
    frame = g3reduce.map_frame(values, units="K", coord="C", map_id="150GHz")
    # HDF5 would end the process, if it were told.
    with no_file_longer_than(kib << 10), pytest.raises(OutputError) as caught:
        write_maps(output, frame)
    assert str(caught.value) == f"{output}: writing failed ({os.strerror(errno.EFBIG)})."
    assert output.read_bytes() == b"something old"
    assert os.listdir(tmp_path) == [output.name]
