"""What rank 0 makes of the rows on its board, and how it is worded."""

import importlib.util
import json
import os
import pty
import threading
import time

import pytest
import skies
from patience import HANGS_S
from spt3g import core

from g3reduce import InputError, OutputError, ProgressModule, UsageError, coadd_files, convert
from g3reduce.analysis import converting
from g3reduce.g3files.pieces import Piece
from g3reduce.jobs.mapopener import MapOpener
from g3reduce.mpi import OneProcess
from g3reduce.progress import Begun, JSONLog, Totals, read_log, reading
from g3reduce.progress.bar import NotebookBar
from g3reduce.progress.board import DONE, STARTED, Board
from g3reduce.progress.choosing import Several
from g3reduce.progress.counting import Pass
from g3reduce.progress.terminal import Terminal
from g3reduce.progress.watching import Watch
from g3reduce.progress.wording import duration, in_words, parts_of, size

NAMES = [f"{number}.g3" for number in range(8)]
S = 1_000_000  # microseconds


@pytest.fixture
def board():
    return Board(OneProcess(), len(NAMES), [Piece(n) for n in range(8)], time.perf_counter())


@pytest.fixture
def one(board):
    return Pass(board, NAMES, [Piece(n) for n in range(8)], Totals(n_files=8, n_bytes=800.0), set())


def test_a_row_that_is_half_there_does_not_count(board, one):
    board.put(2, DONE, 1, 2, 100, 1)
    whole = board.rows()[2, 5]
    board.rows()[2, 5] = 77
    assert list(one.look(1.0, each_file=True)) == []
    board.rows()[2, 5] = whole
    assert [event.file for event in one.look(1.1, each_file=True)] == ["2.g3"]
    assert list(one.look(1.2, each_file=True)) == []


@pytest.mark.parametrize("each_file", [True, False])
def test_a_rank_is_behind_that_takes_three_times_the_median(board, one, each_file):
    for row in range(6):
        board.put(row, DONE, row * S, (row + 1) * S, 200, 2)
    board.put(7, STARTED, 6 * S)
    kinds = [event.kind for event in one.look(8.9, each_file=each_file)]
    assert kinds == (["file done"] * 6 + ["file started"] if each_file else [])
    (late,) = one.look(9.5, each_file=each_file)
    assert (late.kind, late.file, late.median, late.seconds) == ("behind", "7.g3", 1.0, 3.5)
    assert one.totals.behind == (0,)
    assert (one.totals.files, one.totals.bytes, one.totals.n_bytes) == (6, 1200, 1400.0)
    board.put(7, DONE, 6 * S, 10 * S, 200, 2)
    list(one.look(10.1, each_file=each_file))
    assert (one.totals.behind, one.totals.files, one.totals.frames) == ((), 7, 14)


@pytest.mark.parametrize("each_file", [True, False])
def test_what_is_done_of_a_file_counts_before_its_end(board, one, each_file):
    board.put(1, STARTED, S)
    list(one.look(1.0, each_file=each_file))
    for done in (30, 60):
        board.put(1, STARTED, S, 0, done, 3)
        assert list(one.look(2.0, each_file=each_file)) == []
        assert (one.totals.bytes, one.totals.frames, one.totals.files) == (done, 3, 0)
    board.put(0, DONE, 0, S, 100, 7)
    list(one.look(3.0, each_file=each_file))
    assert (one.totals.bytes, one.totals.n_bytes, one.totals.files) == (160, 800.0, 1)
    board.put(1, DONE, S, 2 * S, 100, 5)
    list(one.look(4.0, each_file=each_file))
    assert (one.totals.bytes, one.totals.frames, one.totals.files) == (200, 12, 2)


