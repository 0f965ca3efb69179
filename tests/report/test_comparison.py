"""Coadds compared with spt3g's: what is equal passes, and what is not is refused with its name."""

import pytest
import skies

from g3reduce import G3ReduceError, coadd_files
from g3reduce.report.comparison import compare_with_spt3g

KIND = ("healpix dense", "hits")


def test_coadds_are_compared_map_by_map(tmp_path):
    files = skies.write_files(tmp_path, 3, *KIND)
    coadds = tmp_path / "coadd.g3"
    coadd_files(files, coadds, collate=True)
    found = compare_with_spt3g(files, coadds)
    assert found.n_maps == 2 * len(skies.planes(skies.map_frame(*KIND, 1)))
    assert 0 <= found.worst < 1e-13


def test_coadds_of_other_files_or_ids_are_refused(tmp_path):
    files = skies.write_files(tmp_path, 3, *KIND)
    coadds = tmp_path / "coadd.g3"
    coadd_files(files[:2], coadds, collate=True)
    with pytest.raises(G3ReduceError, match=r"coadd.g3: .* of .*GHz differs from spt3g's"):
        compare_with_spt3g(files, coadds)
    coadd_files(files, coadds, collate=True, map_ids=["90GHz"])
    with pytest.raises(G3ReduceError, match=r"has the Ids \['90GHz'\]; expected"):
        compare_with_spt3g(files, coadds)
