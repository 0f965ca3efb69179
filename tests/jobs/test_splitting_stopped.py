"""Splittings that were stopped go on from their checkpoints, unless maps would go elsewhere now."""

import os
import signal
from pathlib import Path

import pytest
import skies
from choices import some_of
from spt3g import core

from g3reduce import InputError, Stopped, coadd_files, splits
from g3reduce.jobs import checkpointcommit, checkpoints
from g3reduce.jobs.mapopener import MapOpener

N_FILES = 6
HALVES = splits.split(dry="pwv<median", late="date>=2019-05-03")
HALVES = HALVES * splits.bundles(2, by="number") * splits.signflips(3)
BY_TABLE = {"table": "obs.csv", "time": "iso:date"}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files in the current folder, with a table of their observations."""
    monkeypatch.setattr(checkpoints, "_COST", 0)
    monkeypatch.setattr(checkpointcommit, "_LOOK_S", 0)
    monkeypatch.chdir(tmp_path)
    made = skies.write_files(tmp_path, N_FILES, "flat sparse", "hits")
    write_table()
    return [os.path.basename(file) for file in made]


def write_table(file="obs.csv", **values):
    """A table; `values` are those of the first observation in some columns."""
    rows = []
    for number in range(N_FILES):
        row = {"obs_id": 1000 + number, "date": f"2019-05-0{number + 1}"}
        row |= {"late": f"2019-06-0{number + 1}", "pwv": number % 4, "observer": "x"}
        rows.append(row | (values if number == 0 else {}))
    lines = [",".join(map(str, row.values())) for row in rows]
    Path(file).write_text("\n".join([",".join(rows[0]), *lines, ""]))


def coadd(files, assign, **options):
    return coadd_files(files, "out.g3", assign=assign, checkpoint="ck", **options)


def stop(files, assign):
    """Stop the work before the fourth file, once there is a checkpoint."""
    frames = MapOpener.frames

    def signalling(self, name, piece):
        if os.path.basename(name) == files[3] and list(Path("ck").glob("set-*.json")):
            os.kill(os.getpid(), signal.SIGUSR1)
        return frames(self, name, piece)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MapOpener, "frames", signalling)
        with pytest.raises(Stopped, match=r"^stopped at [1-5] of 6 files"):
            coadd(files, assign, checkpoint_every=1e-9)


def unchanged():
    return HALVES.using(**BY_TABLE)


def elsewhere():
    write_table("elsewhere.csv")
    return HALVES.using(table="elsewhere.csv", time="iso:date")


def other_observer():
    write_table(observer="y")
    return HALVES.using(**BY_TABLE)


def other_value():
    write_table(pwv=3)
    return HALVES.using(**BY_TABLE)


def other_time():
    write_table(date="2019-05-09")
    return HALVES.using(**BY_TABLE)


def other_clock():
    return HALVES.using(table="obs.csv", time="iso:late")


@pytest.mark.parametrize("change", some_of([unchanged, other_observer], fewer=[unchanged]))
def test_a_splitting_that_was_stopped_goes_on(files, change):
    expected = coadd_files(files, assign=HALVES.using(**BY_TABLE))
    stop(files, HALVES.using(**BY_TABLE))
    coadd(files, change(), resume=True)
    found = {frame["Id"]: frame for frame in core.G3File("out.g3")}
    assert sorted(found) == sorted(expected)
    assert any(-1 in list(frame["LedgerNumbers"]["sign"]) for frame in found.values())
    for name, frame in found.items():
        skies.assert_same_coadd(frame, expected[name])


@pytest.mark.parametrize(
    "change",
    some_of([other_value, other_time, other_clock, elsewhere], fewer=[other_value, other_clock]),
)
def test_sums_are_not_mixed_with_those_of_another_table_or_time(files, change):
    stop(files, HALVES.using(**BY_TABLE))
    with pytest.raises(InputError, match=r"made with other options: assign was .*, now .*, plan "):
        coadd(files, change(), resume=True)


def test_nor_with_those_of_a_rule_of_each_map_by_itself(files):
    assign = splits.split(dry="pwv<2")
    stop(files, assign.using(table="obs.csv"))
    write_table(pwv=2)
    with pytest.raises(InputError, match="made with other options: assign was 'dry: pwv<2, table"):
        coadd(files, assign.using(table="obs.csv"), resume=True)


def test_nor_with_those_of_other_coadds_that_are_made_again(files):
    for seed, name in enumerate(("this.g3", "that.g3")):
        coadd_files(files, name, assign=splits.signflips(3, seed=seed))
    os.rename("this.g3", "coadds.g3")
    stop(files, splits.repeat("coadds.g3").assign)
    os.rename("that.g3", "coadds.g3")
    with pytest.raises(InputError, match="made with other options: assign was 'again as coadds"):
        coadd(files, splits.repeat("coadds.g3").assign, resume=True)
