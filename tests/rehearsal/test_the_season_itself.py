"""The season of the rehearsal is what it says: each fault is one, each good file is good."""

import os

import faultyseason
import pytest
from choices import some_of
from skies import assert_same_coadd
from spt3g import maps

from g3reduce import G3ReduceError, coadd_files


@pytest.mark.parametrize("kind", some_of(["flat sparse", "healpix ring"], fewer=["flat sparse"]))
def test_each_bad_file_ends_a_coadd_and_no_good_one_does(tmp_path, kind):
    season = faultyseason.make(tmp_path, 2 * len(faultyseason.KINDS), 1, kind, share=0.5)
    assert set(season.bad.values()) | {"given again", "without maps", "cut between frames"} == set(
        faultyseason.KINDS
    ) - {"same observation"}
    assert season.again
    assert season.without_maps
    assert season.short
    assert season.repeated
    coadds = coadd_files(season.good, collate=True, nonfinite="error")
    for name, frame in maps.coadd_map_files(season.good, collate=True).items():
        assert_same_coadd(coadds[name], frame)
    assert len(coadds.ledger.entries) == len(season.counted)
    one = next(file for file in season.good if file not in season.without_maps)
    for file, what in season.bad.items():
        if file in season.same_as and what in ("a copy", "a compressed copy"):
            continue  # only who looks at contents finds these
        with_a_good_one = [season.same_as.get(file, one), file]
        with pytest.raises(G3ReduceError):
            coadd_files(with_a_good_one, nonfinite="error")


def test_the_same_seed_makes_the_same_season(tmp_path):
    seasons = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        seasons.append(faultyseason.make(tmp_path / name, 40, 7))
    one, other = ([os.path.basename(file) for file in season.files] for season in seasons)
    assert one == other
    assert [*seasons[0].bad.values()] == [*seasons[1].bad.values()]
    assert len(one) == 40 == sum(map(len, (seasons[0].bad, seasons[0].good, seasons[0].again)))