@pytest.mark.parametrize("work", [coadd_files, convert])
def test_how_far_it_is_inside_of_one_file_is_told(tmp_path, monkeypatch, work):
    convert(skies.write_files(tmp_path, 4, "flat sparse", "hits"), tmp_path / "one.g3")
    monkeypatch.setattr(reading, "_BETWEEN", 0)
    told, end = [], time.monotonic() + HANGS_S
    monkeypatch.setattr(JSONLog, "look", lambda self, now, totals: told.append(totals))

    def frames(original, *given, **named):
        for number, frame in enumerate(original(*given, **named)):
            while number == 3 and not any(0 < totals.fraction < 1 for totals in told):
                assert time.monotonic() < end
                time.sleep(0.01)
            yield frame

    def slowed(original):
        return lambda *given, **named: frames(original, *given, **named)

    for owner, name in ((MapOpener, "frames"), (converting, "stored_frames_in")):
        monkeypatch.setattr(owner, name, slowed(getattr(owner, name)))
    work(tmp_path / "one.g3", tmp_path / "out.h5", progress=JSONLog(tmp_path / "log"))
    assert 1 <= next(totals.frames for totals in told if totals.bytes) <= 3
    assert (told[-1].files, told[-1].frames, told[-1].fraction) == (1, 8, 1.0)
    assert told[-1].bytes == os.path.getsize(tmp_path / "one.g3")


