"""Fresh memory for large arrays."""

from __future__ import annotations

import numpy as np
import pytest

from g3reduce.arrays import memory


@pytest.mark.parametrize("shape", [(3, 4), (2**20, 1), (0, 5)])
def test_arrays_are_as_asked_for(shape):
    for make in (memory.zeros, memory.empty):
        array = make(shape, "i4")
        assert (array.shape, array.dtype) == (shape, np.int32)
        assert array.flags.c_contiguous
        assert array.flags.writeable
    assert not memory.zeros(shape, "i4").any()


@pytest.mark.parametrize("make", [memory.zeros, memory.empty])
def test_large_arrays_do_not_begin_alike(make):
    arrays = [make((2**17, 1), "f8") for _ in range(4)]
    assert len({array.__array_interface__["data"][0] % 4096 for array in arrays}) == 4
    assert all(array.flags.aligned for array in arrays)


@pytest.mark.parametrize("make", [memory.zeros, memory.empty])
def test_very_large_arrays_begin_in_huge_pages_of_their_own(make):
    array = make((2**19 + 1, 1), "f8")
    assert array.__array_interface__["data"][0] % 2**21 < 4096
    assert array.base.nbytes - array.nbytes >= 2**21
