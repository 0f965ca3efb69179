"""Atomic maps of sotodlib, found by the table that lists them, with weights and hits beside."""

import os
import sqlite3

import numpy as np
import pytest
import skies
from astropy.io import fits
from choices import some_of
from spt3g import core

import g3reduce
from g3reduce import splits
from g3reduce.formats import atomic_maps

CTIMES = (1709852088, 1709938488)
WAFERS = ("ws0", "ws1")
SHAPE = (5, 6)


def _header(unit):
    header = fits.Header()
    for axis, (name, at, step) in enumerate((("RA---CAR", 3.0, -0.5), ("DEC--CAR", 41.0, 0.5)), 1):
        header[f"CTYPE{axis}"], header[f"CRPIX{axis}"], header[f"CDELT{axis}"] = name, at, step
        header[f"CUNIT{axis}"], header[f"CRVAL{axis}"] = "deg", 10.0 * (axis == 1)
    header["BUNIT"] = unit
    return header


def _pixels(number, shape):
    return np.random.default_rng(number).integers(1, 9, (*shape, *SHAPE)).astype(float)


def _write(folder):
    """Maps of two observations and wafers, each in two splits; one of them is not valid."""
    table = sqlite3.connect(os.path.join(folder, "atomic.db"))
    table.execute(
        "CREATE TABLE atomic (obs_id TEXT, telescope TEXT, freq_channel TEXT, wafer TEXT, "
        "ctime INTEGER, split_label TEXT, valid BOOLEAN, prefix_path TEXT, pwv REAL)"
    )
    number = 0
    for ctime in CTIMES:
        for wafer in WAFERS:
            for label in ("full", "left"):
                prefix = f"{str(ctime)[:5]}/atomic_{ctime}_{wafer}_f090_{label}"
                os.makedirs(os.path.join(folder, str(ctime)[:5]), exist_ok=True)
                for kind, unit, shape in (
                    ("wmap", "K^-1", (3,)),
                    ("weights", "K^-2", (3, 3)),
                    ("hits", "hits", ()),
                ):
                    pixels = _pixels(number, shape)
                    if kind == "weights":
                        pixels = pixels + np.swapaxes(pixels, 0, 1)
                    file = os.path.join(folder, f"{prefix}_{kind}.fits")
                    fits.writeto(file, pixels, _header(unit))
                row = (f"obs_{ctime}_satp1_111", "satp1", "f090", wafer, ctime, label)
                valid = not (ctime == CTIMES[1] and wafer == "ws1")
                values = (*row, valid, prefix, 1.0 + number)
                table.execute(f"INSERT INTO atomic VALUES ({','.join('?' * 9)})", values)
                number += 1
    table.commit()
    table.close()


@pytest.fixture
def database(shared_folder, on_first):
    on_first(lambda: _write(str(shared_folder)))
    return str(shared_folder / "atomic.db")


FULL = "split_label = 'full'"


def coadd(comm, database, where, **options):
    options = {"input_pol_conv": "COSMO", **options}
    return g3reduce.coadd_files(
        [], mpicomm=comm, result="all", atomic=database, where=where, **options
    )


@pytest.mark.ranks(*some_of((1, 2, 3), fewer=(2,)))
def test_maps_of_the_table_are_added(comm, database):
    before = os.stat(database)
    found = coadd(comm, database, FULL)
    numbers = (0, 2, 4)  # full, and valid
    frame, kelvin = found.frame, core.G3Units.K
    for place, name in enumerate("TQU"):
        expected = sum(_pixels(number, (3,))[place] / kelvin for number in numbers)
        np.testing.assert_allclose(skies.pixels(frame[name]), expected, rtol=1e-14)
        assert frame[name].weighted
    weights = [_pixels(number, (3, 3)) for number in numbers]
    expected = sum((one[1, 2] + one[2, 1]) / kelvin**2 for one in weights)
    np.testing.assert_allclose(skies.pixels(frame["Wpol"].QU), expected, rtol=1e-14)
    hits = sum(_pixels(number, ()) for number in numbers)
    np.testing.assert_array_equal(skies.pixels(frame["H"]), hits)
    assert [entry.map_id for entry in found.ledger.entries] == [
        *("ws0_f090_full", "ws1_f090_full", "ws0_f090_full")
    ]
    assert found.ledger.observations() == [f"satp1/obs_{ctime}_satp1_111" for ctime in CTIMES]
    after = os.stat(database)
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    assert sorted(os.listdir(os.path.dirname(database))) == ["17098", "17099", "atomic.db"]