def test_letters_in_a_notebook_are_taken_away(monkeypatch, capsys):
    """What it draws where there are no ipywidgets; test_notebook.py has a real kernel."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    line = NotebookBar()
    line(Begun(time=0.0, task="coadd"))
    line.look(1.0, Totals(files=1, n_files=4))
    assert "coadd  25%" in capsys.readouterr().err
    line.close()
    assert capsys.readouterr().err.split("\r")[-1] == ""


def test_words():
    assert [size(n) for n in (0, 999, 1000, 99_949, 999_600, 3.21e12)] == [
        *("0 B", "999 B", "1.0 kB", "99.9 kB", "1.0 MB", "3.2 TB")
    ]
    assert [in_words(n) for n in (999, 999.7, 999.9e6, 2.56e11, 4.03e18)] == [
        *("999 bytes", "1 kB", "1 GB", "256 GB", "4,030,000 TB")
    ]
    assert [duration(s) for s in (0.2, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]
    totals = Totals(3, 10, 3_000_000, 10_000_000.0, 3, 1, (4, 5))
    assert parts_of(totals, 4.0, 1.0, 0) == [
        *("3/10 files", "1 set aside", "0:07 left", "1.0 MB/s", "ranks 4, 5 behind"),
        "3.0 MB of 10.0 MB",
    ]


def test_what_is_no_log_and_what_is_no_observer(tmp_path):
    with pytest.raises(UsageError, match="progress is 3; expected None, True, or a function"):
        coadd_files("a.g3", progress=3)
    with pytest.raises(OutputError, match="this log cannot be written"):
        JSONLog(tmp_path)
    file = tmp_path / "log"
    for text in ("", "{}\n", "no JSON\n", '[1]\n{"event": "begun"}\n'):
        file.write_text(text)
        with pytest.raises(InputError):
            read_log(file)
    log = JSONLog(file)
    log(Begun(time=0.5, task="coadd", command=("a\udc80", "b")))
    log.close()
    with file.open("a") as more:
        more.write('{"event": "of a later version"}\n{"event": "ended", "ti')
    assert read_log(file) == [Begun(time=0.5, task="coadd", command=("a\udc80", "b"))]


def test_a_log_has_one_job_at_a_time(tmp_path, limits):
    limits(folder_lock_s=0.1)
    first = JSONLog(tmp_path / "log")
    first(Begun(time=0.5, task="coadd"))
    with pytest.raises(OutputError, match="another job writes this log"):
        JSONLog(tmp_path / "log")
    assert len(read_log(tmp_path / "log")) == 1  # it is as it was
    first.close()
    first.close()
    JSONLog(tmp_path / "log").close()
    assert (tmp_path / "log").read_bytes() == b""
    both = [JSONLog(os.devnull), JSONLog(os.devnull)]
    for log in both:
        log.close()


WRONG = {
    "time": "soon",
    "rank": 1.5,
    "n_ranks": 10**30,
    "host": 3,
    "command": "coadd",
    "versions": {"numpy": 2},
    "totals": [1],
}


@pytest.mark.parametrize("name", WRONG)
def test_values_that_no_event_has_are_refused_by_their_line(tmp_path, name):
    file = tmp_path / "run.jsonl"
    log = JSONLog(file)
    log(Begun(time=0.0, task="coadd"))
    log.close()
    first = json.loads(file.read_text())
    file.write_text(f"{json.dumps(first)}\n{json.dumps(first | {name: WRONG[name]})}\n")
    with pytest.raises(InputError, match=rf"run.jsonl, line 2: {name} is .*; expected"):
        read_log(file)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "true"])
def test_numbers_of_a_log_are_finite(tmp_path, number):
    file = tmp_path / "run.jsonl"
    file.write_text(f'{{"event": "begun", "task": "coadd", "time": {number}}}\n')
    with pytest.raises(InputError, match=r"line 1: time is .*; expected a number"):
        read_log(file)


def test_an_observer_that_fails_takes_no_other_with_it(caplog):
    def fails(event):
        raise ValueError("wrong")

    seen, log = [], JSONLog("/dev/full")
    begun = Begun(time=0.0, task="coadd", n_ranks=1, started="", host="", command=(), versions={})
    both = Several([fails, log, seen.append])
    for _ in range(2):
        both(begun)
        both.look(1.0, Totals())
    both.close()
    assert seen == [begun, begun]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "fails failed (ValueError: wrong)" in told[0]
    assert "the log /dev/full failed (OSError" in told[1]


def test_messages_of_others_are_written_over_the_line():
    master, slave = pty.openpty()
    terminal = Terminal(os.ttyname(slave))
    terminal.write("coadd  10% |#     |")
    os.write(slave, b"WARN: of others\n")
    seen = b""
    while not seen.endswith(b"\n"):
        seen += os.read(master, 100)
    assert seen == b"coadd  10% |#     |\rWARN: of others\r\n"
    for number in range(200):  # as if Ctrl-S held it: not waited for
        terminal.write(f"{number:80}")
    for descriptor in (master, slave):
        os.close(descriptor)
    terminal.write("it is gone")
    assert terminal.columns() == 80


def test_an_observer_cannot_end_one_rank_of_a_job(caplog):
    def leaves(event):
        raise SystemExit(5)

    with Watch(OneProcess(), "coadd", leaves) as watch:
        watch.stage("reading")
    assert "leaves failed (SystemExit: 5) and is told nothing more" in caplog.text


def test_the_work_goes_on_where_telling_fails(caplog, monkeypatch):
    def fails(*_, **__):
        raise ZeroDivisionError("no ranks")

    monkeypatch.setattr(Pass, "look", fails)
    seen = []
    with Watch(OneProcess(), "coadd", seen.append) as watch:
        reading = watch.reading(["a.g3"], [Piece(0)])
        reading.began(Piece(0))
        time.sleep(0.3)
    assert [event.kind for event in seen] == ["begun"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert "ZeroDivisionError: no ranks; nothing more is told, and the work goes on" in told


def test_all_is_told_at_the_end_where_no_thread_can_be_started(caplog, monkeypatch):
    def refused(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    seen = []
    with Watch(OneProcess(), "coadd", seen.append) as watch:
        reading = watch.reading(["a.g3"], [Piece(0)])
        reading.began(Piece(0))
        reading.done(Piece(0), "a.g3", 2)
    assert [event.kind for event in seen] == ["begun", "stage", "file done", "ended"]
    assert (seen[-1].outcome, seen[-1].totals.files) == ("done", 1)
    assert "can't start new thread" in caplog.text


def test_a_file_that_is_named_twice_is_one_to_a_pipeline(tmp_path):
    file = str(tmp_path / "a.g3")
    with core.G3Writer(file) as writer:
        writer(core.G3Frame(core.G3FrameType.Scan))
    seen = []
    pipe = core.G3Pipeline()
    pipe.Add(core.G3Reader, filename=[file, file], track_filename=True)
    pipe.Add(ProgressModule, files=[[file, file]], progress=seen.append)
    pipe.Run()
    assert (seen[-1].totals.files, seen[-1].totals.n_files) == (1, 1)
    assert seen[-1].totals.fraction == 1.0
