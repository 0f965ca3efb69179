"""The ledger of a coadd in its own frame: written, read, merged by coadds of coadds."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from families import frame_of, write
from hypothesis import given
from hypothesis import strategies as st
from skies import planes, write_files
from spt3g import core, maps

from g3reduce import DuplicateError, InputError, MPIFileReader, MPIMapCoadder, coadd_files
from g3reduce.g3files.frames import Fingerprint, walk
from g3reduce.g3files.source import FileBytes, MemoryBytes
from g3reduce.maps.storedframe import StoredFrame
from g3reduce.pipeline.ledger import Entry, Ledger, LeftOut, Unit
from g3reduce.pipeline.ledgerframe import ledger_as_read, ledger_in, put_ledger

KINDS = ("flat sparse", "flat dense", "healpix ring", "healpix indexed")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(frame):
    """The ledger as a few lines of plain spt3g read it."""
    texts, numbers = frame["Ledger"], frame["LedgerNumbers"]
    keys = ("file", "frame", "id", "observation", "checksum", "length", "sign", "pixels", "weight")
    return [
        {key: (texts if key in texts.keys() else numbers)[key][place] for key in keys}  # noqa: SIM118
        for place in range(len(texts["file"]))
    ]


def last_frame(file):
    *_, frame = core.G3File(str(file))
    return frame


@pytest.mark.parametrize("weighting", ["polarized", "hits", "no weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_plain_spt3g_reads_what_was_counted(folder, kind, weighting):
    files = write_files(folder, 3, kind, weighting)
    coadd_files(files, "coadd.g3", map_ids="150GHz")
    rows = rows_of(last_frame("coadd.g3"))
    assert [row["file"] for row in rows] == files
    for row in rows:
        with FileBytes(row["file"]) as source:
            raw = list(walk(source))[int(row["frame"])]
            content = raw.read()
        assert row["length"] == len(content)
        assert bytes.fromhex(row["checksum"])[::-1] == content[-4:]
        (frame,) = [one for one in core.G3File(row["file"]) if one.get("Id", None) == "150GHz"]
        found = planes(frame)
        weight = found.get("Wpol.TT", found.get("Wunpol.TT", found.get("H")))
        hit = found["T"] if weight is None else weight
        assert row["pixels"] == np.count_nonzero(hit)
        assert row["weight"] == (0 if weight is None else weight.sum())
        assert (row["id"], row["sign"]) == ("150GHz", 1)


def test_the_observation_is_known_whether_ids_record_it_or_not(folder):
    write("a.g3", {"90GHz": 1.0}, observation=7)
    write("b.g3", {"90GHz": 2.0})
    for recorded in (False, True):
        frame = coadd_files(["a.g3", "b.g3"], record_obs_id=recorded).frame
        assert [row["observation"] for row in rows_of(frame)] == ["field/7", ""]
        assert list(frame["InputMapIds"]) == (["field/7/90GHz", "90GHz"] if recorded else ["90GHz"])


def test_a_source_without_a_number_matters_only_where_ids_record_it(folder):
    with core.G3Writer("a.g3") as writer:
        head = core.G3Frame(core.G3FrameType.Observation)
        head["SourceName"] = "field"
        writer(head)
        writer(frame_of("90GHz", 1.0))
    assert rows_of(coadd_files("a.g3").frame)[0]["observation"] == ""
    with pytest.raises(InputError, match="no ObservationID"):
        coadd_files("a.g3", record_obs_id=True)


@pytest.mark.parametrize("maker", ["file", "memory", "pipeline", "spt3g's reader"])
def test_it_is_there_whatever_way_the_frame_was_made(folder, maker):
    files = [write(f"{n}.g3", {"90GHz": float(n)}) for n in (1, 2)]
    if maker == "file":
        coadd_files(files, "coadd.g3", keep_maps=False)
        frame = last_frame("coadd.g3")
    elif maker == "memory":
        frame = coadd_files(files).frame
    else:
        coadder = MPIMapCoadder()
        pipe = core.G3Pipeline()
        if maker == "pipeline":
            pipe.Add(MPIFileReader, mpicomm=None, files=[files])
        else:
            pipe.Add(core.G3Reader, filename=files, track_filename=True)
        pipe.Add(coadder)
        pipe.Run()
        frame = coadder.coadd_frame
    rows = rows_of(frame)
    assert [row["file"] for row in rows] == files
    assert [row["pixels"] for row in rows] == [4, 4]
    counts = maker != "spt3g's reader"
    assert [row["frame"] for row in rows] == ([0, 0] if counts else [-1, -1])
    assert all(bool(row["checksum"]) == counts for row in rows)


def test_frames_of_no_file_are_listed_without_one():
    coadder = MPIMapCoadder()
    coadder.add(frame_of("90GHz", 1.0))
    (row,) = rows_of(coadder.finish().frame)
    assert (row["file"], row["frame"], row["checksum"], row["pixels"]) == ("", -1, "", 4)


# Coadds of coadds


def test_a_season_lists_the_original_frames_with_their_signs(folder):
    files = [write(f"obs{n}.g3", {"90GHz": 10.0**n}, observation=n) for n in range(4)]
    direct = coadd_files(files, assign=lambda f: {"null": -1 if f["T"][0] in (10, 1000) else 1})
    for half, names in enumerate((files[::2], files[1::2])):
        coadd_files(names, f"half{half}.g3", output_map_id=f"half{half}")
    week = coadd_files(
        ["half0.g3", "half1.g3"],
        "null.g3",
        assign=lambda f: {"null": 1 if f["Id"] == "half0" else -1},
    )
    key = lambda row: row["file"]  # noqa: E731
    rows = sorted(rows_of(week["null"]), key=key)
    assert rows == sorted(rows_of(direct["null"]), key=key)
    assert [row["sign"] for row in rows] == [1, -1, 1, -1]
    again = coadd_files("null.g3", assign=lambda f: {"minus": -1})
    assert [row["sign"] for row in sorted(rows_of(again["minus"]), key=key)] == [-1, 1, -1, 1]
    assert week.ledger.units() == [Unit("half0.g3", 0, 0), Unit("half1.g3", 0, 1)]
    assert again.ledger.observations() == [f"field/{n}" for n in (0, 2, 1, 3)]


def test_what_spt3g_has_coadded_is_listed_as_far_as_it_says(folder):
    files = [write(f"obs{n}.g3", {"90GHz": 10.0**n}) for n in range(3)]
    with core.G3Writer("theirs.g3") as writer:
        writer(maps.coadd_map_files(files[:2]))
    mine = coadd_files(["theirs.g3", files[2]], "mine.g3").frame
    assert [row["file"] for row in rows_of(mine)] == ["theirs.g3", "obs2.g3"]
    assert list(mine["LedgerInputMapIds"]["0"]) == ["90GHz"]
    assert list(mine["LedgerInputFiles"]["0"]) == files[:2]
    for file in files:
        with pytest.raises(DuplicateError, match=f"both contain {file}"):
            coadd_files(["mine.g3", file])
    assert list(coadd_files("mine.g3").frame["InputFiles"]) == files


def test_spt3gs_own_tool_ignores_it(folder):
    files = [write(f"obs{n}.g3", {"90GHz": 10.0**n}) for n in range(4)]
    for half in range(2):
        coadd_files(files[half::2], f"half{half}.g3")
    tool = shutil.which("spt3g-coadd-maps", path=os.path.dirname(sys.executable))
    subprocess.run([tool, "half0.g3", "half1.g3", "-o", "theirs.g3"], check=True)
    theirs = last_frame("theirs.g3")
    assert "Ledger" not in theirs
    assert theirs["T"][0] == 1111
    assert sorted(theirs["InputFiles"]) == files
    with pytest.raises(DuplicateError, match="both contain"):
        coadd_files(["theirs.g3", "half0.g3"])


def test_a_name_that_was_used_again_is_another_observation(folder):
    for night in (1, 2):
        write("tonight.g3", {"90GHz": 10.0**night}, observation=night)
        coadd_files("tonight.g3", f"night{night}.g3")
    both = coadd_files(["night1.g3", "night2.g3"]).frame
    assert [row["observation"] for row in rows_of(both)] == ["field/1", "field/2"]
    write("tonight.g3", {"90GHz": 5.0}, observation=2)  # made anew: the same observation
    with pytest.raises(DuplicateError, match="both contain tonight"):
        coadd_files(["night2.g3", "tonight.g3"])


def test_what_was_left_out_is_handed_on_until_it_is_counted(folder):
    for n in (1, 2, 3):
        write(f"obs{n}.g3", {"90GHz": 10.0**n})
    coadder = MPIMapCoadder()
    coadder.add(frame_of("90GHz", 1.0))
    (coadd,) = coadder.join().values()
    coadd.ledger.left_out += [LeftOut("obs2.g3", -1, "cut off"), LeftOut("obs3.g3", 4, "NaN")]
    with core.G3Writer("first.g3") as writer:
        writer(coadd.to_frame())
    coadd_files(["first.g3", "obs1.g3"], "second.g3")
    frame = last_frame("second.g3")
    listed = zip(*(frame["LeftOut"][key] for key in ("file", "frame", "reason")), strict=True)
    assert list(listed) == [("obs2.g3", "-1", "cut off"), ("obs3.g3", "4", "NaN")]
    assert coadd_files(["second.g3", "obs2.g3"]).ledger.left_out == [LeftOut("obs3.g3", 4, "NaN")]


# Whatever is in it


@st.composite
def entries(draw):
    names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
    unit = None
    if file := draw(names):
        mark = st.builds(Fingerprint, st.integers(0, 2**32 - 1), st.integers(1, 2**53))
        unit = Unit(file, draw(st.integers(-3, 2**40)), fingerprint=draw(st.none() | mark))
    entry = Entry.of(unit, map_id=draw(names), observation=draw(names))
    return entry._replace(
        sign=draw(st.sampled_from([1, -1])),
        pixels=draw(st.integers(-1, 2**40)),
        weight=draw(st.floats(allow_nan=False)),
    )


@given(st.lists(entries(), max_size=4), st.booleans())
def test_it_is_read_as_it_was_written(written, stored):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "x"
    put_ledger(frame, Ledger(written, [LeftOut("a.g3", 3, "why")]), as_read=True)
    if stored:
        (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
        frame = StoredFrame(raw)
    found = ledger_in(frame, "it")
    assert found.left_out == [LeftOut("a.g3", 3, "why")]

    def told(entry):
        mark = entry.fingerprint
        return (entry.unit, mark, entry.map_id, entry.observation, *entry[-3:])

    assert list(map(told, found.entries)) == list(map(told, written))
    assert [entry.read for entry in ledger_as_read(frame, "it").entries] == [
        entry.read for entry in written
    ]


def spoiled(key, value):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "Coadd"
    put_ledger(frame, Ledger([Entry.of(Unit("a.g3", 1))._replace(pixels=1)]))
    del frame[key]
    if value is not None:
        frame[key] = value
    return frame


TEXTS = {"file": ["a"], "id": ["b"], "observation": [""], "checksum": [""]}
NUMBERS = {"frame": [1.0], "length": [0.0], "sign": [1.0], "pixels": [1.0], "weight": [1.0]}
NO_LEDGERS = {
    "no numbers": ("LedgerNumbers", None),
    "no texts": ("Ledger", None),
    "another class": ("Ledger", core.G3VectorString(["a"])),
    "a column that is missing": ("Ledger", core.G3MapVectorString({"file": ["a"]})),
    "columns of two lengths": ("Ledger", core.G3MapVectorString({**TEXTS, "id": []})),
    "no checksum": ("Ledger", core.G3MapVectorString({**TEXTS, "checksum": ["xyz"]})),
    "a sign of 0": ("LedgerNumbers", core.G3MapVectorDouble({**NUMBERS, "sign": [0.0]})),
    "no number": ("LedgerNumbers", core.G3MapVectorDouble({**NUMBERS, "pixels": [math.nan]})),
    "infinite": ("LedgerNumbers", core.G3MapVectorDouble({**NUMBERS, "frame": [math.inf]})),
}


@pytest.mark.parametrize("what", NO_LEDGERS)
def test_a_ledger_that_is_none_is_told(what):
    with pytest.raises(InputError, match=r"^it: the ledger of this coadd cannot be used"):
        ledger_in(spoiled(*NO_LEDGERS[what]), "it")


def test_the_file_is_the_same_bytes_every_time(folder):
    files = write_files(folder, 3, "flat sparse", "polarized")
    found = set()
    for _ in range(2):
        coadd_files(files, "coadd.g3", reproducible=True)
        found.add((folder / "coadd.g3").read_bytes())
    assert len(found) == 1
