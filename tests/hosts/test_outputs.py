"""All ranks of several hosts write one file, each its part."""

from pathlib import Path

import pytest
from hostmpi import told_by_ranks
from skies import write_files

SHARDED = str(Path(__file__).with_name("sharded.py"))


@pytest.mark.parametrize("kind", ["healpix ring", "flat dense"])
def test_ranks_of_three_hosts_write_what_one_would(hosts, tmp_path, kind):
    write_files(tmp_path, 6, kind, "polarized")
    told = told_by_ranks(hosts, [SHARDED, str(tmp_path)])
    assert sorted({*told}) == ["h1", "h2", "h3"]
    assert (tmp_path / "root.g3").read_bytes() == (tmp_path / "sharded.g3").read_bytes()
