"""The page about a coadd, read as text."""

import base64
import html
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from choices import among_all
from patience import HANGS_S
from reports import HOSTILE, SHAPE, SOURCE, content_of, map_frame, skymap, values_of, write_maps
from spt3g import core, maps

from g3reduce import cli, difference, null_test
from g3reduce.mpi.launch import mpirun_command, mpirun_environment
from g3reduce.pipeline.entries import LeftOut
from g3reduce.progress.events import Begun, FileDone, StageBegun
from g3reduce.progress.logfile import read_log
from g3reduce.report.contributions import Contribution, outliers_of, plots_of
from g3reduce.report.page import write_report
from g3reduce.report.pictures import pictures_of, plain
from g3reduce.report.planevalues import packed
from g3reduce.report.runlog import run_of

pytest.importorskip("jinja2", reason="pages are made with jinja2")


def test_values_in_the_page_are_those_of_the_map(tmp_path):
    frame = map_frame()
    page = (tmp_path / write_report(write_maps(tmp_path / "coadd.g3", frame))).read_text()
    pictures = content_of(page)["maps"][0]["pictures"]
    planes = {plane["name"]: plane for plane in pictures["planes"]}
    values = values_of(pictures, planes["T"])
    expected = np.asarray(frame["T"]) / core.G3Units.uK
    bottom, left = 0, 0  # all pixels are observed, so that nothing is cut off
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, atol=0.51 * planes["T"]["step"])
    assert planes["T"]["step"] < 10 / 25  # of sigma
    np.testing.assert_array_equal(values_of(pictures, planes["Hits"]), np.asarray(frame["H"]))
    assert np.unravel_index(np.argmax(values), values.shape) == (
        SOURCE[1] - bottom,
        SOURCE[0] - left,
    )


def test_page_does_not_replace_what_it_is_about(tmp_path, capsys):
    coadd = str(write_maps(tmp_path / "coadd.g3", map_frame()))
    assert cli.main(["report", coadd, "-o", coadd]) == 1
    assert "the output is also an input" in capsys.readouterr().err
    assert cli.main(["report", coadd, "-o", str(tmp_path / "page.txt")]) == 2
    assert "must end in .html or .htm" in capsys.readouterr().err


def test_values_far_beyond_the_scatter_are_exact_to_a_part_of_themselves():
    values = np.random.default_rng(1).normal(0, 1, (30, 40))
    values[3, 4], values[5, 6], values[7, 8] = 1e3, -1e6, 1e12
    plane = packed(values, -3.0, 3.0)._asdict()
    found = values_of({"height": 30, "width": 40}, plane)
    np.testing.assert_allclose(found, values, rtol=1e-3, atol=0.51 * plane["step"])
    assert plane["step"] < 0.04


def test_directions_between_nodes_are_exact():
    frame = map_frame()
    sky = pictures_of(frame, 1_000_000)["sky"]
    raw = np.frombuffer(base64.b64decode(sky["vectors"]), "<f4")
    nodes = raw.reshape(sky["nodes"], sky["nodes"], 3)
    x, y = 20.3, 13.7
    u, v = x / (SHAPE[1] - 1) * (sky["nodes"] - 1), y / (SHAPE[0] - 1) * (sky["nodes"] - 1)
    (i, u), (j, v) = (divmod(one, 1) for one in (u, v))
    i, j = int(i), int(j)
    low = (1 - u) * nodes[j, i] + u * nodes[j, i + 1]
    high = (1 - u) * nodes[j + 1, i] + u * nodes[j + 1, i + 1]
    a, b, c = (1 - v) * low + v * high
    lon, lat = frame["T"].xy_to_angle(x, y)
    pixel = float(frame["T"].res)
    assert np.arctan2(b, a) == pytest.approx(lon, abs=0.1 * pixel)
    assert np.arctan2(c, np.hypot(a, b)) == pytest.approx(lat, abs=0.1 * pixel)


def test_names_of_files_cannot_become_part_of_the_page(tmp_path):
    page = (tmp_path / write_report(write_maps(tmp_path / "coadd.g3"))).read_text()
    assert HOSTILE not in page
    assert "<b>cut off</b>" not in page
    assert content_of(page)["leftOut"]["rows"] == [[HOSTILE, None, "<b>cut off</b>"]]


