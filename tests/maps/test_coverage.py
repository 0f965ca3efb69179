"""The figures about what a coadd covers, against those of its file."""

import pytest
import skies

from g3reduce import coadd_files, info


@pytest.mark.parametrize("kind", ["flat sparse", "flat dense", "healpix dense", "healpix ring"])
@pytest.mark.parametrize("weighting", ["polarized", "unpolarized", "hits"])
def test_coverage_is_what_info_finds_in_the_file(tmp_path, kind, weighting):
    files = skies.write_files(tmp_path, 3, kind, weighting)
    out = tmp_path / "out.g3"
    coadds = coadd_files(list(map(str, files)), out, collate=True, keep_maps=False)
    found = {one.frame_id: one for one in info(out).maps}
    assert set(coadds.coverage) == set(coadds)
    for name, mine in coadds.coverage.items():
        theirs = found[coadds[name]["Id"]]
        assert mine.pixels == theirs.pixels > 0
        assert mine.area_deg2 == pytest.approx(theirs.sky_area_deg2, rel=1e-12)
        assert mine.sky_fraction == pytest.approx(theirs.sky_fraction, rel=1e-12)
        for depth, other in ((mine.depth_t, theirs.depth_t), (mine.depth_p, theirs.depth_p)):
            assert (depth is None) == (other is None)
            assert other is None or depth == pytest.approx(other.median, rel=1e-9)
        assert (mine.hits is None) == (theirs.hits is None)
        if mine.hits is not None:
            assert mine.hits == pytest.approx(theirs.hits.median)