@pytest.mark.ranks(2)
def test_rows_are_selected(comm, database):
    (name,) = {unit.file for unit in coadd(comm, database, f"{FULL} AND pwv < 2").ledger.units()}
    assert name.endswith(f"17098/atomic_{CTIMES[0]}_ws0_f090_full_wmap.fits")
    assert len(coadd(comm, database, f"{FULL} AND valid IN (0, 1)").ledger.entries) == 4
    apart = coadd(comm, database, "split_label IN ('full', 'left')", collate=True)
    assert len(apart) == 4
    checked = g3reduce.check_files(
        [], mpicomm=comm, atomic=database, where=FULL, input_pol_conv="COSMO"
    )
    assert checked.is_fine
    assert len(checked.seen.files) == 3


@pytest.mark.ranks(2)
def test_what_cannot_be_selected(comm, database):
    def refusal(where, **options):
        with pytest.raises(g3reduce.G3ReduceError) as caught:
            coadd(comm, database, where, **options)
        return " ".join(comm.allgather(str(caught.value)))

    assert "several splits of the same data (full, left)" in refusal(None)
    assert "no row with split_label = 'x'" in refusal("split_label = 'x'")
    assert "does not say the polarization convention" in refusal(FULL, input_pol_conv=None)


def test_words_can_only_select(tmp_path):
    _write(str(tmp_path))
    file = tmp_path / "atomic.db"
    before = file.read_bytes()
    for where in (
        "1); DROP TABLE atomic; --",
        "1; DELETE FROM atomic",
        "1 UNION SELECT 1",
        "load_extension('x')",
        "writefile('x', 'y')",
        "no_such_column = 1",
        "",
    ):
        with pytest.raises(g3reduce.UsageError):
            atomic_maps(file, f"{FULL} AND {where}")
    with pytest.raises(g3reduce.UsageError):
        atomic_maps(file, f"{FULL}) OR EXISTS (SELECT writefile('x', 'y')")
    assert file.read_bytes() == before
    assert not (tmp_path / "x").exists()
    assert len(atomic_maps(file, f"{FULL} -- a comment")) == 3


def test_files_that_are_no_table(tmp_path):
    with pytest.raises(g3reduce.InputError, match="there is no such file"):
        atomic_maps(tmp_path / "none.db")
    other = tmp_path / "other.db"
    other.write_bytes(b"x" * 5000)
    with pytest.raises(g3reduce.InputError, match="this is no SQLite file"):
        atomic_maps(other)
    connection = sqlite3.connect(tmp_path / "wrong.db")
    connection.execute("CREATE TABLE atomic (obs_id TEXT)")
    connection.close()
    with pytest.raises(g3reduce.InputError, match="prefix_path, ctime, wafer"):
        atomic_maps(tmp_path / "wrong.db")


@pytest.mark.ranks(2)
def test_splits_know_observations_and_dates(comm, database):
    early = splits.date(stop="2024-03-08T12:00:00")
    halves = splits.split(early=early, late=~early)
    found = coadd(comm, database, FULL, assign=halves)
    assert {name: len(half["Ledger"]["file"]) for name, half in found.items()} == {
        "early": 2,
        "late": 1,
    }
    by_rows = splits.split(first="wafer=ws0", dry="pwv<=3").using(table=database)
    found = coadd(comm, database, FULL, assign=by_rows)
    assert {name: sorted(one["Ledger"]["id"]) for name, one in found.items()} == {
        "first": ["ws0_f090_full", "ws0_f090_full"],
        "dry": ["ws0_f090_full", "ws1_f090_full"],
    }
    bundles = coadd(comm, database, FULL, assign=splits.bundles(2))
    whose = [set(bundle["Ledger"]["observation"]) for bundle in bundles.values()]
    expected = [{f"satp1/obs_{ctime}_satp1_111"} for ctime in CTIMES]
    assert sorted(whose, key=min) == expected