def test_page_loads_nothing(tmp_path):
    page = (tmp_path / write_report(write_maps(tmp_path / "coadd.g3"))).read_text()
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)|url\(|@import|https?://", page)


def test_outliers_are_found_on_a_slow_drift():
    values = (
        1 + 0.3 * np.sin(np.arange(1000) / 100) + np.random.default_rng(1).normal(0, 0.02, 1000)
    )
    values[400] *= 0.8
    found = outliers_of([f"field/{i}" for i in range(1000)], values)
    assert [one.name for one in found] == ["field/400"]
    assert found[0].value == pytest.approx(0.8, abs=0.05)


def test_points_of_very_many_observations_are_few_strokes_and_outliers_stay():
    values = np.random.default_rng(1).normal(1, 0.02, 10_000)
    values[::25] *= 1.5
    plots = plots_of([Contribution(f"field/{i}", one, 7) for i, one in enumerate(values)])
    plot = plots[0]
    assert plot.n_outliers == 400  # the first observation, too
    assert len(plot.marks) + plot.others.count("M") == 400
    assert len(plot.path) < 15_000
    down, along = np.array(re.findall(r" (\S+?)v([^m]+)", plot.path), int).T
    bottom = np.cumsum(down + along)
    (y0, low), *_, (y1, high) = ((y, float(label)) for y, label in plot.ticks)
    level = low + (high - low) * (np.concatenate([bottom - along, bottom]) - y0) / (y1 - y0)
    usual = np.delete(values / np.median(values), np.s_[::25])
    assert level.max() == pytest.approx(usual.max(), abs=0.006)
    assert level.min() == pytest.approx(usual.min(), abs=0.006)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1.0, 1.0, 1.0], ["0.990", "0.995", "1.000", "1.005", "1.010"]),
        ([0.98, 1.0, 1.01], ["0.98", "0.99", "1.00", "1.01"]),
        ([0.2, 1.0, 3.0], ["0", "1", "2", "3"]),
        ([-1.0, 1.0, 1.0], ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
        ([0.0, 0.0, 0.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([1.0, 1.0, 2e9], ["0", "5e+08", "1e+09", "1.5e+09", "2e+09"]),
    ],
)
def test_axis_of_contributions_shows_their_spread(values, labels):
    plot = plots_of([Contribution("", 1.0, one) for one in values])[-1]
    assert [label for _, label in plot.ticks] == labels
    drawn = [float(y) for y in re.findall(r" (\S+?)h0", plot.path)]
    drawn += [y for _, y, _ in plot.marks]
    assert len(drawn) == 3
    assert all(12 <= y <= 160 for y in drawn)


def test_ledger_of_very_many_frames_takes_little_room(tmp_path):
    frame = map_frame(3000)
    page = (tmp_path / write_report(write_maps(tmp_path / "coadd.g3", frame))).read_text()
    rows = content_of(page)["ledger"]["rows"]
    assert len(rows) == 3000
    assert rows[1234][:5] == ["150GHz", "/data/obs_01234.g3", 0, "150GHz", "field/1234"]
    text = re.search(r'"ledger":\{.*?\}', page)[0]
    assert len(text) < 20 * len(rows)


def test_left_out_files_are_counted_by_reason(tmp_path):
    left_out = [LeftOut(f"bad{i}.g3", -1, "cut off" if i % 3 else "empty") for i in range(9)]
    frame = map_frame(left_out=left_out)
    page = (tmp_path / write_report(write_maps(tmp_path / "coadd.g3", frame))).read_text()
    assert re.findall(r"<li><b>(\d+)</b> ([^<]+)</li>", page) == [("6", "cut off"), ("3", "empty")]


LOG = [
    {"event": "begun", "time": 0, "task": "coadd", "n_ranks": 2, "command": ["g3reduce", "a b"]},
    {"event": "stage", "time": 1, "stage": "reading"},
    {"event": "file done", "time": 3, "began": 1, "rank": 0, "file": "a.g3", "n_bytes": 4_000_000},
    {"event": "file done", "time": 5, "began": 1, "rank": 1, "file": "b.g3", "n_bytes": 6_000_000},
    {"event": "stage", "time": 5, "stage": "writing"},
    {"event": "ended", "time": 8, "outcome": "done"},
]
SUMMARY = {
    **{"event": "summary", "time": 8, "strategy": "tree", "why": "it costs the least"},
    **{"seconds": 0.25, "predicted": 0.5, "bytes_moved": 3_000_000},
    "ranks": [
        {"rank": 0, "reading": 2, "waiting": 2, "joining": 1, "writing": 2, "peak_memory": 10**9},
        {"rank": 1, "reading": 4, "joining": 1, "peak_memory": 2 * 10**9},
    ],
}


def test_run_is_read_from_its_log(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_text("".join(json.dumps(event) + "\n" for event in LOG) + '{"event": "cut')
    run = run_of(read_log(log))
    assert [(stage.name, stage.begin, stage.end) for stage in run.line.stages] == [
        ("reading", 1, 5),
        ("writing", 5, 8),
    ]
    assert [(one.files, one.n_bytes, one.busy, one.share) for one in run.line.ranks] == [
        (1, 4_000_000, 2, 0.5),
        (1, 6_000_000, 4, 1),
    ]
    assert run.command == "g3reduce 'a b'"
    assert dict(run.facts)["Read"] == "10 MB, 2.5 MB/s"
    coadd = str(write_maps(tmp_path / "coadd.g3"))
    assert cli.main(["report", coadd, "--log", str(log), "-o", str(tmp_path / "a.html")]) == 0
    assert "g3reduce &#39;a b&#39;" in (tmp_path / "a.html").read_text()


def test_command_that_makes_the_page_again_has_all_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_maps("two words.g3")
    Path("run.jsonl").write_text("".join(json.dumps(event) + "\n" for event in LOG))
    words = ["report", "two words.g3", "-o", "a.html", "--log", "run.jsonl", "--pol-conv", "IAU"]
    assert cli.main(words) == 0
    first = Path("a.html").read_text()
    said = re.search(r"This page again</dt><dd><code>(.*?)</code>", first)[1]
    assert said == shlex.join(["g3reduce", *words]).replace("'", "&#39;")
    assert cli.main(shlex.split(html.unescape(said))[1:]) == 0
    assert Path("a.html").read_text() == first
    write_report("two words.g3", "b.html", log=read_log("run.jsonl"))
    assert "with the file of its <code>--log-json</code>" in Path("b.html").read_text()


def test_units_are_told_in_plain_text():
    assert plain(r"μK$_\mathrm{CMB}$") == "μK CMB"
    assert plain(r"μK$_\mathrm{RJ}^{-2}$") == "μK⁻² RJ"
    assert plain("1 / Power$^2$") == "1 / Power²"


def test_account_of_ranks_is_told_and_drawn(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_text("".join(json.dumps(event) + "\n" for event in [*LOG, SUMMARY]))
    run = run_of(read_log(log))
    facts = dict(run.facts)
    assert facts["Joined"] == "tree: it costs the least"
    assert facts["Joining took"] == "0.25 s; predicted 0.5 s"
    assert facts["Moved to join"] == "3 MB"
    assert facts["Memory"] == "2 GB, rank 1, at most"
    assert facts["Balance"].startswith("75%: on average a rank read for 3 s")
    assert [[stage for stage, _ in one.spans] for one in run.line.ranks] == [
        ["reading", "waiting", "joining", "writing"],
        ["reading", "joining"],
    ]
    begins = [float(path[1:].split()[0]) for _, path in run.line.ranks[0].spans]
    ticks = {label: x for x, label in run.line.ticks}
    assert begins == [ticks["0 s"], ticks["2 s"], ticks["4 s"], ticks["5 s"]]


def test_run_of_very_many_files_is_drawn_in_few_strokes():
    events = [Begun(time=0.0, task="coadd"), StageBegun(time=0.0, stage="reading")]
    events += [
        FileDone(time=(i + 1) / 1000, began=i / 1000, file=f"{i // 2}.g3", part=i % 2)
        for i in range(20_000)
    ]
    run = run_of(events)
    (line,) = run.line.ranks
    assert run.line.in_pieces
    assert line.files == 10_000
    assert len(line.path) < 20_000


def test_run_of_more_ranks_than_there_is_room_for_is_told_by_its_first_ones():
    begun = Begun(time=0.0, task="coadd", n_ranks=10**12)  # no memory holds a line for each
    done = [FileDone(time=2.0, began=1.0, rank=rank, file="a.g3") for rank in (1, 3, -7)]
    assert run_of([begun]).line.stages == []  # the job was killed right away
    line = run_of([begun, *done]).line
    assert line.n_ranks == 10**12 + 1
    assert [one.rank for one in line.ranks] == [-7, *range(63)]
    assert [one.files for one in line.ranks][:5] == [1, 0, 1, 0, 1]


def test_coadd_writes_its_report(tmp_path, capsys):
    one = str(write_maps(tmp_path / "one.g3", map_frame()))
    page = tmp_path / "run.html"
    words = ["coadd", one, "-o", str(tmp_path / "sum.g3"), "--ignore-missing-weights", "-q"]
    assert cli.main([*words, "--report", str(page)]) == 0
    text = page.read_text()
    assert 'id="run"' in text
    assert re.search(r"<dt>Outcome</dt><dd>done</dd>", text)
    assert cli.main([*words, "--report", str(tmp_path / "run.png")]) == 2
    assert "run.png: the name of the output must end in .html" in capsys.readouterr().err


@among_all
def test_two_splits_are_compared_in_the_report_of_their_coadd(tmp_path):
    for seed in range(4):
        write_maps(tmp_path / f"obs{seed}.g3", weighted_frame(seed))
    words = ["coadd", str(tmp_path / "obs*.g3"), "-o", str(tmp_path / "sum.g3"), "-q"]
    page = tmp_path / "run.html"
    for splits, told in (
        (["a=parity=odd", "b=parity=even"], True),
        (["a=parity=odd", "b=all"], False),
        (["a=parity=odd"], False),
    ):
        flags = [word for split in splits for word in ("--split", split)]
        assert cli.main([*words, *flags, "--report", str(page)]) == 0
        text = page.read_text()
        assert ("a null test of its halves" in text) == told
        assert ("--halves a b" in text) == told


@among_all
def test_report_of_a_run_on_three_ranks(tmp_path):
    names = [str(tmp_path / f"obs{i}.g3") for i in range(9)]
    for seed, name in enumerate(names):
        write_maps(name, weighted_frame(seed))
    program = (sys.executable, "-m", "g3reduce", "coadd", *names)
    page = tmp_path / "run.html"
    command = [*program, "-o", str(tmp_path / "sum.g3"), "-q", "--report", str(page)]
    subprocess.run(
        mpirun_command(3, command), env=mpirun_environment(), check=True, timeout=HANGS_S
    )
    text = page.read_text()
    table = re.search(r"What each rank has done</summary>.*?</table>", text, re.S)[0]
    rows = re.findall(r'<tr><th scope="row">(\d)</th><td class="number">(\d+)</td>', table)
    assert [rank for rank, _ in rows] == ["0", "1", "2"]
    assert sum(int(files) for _, files in rows) == 9
    assert re.search(r"<dt>Joined</dt><dd>(<details><summary>)?\w+", text)
    assert len(content_of(text)["ledger"]["rows"]) == 9
    assert re.search(r"<dt>Outcome</dt><dd>done</dd>", text)


def test_null_of_a_half_difference_is_that_of_the_command(tmp_path):
    a, b = (weighted_frame(seed) for seed in (1, 2))
    difference(a, b, str(tmp_path / "null.g3"))
    (expected,) = null_test(a, b).values()
    page = (tmp_path / write_report(tmp_path / "null.g3")).read_text()
    assert null_in(page) == as_told(expected)


def test_nulls_are_calibrated_by_the_sign_flips_of_the_file(tmp_path):
    names = ["early", "late"] + [
        f"{half}_signflip{n:03d}" for half in ("early", "late") for n in range(3)
    ]
    frames = [weighted_frame(seed, f"150GHz_{name}") for seed, name in enumerate(names)]
    halves = str(write_maps(tmp_path / "all.g3", *frames))
    (expected,) = null_test(halves, halves=("early", "late"), signflips=halves).values()
    assert expected.n_realisations == 3
    page = str(tmp_path / "halves.html")
    assert cli.main(["report", halves, "--halves", "early", "late", "-o", page]) == 0
    with open(page) as file:
        assert null_in(file.read()) == as_told(expected)
    null = str(tmp_path / "null.g3")
    difference(halves, None, null, halves=("early", "late"))  # of the sign flips, too
    text = (tmp_path / write_report(null)).read_text()
    assert null_in(text) == as_told(expected)
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["150GHz", "150GHz: a null test"]  # no flips
    assert cli.main(["report", halves, "--halves", "early", "dawn", "-o", page]) == 1


def null_in(page):
    """The only null test that is shown."""
    (table,) = re.findall(r'<table class="narrow null">.*?</table>', page, re.S)
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", table, re.S)
    return {name: re.findall(r">([^<>\s]+)</td>", cells) for name, cells in rows}


def as_told(expected):
    """The rows that the command prints."""
    rows = {}
    for name, one in expected.statistics.items():
        rows[name] = [f"{one.chi2:,.1f}", f"{one.dof:,}", f"{one.chi2 / one.dof:.4f}"]
        rows[name].append(f"{one.probability:.4g}")
        if expected.n_realisations:
            rows[name] += [f"{one.scale:.4f}", f"{one.calibrated:.4g}", f"{one.pte:.4f}"]
    return rows


def weighted_frame(seed, map_id="150GHz"):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = map_id
    weight = 1 / (10 * core.G3Units.uK) ** 2
    noise = np.random.default_rng(seed).normal(0, 10 * core.G3Units.uK, SHAPE)
    frame["T"] = skymap(noise * weight, weighted=True)
    weights = maps.G3SkyMapWeights()
    weights.TT = skymap(np.full(SHAPE, weight), "W")
    frame["Wunpol"] = weights
    return frame
