"""Tables of observations in files, and what rules find in them."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
from contextlib import closing

import pytest
import yaml
from astropy.table import Table as AstropyTable

from g3reduce import InputError, UsageError, splits
from g3reduce.splits import MapFacts, read_table
from g3reduce.splits.overview import Overview

ROWS = [
    {"obs_id": "1000", "elevation": 45.5, "wafer": "w25", "n": 3, "night": "2019-05-01"},
    {"obs_id": "1001", "elevation": 50.0, "wafer": "w26", "n": None, "night": "2019-05-02"},
    {"obs_id": "field/1002", "elevation": 60.0, "wafer": "w25", "n": 5, "night": "2019-05-03"},
]


def write(folder, ending, rows=ROWS):
    file = str(folder / f"table{ending}")
    names = list(dict.fromkeys(name for row in rows for name in row))
    if ending == ".csv":
        texts = [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
        lines = ["# of 2019", ",".join(names), *map(",".join, texts), ""]
        (folder / "table.csv").write_text("\n".join(lines))
    elif ending == ".ecsv":
        masked = AstropyTable(rows=[tuple(row.values()) for row in rows], names=names, masked=True)
        if None in masked["n"]:
            masked["n"] = [0 if row["n"] is None else row["n"] for row in rows]
            masked = AstropyTable(masked, masked=True)
            masked["n"].mask = [row["n"] is None for row in rows]
        masked.write(file, format="ascii.ecsv")
    elif ending == ".yaml":
        with open(file, "w") as stream:
            yaml.safe_dump(rows, stream)
    elif ending == ".yml":
        keyed = {row["obs_id"]: {key: row[key] for key in row if key != "obs_id"} for row in rows}
        with open(file, "w") as stream:
            json.dump(keyed, stream)  # is YAML
    else:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("CREATE TABLE atomic (obs_id TEXT, elevation, wafer, n, night)")
            values = [tuple(row.values()) for row in rows]
            database.executemany("INSERT INTO atomic VALUES (?, ?, ?, ?, ?)", values)
    return file


ENDINGS = [".csv", ".ecsv", ".yaml", ".yml", ".db", ".sqlite"]


def facts(number, table):
    name = f"field/{number}"
    return MapFacts(f"obs_{number}.g3", 1, "90GHz", "field", name, columns=table.row_of(name))


@pytest.mark.parametrize("ending", ENDINGS)
def test_tables_of_all_formats_say_the_same(tmp_path, ending):
    table = pickle.loads(pickle.dumps(read_table(write(tmp_path, ending))))  # it goes to ranks
    assert set(table.rows) == {"1000", "1001", "field/1002"}
    first, second, third = (facts(number, table) for number in (1000, 1001, 1002))
    assert first.value_of("elevation") == 45.5
    assert third.value_of("wafer") == "w25"
    assert third.value_of("n") == 5.0
    assert splits.parse_rule("night<2019-05-02").holds(first)
    with pytest.raises(InputError, match=r"obs_1001.g3.* no value of 'n' for field/1001"):
        second.value_of("n")
    with pytest.raises(InputError, match=r"table.* has no row for the observation 'field/999'"):
        facts(999, table).value_of("n")


def test_a_database_is_neither_locked_nor_changed(tmp_path):
    """A writer that holds its lock keeps nobody from reading what is there."""
    file = write(tmp_path, ".db")
    before = os.stat(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        other = sqlite3.connect(file, timeout=0)
        with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT * FROM atomic").fetchall()
        assert len(read_table(file).rows) == 3
    assert os.stat(file).st_mtime_ns == before.st_mtime_ns
    assert os.listdir(tmp_path) == ["table.db"]


def test_a_database_that_is_being_written_is_refused(tmp_path):
    file = write(tmp_path, ".db")
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE atomic SET n = 1")
        with pytest.raises(InputError, match=r"table.db-wal: the database is being written"):
            read_table(file)


def test_a_database_of_several_tables_asks_which(tmp_path):
    file = write(tmp_path, ".db")
    with closing(sqlite3.connect(file)) as database, database:
        database.execute('CREATE TABLE "odd ""name" (observation, x)')
        database.execute('INSERT INTO "odd ""name" VALUES (7, 8)')
    with pytest.raises(InputError, match="which one of its tables is meant; there are atomic, odd"):
        read_table(file)
    assert read_table(file, table='odd "name').rows["7"]["x"] == 8
    with pytest.raises(InputError, match=r"no table 'none' in it.* Name one: --table-name NAME"):
        read_table(file, table="none")
    named = splits.by("x").using(read_table(file, table='odd "name'))
    assert named.record()["table"] == f'{file}, table odd "name (by observation)'
    with pytest.raises(UsageError, match="is no SQLite file, so there is no table 'x'"):
        read_table(write(tmp_path, ".csv"), table="x")


@pytest.mark.parametrize("other", ["N/A", "inf", "1,5", "007"])
def test_the_cell_that_makes_a_column_text_is_named(tmp_path, other):
    (tmp_path / "t.csv").write_text(f'obs_id,x\n1,2\n# comment\n2,\n3,"{other}"\n4,25\n')
    table = pickle.loads(pickle.dumps(read_table(tmp_path / "t.csv")))
    why = f"'2'.* The whole column is text because of '{other}' in row 3, which is no number"
    for rule in ("x<0.8", "x>=median"):
        with pytest.raises(InputError, match=why):
            splits.split(low=rule).using(table).plan([facts(1, table)])
    for number, rule in ((4, 'x="25"'), (1, "x=2*")):
        plan = splits.split(some=rule).using(table).plan([facts(number, table)])
        assert plan.names == ["some"]
    with pytest.raises(InputError, match=f"'{other}', which cannot be compared") as raised:
        splits.split(low="x<0.8").using(table).plan([facts(3, table)])
    assert "whole column" not in str(raised.value)


def test_rows_of_an_observation_are_an_error_only_where_they_differ(tmp_path):
    (tmp_path / "t.csv").write_text("obs_id,x,y\n1,2,5\n2,3,6\n1,4,5\n")
    table = read_table(tmp_path / "t.csv")
    assert facts(1, table).value_of("y") == 5.0
    said = r"obs_1.g3, .*'x' is asked for, .* 2 rows .* '1', .* The rows: row 1: 2, row 3: 4\.$"
    for one in (table, pickle.loads(pickle.dumps(table))):
        with pytest.raises(InputError, match=said):
            facts(1, one).value_of("x")


def test_rows_of_atomic_maps_are_found_by_their_ids(tmp_path):
    lines = ["obs_id,wafer,freq_channel,split_label,noise,pwv"]
    lines += ["1,ws0,f090,full,10,0.5", "1,ws1,f090,full,30,0.5", "1,ws1,f090,full,40,0.5"]
    lines += ["2,ws0,f090,full,20,0.7"]
    (tmp_path / "t.csv").write_text("\n".join([*lines, ""]))
    table = pickle.loads(pickle.dumps(read_table(tmp_path / "t.csv")))
    first, second = (
        facts(1, table)._replace(map_id=one, columns=table.row_of("field/1", one))
        for one in ("ws0_f090_full", "ws1_f090_full")
    )
    assert (first.value_of("noise"), first.value_of("wafer")) == (10.0, "ws0")
    assert (second.value_of("pwv"), second.value_of("wafer")) == (0.5, "ws1")
    with pytest.raises(InputError, match="2 rows for the observation '1', Id 'ws1_f090_full'"):
        second.value_of("noise")
    third = facts(2, table)._replace(map_id="ws0_f090_full")
    assert Overview([first, third]).median("noise") == 15.0
    assert Overview([first, second, third]).median("pwv") == 0.6  # of observations


def test_names_with_leading_zeros_stay_what_they_are(tmp_path):
    (tmp_path / "t.csv").write_text("ObservationID,x\n007,1\n12,2e3\n")
    assert read_table(tmp_path / "t.csv").rows == {
        "007": {"ObservationID": "007", "x": 1.0},
        "12": {"ObservationID": "12", "x": 2000.0},
    }


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("t.yaml", "{a: {x: 1}, a: {x: 2}}", "'a' is there twice"),
        ("t.yaml", "- obs_id: 1\n  x: 2\n- x: 3\n", "row 2: obs_id is None"),
        ("t.yaml", "7", "expected a list of rows"),
        ("t.yaml", "[1, 2", "is no YAML"),
        ("t.yaml", "!!python/object/apply:os.getcwd []", "is no YAML"),
        ("t.csv", "obs_id,x\n1\n", "row 1: 1 values; expected 2"),
        ("t.csv", "obs_id,x,x\n1,2,3\n", "expected names, each once"),
        ("t.csv", 'obs_id,x\n"1,2\n', "is no CSV"),
        ("t.csv", b"obs_id,\xff\n1,2\n", "no text in UTF-8"),
        ("t.ecsv", "obs_id x\n1 2\n", "is no ECSV"),
        ("t.db", "no database at all, but long enough for its header " * 9, "as SQLite"),
        ("t.csv", "obs_id,x\n", "no rows in it"),
        ("t.txt", "x", "expected one of .csv, .ecsv, .yaml, .yml, .db, .sqlite, .sqlite3"),
        ("t.csv", None, "No such file"),
        ("t.db", None, "no such file"),
    ],
)
def test_what_is_no_table_says_why(tmp_path, name, text, problem):
    file = tmp_path / name
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=problem) as raised:
        read_table(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("columns", "key", "problem"),
    [
        ("x,y", None, "None of them may; it has x, y"),
        ("obs_id,ObservationID", None, "obs_id and ObservationID may.*--table-key COLUMN"),
        ("x,y", "z", "no column 'z'; it has x, y"),
    ],
)
def test_the_column_that_names_observations_is_not_guessed(tmp_path, columns, key, problem):
    (tmp_path / "t.csv").write_text(f"{columns}\n1,2\n")
    with pytest.raises(UsageError, match=problem):
        read_table(tmp_path / "t.csv", key=key)
    assert read_table(tmp_path / "t.csv", key=columns.split(",")[1]).rows["2"]


# In splittings


def test_columns_are_checked_before_anything_is_read(tmp_path):
    file = write(tmp_path, ".csv")
    low = splits.split(low="elevaton<50")
    with pytest.raises(UsageError, match=r"no column 'elevaton', .* it has obs_id, elevation"):
        low.using(table=file)
    with pytest.raises(UsageError, match=r"asks for the column 'elevaton', and there is no table"):
        low.assigner()
    with pytest.raises(UsageError, match="no column 'when'"):
        splits.by("wafer").using(table=file, time="mjd:when")


def test_splittings_keep_their_table_when_they_are_combined(tmp_path):
    table = read_table(write(tmp_path, ".csv"))
    low = splits.split(low="elevation<median", high="elevation>=median").using(table=table)
    both = splits.by("id") * low + splits.by("wafer").using(time="iso:night", table=table)
    inputs = [
        MapFacts(f"obs_{number}.g3", 1, "90GHz", "field", f"field/{number}")
        for number in (1000, 1001, 1002)
    ]
    plan = both.plan(inputs)
    assert plan.names == ["90GHz_low", "90GHz_high", "w25", "w26"]
    assert plan.record_of("90GHz_high") == {
        "name": "90GHz_high",
        "rule": "by id: 90GHz; high: elevation>=median",
        "table": f"{table.file} (by obs_id)",
        "time": "iso:night",
    }
    other = read_table(write(tmp_path, ".yaml"))
    with pytest.raises(UsageError, match="use different tables or times"):
        low * splits.by("n").using(table=other)
