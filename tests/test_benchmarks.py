"""Each benchmark runs, on its smallest case, and says what it should. Times are not looked at.

By default only a few of them, and the report; all with ``G3REDUCE_TEST_ALL=1``.
"""

import itertools
import json
import math
import os
import re
from pathlib import Path

import pytest
from choices import among_all

from benchmarks import __main__ as command_line
from benchmarks import report, suite
from benchmarks.cases import (
    coadding,
    command,
    custom,
    distributor,
    exactness,
    flips,
    formats,
    memory,
    progress,
    reducing,
    scaling,
    sharded,
    small,
    tiny,
)
from benchmarks.harness import inturn, onranks, rows
from benchmarks.harness.settings import Settings
from benchmarks.inputs import mapfiles, scanfiles
from g3reduce.choices import Result, choices_of

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")


@pytest.fixture
def settings(tmp_path):
    return Settings(
        size="tiny",
        survey_size="tiny",
        n_files=2,
        megabytes=0.5,
        ranks=(1, 2),
        rounds=1,
        folder=tmp_path,
    )


def spreads(row):
    return {key: value for key, value in row.items() if isinstance(value, list | tuple)}


def assert_sane(found, folder):
    for row in found:
        assert spreads(row) or "MiB" in row or "root MiB" in row
        for low, median, high in spreads(row).values():
            assert 0 < low <= median <= high < math.inf
    assert not list(folder.glob("**/*.g3")), "files were left behind"
    assert json.loads(json.dumps(found))


def assert_shown(case, found):
    """A run with one MPI is shown: its rows in a table, and in a picture."""
    assert any(table.markdown(found) for table in case.BENCHMARK.tables)
    assert case.BENCHMARK.draw(found).axes


@among_all
def test_coadding(settings):
    found = coadding.measure(settings)
    assert_sane(found, settings.folder)
    assert_shown(coadding, found)
    assert (found[0]["kind"], found[0]["layout"]) == ("sparse flat", mapfiles.SURVEY)
    files = [row for row in found if "output" in row]
    cases = [(row["kind"], row["layout"], row["files"], row["output"]) for row in files]
    more = [("sparse flat", mapfiles.SURVEY, 8)]
    expected = [(*case, 2) for case in mapfiles.CASES] + more
    assert sorted(cases) == sorted((*case, out) for case in expected for out in ("memory", "file"))
    for row in files:
        for name in ("g3reduce", "spt3g", "floor"):
            assert f"{name} GB/s" in row
        assert {"against spt3g", "against the floor"} <= row.keys()
    first = [row for row in found if "output" not in row]
    assert [row["kind"] for row in first] == ["sparse flat", "ring-sparse HEALPix"]
    for row, (who, when) in itertools.product(
        first, itertools.product(("g3reduce", "spt3g"), ("first", "later"))
    ):
        assert f"{who} {when} s" in row


def test_outputs_get_fresh_names_and_are_removed(tmp_path):
    made = []

    def work(name):
        assert not os.path.exists(name)
        Path(name).write_text("")
        made.append(name)

    run = inturn.timed_output(work, tmp_path)
    assert run() > 0
    assert run() > 0
    assert len(set(made)) == 2
    assert not list(tmp_path.iterdir())


@among_all
def test_the_whole_command(settings):
    (row,) = command.measure(settings, kinds=["sparse flat"])
    assert_sane([row], settings.folder)
    assert_shown(command, [row])
    assert {"g3reduce s", "spt3g s", "floor s", "against spt3g"} <= row.keys()
    assert row["g3reduce s"][1] > 0.5 * row["floor s"][1], "it has not run"


@among_all
def test_small_files(settings):
    found = small.measure(settings)
    assert_sane([row for row in found if "us beyond adding" not in row], settings.folder)
    for kind in mapfiles.SPARSE:
        mine = [row for row in found if row["kind"] == kind]
        beside = [(row["Ids"], row["output"]) for row in mine if "Ids" in row]
        assert beside == [(1, "memory"), (1, "file"), (3, "memory"), (3, "file")]
        assert [row["files"] for row in mine if "first against spt3g" in row] == [3]
        targets = [(row["targets"], row["parts"]) for row in mine if "targets" in row]
        assert targets == [(n, parts) for n in (1, 2) for parts in (small.ALL, small.ONE)]


@among_all
def test_a_coadd_that_is_watched(settings):
    found = progress.measure(settings)
    assert_sane(found, settings.folder)
    assert_shown(progress, found)
    assert [row["kind"] for row in found] == ["sparse flat", "ring-sparse HEALPix"]
    assert {"nobody us", "totals us", "log us", "totals over", "log over"} <= found[0].keys()


@among_all
def test_a_tiny_coadd(settings):
    (row,) = tiny.measure(settings)
    assert_sane([row], settings.folder)
    assert_shown(tiny, [row])
    assert row["ranks"] == 3
    assert {"memory ms", "file ms", "barrier ms"} <= row.keys()


@among_all
def test_reducing(settings):
    from g3reduce import strategies

    found = reducing.measure(settings)
    assert_sane(found, settings.folder)
    assert_shown(reducing, found)
    for n_ranks, footprints, result in itertools.product(
        settings.ranks, reducing.FOOTPRINTS, choices_of(Result)
    ):
        mine = {
            row["strategy"]: row
            for row in found
            if (row["ranks"], row["footprints"], row["result"]) == (n_ranks, footprints, result)
        }
        rivals = {reducing.BARE, reducing.PICKLED_ALL}
        rivals |= {reducing.PICKLED} if result == "root" else set()
        ours = {"auto", *strategies.names(result)}
        assert ours | rivals <= mine.keys()
        for name in ours:
            against = {f"against {rival}" for rival in rivals} & mine[name].keys()
            assert len(against) == (len(rivals) if n_ranks > 1 else 0)
        union = {"sparse, half overlapping": 1.5, "sparse, disjoint": 2}.get(footprints, 1)
        row = mine["auto"]
        expected = (union if n_ranks > 1 else 1) * row["MB per rank"]
        assert row["MB union"] == pytest.approx(expected, rel=0.1)


@among_all
def test_formats(settings):
    found = formats.measure(settings)
    assert_sane(found, settings.folder)
    assert_shown(formats, found)
    assert [row["nside"] for row in found] == [32, 32]


@among_all
def test_reductions_of_ones_own(settings):
    found = custom.measure(settings)
    assert_sane(found, settings.folder)
    assert_shown(custom, found)
    assert [(row["operation"], row["ranks"]) for row in found] == [("SUM", 2), ("MAX", 2)]
    for row in found:
        assert {"MPIReducer ms", "bare MPI ms", "against bare MPI"} <= row.keys()


@among_all
def test_sign_flips(settings):
    found = flips.measure(settings)
    assert_sane(found, settings.folder)
    assert_shown(flips, found)
    assert [row["output"] for row in found] == ["memory", "file"] * 3
    assert all({"coadd s", "flips s", "over a coadd"} <= row.keys() for row in found)


@among_all
def test_exact_sums(settings):
    found = exactness.measure(settings)
    assert_sane(found, settings.folder)
    assert_shown(exactness, found)
    kinds = [(row["kernels"], row["limbs"]) for row in found]
    assert kinds[:2] == [("numpy", 2), ("numpy", 3)]
    assert kinds[2:] in ([], [("numba", 2), ("numba", 3)])
    assert all({"ns", "plain ns", "over plain"} <= row.keys() for row in found)


@among_all
def test_the_distributor(settings):
    found = distributor.measure(settings)
    assert_sane(found, settings.folder / "none")  # the caller removes them
    assert_shown(distributor, found)
    throughput, *makespans = found
    assert {"g3reduce MB/s", "spt3g MB/s", "against spt3g"} <= throughput.keys()
    assert [row["case"] for row in makespans] == [
        "makespan, equal costs",
        "makespan, heavy-tailed costs",
    ]
    for row in makespans:
        for name in ("g3reduce", "spt3g"):
            assert row[f"{name} over the bound"][0] >= 1, "nothing beats the bound"


@among_all
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux's /proc")
def test_memory(settings):
    found = memory.measure(settings, kinds=["dense flat"], ranks=(2,))
    assert_sane(found, settings.folder)
    assert_shown(memory, found)
    found, grown = found[:3], found[3:]
    assert [row["who"] for row in found] == ["root", "others", "spt3g"]
    for row in found:
        assert row["MiB"] == pytest.approx(row["anonymous MiB"] + row["shared MiB"])
        assert row["MiB"] < 64
    steps = [(what, n) for what, numbers in memory.GROWING.items() for n in numbers if n != 4]
    assert [(row["of"], row["number"]) for row in grown] == steps
    assert all(row["root MiB"] < 64 for row in grown)
    assert all(
        ("others MiB" in row) == ((row["of"], row["number"]) != ("ranks", 1)) for row in grown
    )
    root, others, _ = found
    assert 64 < others["allowed MiB"] < root["allowed MiB"] < 65
    assert root["of the allowed"] == pytest.approx(root["MiB"] / root["allowed MiB"])


@among_all
def test_scaling(settings):
    found = scaling.measure(settings, kinds=["ring-sparse HEALPix"])
    assert_sane(found, settings.folder)
    assert_shown(scaling, found)
    assert [(row["scaling"], row["ranks"], row["files"]) for row in found] == [
        (scaling.STRONG, 1, 2),
        (scaling.STRONG, 2, 2),
        (scaling.WEAK, 1, 1),
        (scaling.WEAK, 2, 2),
    ]
    for row in found:
        for name in ("g3reduce", "bare"):
            assert row["ranks"] > 1 or row[f"{name} speed-up"] == [1, 1, 1]
        assert {"of the bare speed-up", "of the bare speed"} <= row.keys()


def test_an_error_on_a_rank_is_an_error_here():
    with pytest.raises(RuntimeError, match=r"on 2 ranks(?s:.*)unexpected keyword argument 'what'"):
        onranks.rows_from_ranks(2, scaling.on_ranks, what=1)


def test_rivals_are_measured_in_turn():
    done = []

    def run(name):
        done.append(name)
        return float(len(done))

    seconds = inturn.in_turn({name: lambda name=name: run(name) for name in "abc"}, rounds=2)
    assert "".join(done) == "abc" + "cba" + "bca"
    assert seconds == {"a": [6, 9], "b": [5, 7], "c": [4, 8]}
    assert inturn.ratio([2, 4, 30, 4, 4], [1, 2, 3, 4, 1]) == (2, 2, 4)


def test_the_kinds_of_maps_are_what_they_say(tmp_path):
    import skies
    from spt3g import core

    for number, (kind, layout) in enumerate(mapfiles.CASES):
        files = mapfiles.write_files(tmp_path / str(number), kind, layout, "tiny", 2)
        of_files = []
        for file in files:
            (frame,) = (f for f in core.G3File(file) if f.type == core.G3FrameType.Map)
            planes = skies.maps_by_plane(frame)
            assert len(planes) == 9
            runs = set()
            for skymap in planes.values():
                stored = {"dense": "dense", "sparse": "sparse", "ring-sparse": "ring"}
                assert skies.storage(skymap) == stored[kind.split()[0]]
                assert skymap.weighted == (skymap.pol_type in core_stokes())
                runs.add(tuple(skies.pixels(skymap).reshape(-1).nonzero()[0]))
            of_files.append(runs)
        assert {len(runs) for runs in of_files} == {9 if layout == mapfiles.VARIED else 1}
        n_distinct = {mapfiles.SURVEY: 2, mapfiles.SHARED: 1, mapfiles.VARIED: 18}[layout]
        assert len(set.union(*of_files)) == n_distinct


def test_scans_are_what_their_place_says(tmp_path):
    import scans
    from spt3g import core

    size, everything = scanfiles.SIZES["tiny"], slice(None)
    files = scanfiles.write_files(tmp_path / "scans", size, 3)
    read = [frame for file in files for frame in core.G3File(file)]
    read = [frame for frame in read if frame.type == core.G3FrameType.Scan]
    for frames in (read, scanfiles.make_frames(size, range(size.n_scans))):
        assert len(frames) == size.n_scans
        found = scans.concatenated(frames, scanfiles.TIMESTREAMS)
        assert found.detectors == tuple(scanfiles.detectors(size))
        assert (found.grid == range(size.n_samples)).all(), "there are gaps"
        assert (found.times == scanfiles.times(size, everything)).all()
        assert (found.signal == scanfiles.signal(size, everything, everything)).all()
        assert (found.boresight == scanfiles.boresight(size, everything)).all()
        assert (found.flags == scanfiles.flags(size, everything)).all()
    rows, samples = slice(2, 5), slice(30, 90)
    share = found.signal[rows, samples].copy()
    assert scanfiles.is_right(size, rows, samples, share)
    assert not scanfiles.is_right(size, rows, slice(31, 91), share)
    assert not scanfiles.is_right(size, slice(1, 4), samples, share)
    share[-1, -1] += 1
    assert not scanfiles.is_right(size, rows, samples, share)
    assert scanfiles.is_right(size, slice(6, 6), samples, share[:0])


def core_stokes():
    from spt3g import maps

    return [getattr(maps.MapPolType, name) for name in mapfiles.STOKES]


def cells_of(text):
    """Each line of each table, cell by cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_a_table_puts_rows_side_by_side():
    table = rows.Table(
        "", {"what": "of", "none": "x"}, {"s": "s", "n": ""}, across=("mpi", "ranks")
    )
    found = [
        {"what": what, "mpi": mpi, "ranks": ranks, "s": (1.0, 2.0, 3.456), "n": 7}
        for what, mpi, ranks in [("a", "M", 1), ("b", "M", 1), ("b", "O", 2)]
    ]
    lines = cells_of(table.markdown(found))
    assert lines[0] == ["of", "M, 1 ranks, s", "M, 1 ranks", "O, 2 ranks, s", "O, 2 ranks"]
    assert lines[2:] == [
        ["a", "2 (1–3.46)", "7", "", ""],
        ["b", "2 (1–3.46)", "7", "2 (1–3.46)", "7"],
    ]
    assert table.markdown([]) == ""


def measured(mpi, processor="fast"):
    """What a run gives, without running it: rows as they are above, of six strategies."""
    reduced = [
        {"footprints": f, "result": r, "ranks": n, "most ranks": n == 4, "strategy": s}
        | {"ms": [n, 2.0 * n, 3.0 * n], "moved over union": 2.0, "predicted over measured": 1.5}
        | {"against bare MPI": [1.0, 1.5, 2.0], "against pickled allreduce": [10.0, 20.0, 30.0]}
        for f in reducing.FOOTPRINTS
        for r, s in itertools.product(("root", "all", "sharded"), ["auto", *"abcde"])
        for n in (2, 4)
    ]
    coadded = [
        {"kind": kind, "layout": layout, "files": 6, "output": output, "megabytes": 10.0}
        | {f"{name} GB/s": [1.0, 2.0, 3.0] for name in ("g3reduce", "spt3g", "floor")}
        | {"against spt3g": [1.0, 2.0, 3.0], "against the floor": [0.1, 0.2, 0.3]}
        for kind, layout in mapfiles.CASES
        for output in ("memory", "file")
    ]
    exact = [
        {"limbs": limbs, "kernels": kernels, "MB": 32.0}
        | {"ns": [1.0, 2.0, 3.0], "plain ns": [1.0, 1.0, 1.0], "over plain": [1.0, 2.0, 3.0]}
        for limbs in (2, 3)
        for kernels in ("numpy", "numba")
    ]
    scaled = [
        {
            "kind": "sparse flat",
            "scaling": scaling.STRONG,
            "ranks": n,
            "g3reduce s": [1.0, 2.0, 3.0],
        }
        | {f"{name} speed-up": [1.0 * n] * 3 for name in ("g3reduce", "bare")}
        for n in (1, 2)
    ]
    machine = {"processor": processor, "MPI": mpi}
    return {
        "machine": machine,
        "rows": {
            "reducing": reduced,
            "coadding": coadded,
            "exactness": exact,
            "scaling": scaled,
        },
    }


@among_all
def test_the_report_of_two_mpis(settings, monkeypatch):
    monkeypatch.setattr(report, "DOTS_PER_INCH", 40)  # faster
    runs = [measured(mpi, "Intel(R) Xeon(R) CPU @ 2 GHz") for mpi in ("MPICH 4", "Open MPI 5")]
    report.write(settings.folder, runs, "A note.")
    assert suite.load(settings.folder / "benchmarks.json") == runs
    for page in report.PAGES:
        text = (settings.folder / f"{page}.md").read_text()
        assert len(text.splitlines()) <= 200
        assert text.splitlines()[2] == "**A note.**"
        assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120
        pictures = re.findall(r"\]\((.*\.png)\)", text)
        assert pictures
        assert all((settings.folder / name).stat().st_size > 5_000 for name in pictures)
    text = (settings.folder / "benchmarks_joining.md").read_text()
    assert "| MPICH 4, 2 ranks " in text
    assert "Open MPI 5, 4 ranks" in text
    assert "Predicted over measured time" in text
    told = [cell for line in cells_of(text) for cell in line]
    assert told.count("1.5 (1–2)") == 2 * 2 * len(reducing.FOOTPRINTS) * 18, "none is lost"
    machine = cells_of((settings.folder / "benchmarks.md").read_text())[2]
    assert machine == ["processor", "Intel Xeon", "Intel Xeon"]


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("MPICH 5.0.2", "MPICH 5.0.2"),
        ("MPICH Version:      5.0.2\nMPICH Release date: unreleased", "MPICH 5.0.2"),
        ("Open MPI v5.0.11, package: Open MPI Distribution, ident: 5.0.11", "Open MPI 5.0.11"),
        ("Intel(R) MPI Library 2021.13 for Linux* OS", "Intel MPI 2021.13"),
        ("MVAPICH2 2.3.7", "MVAPICH2 2.3.7"),
        ("unknown", "unknown"),
    ],
)
def test_mpi_libraries_are_named_alike(told, name):
    assert report.mpi_name(told) == name
    runs = [measured(told), measured(told)]
    assert report.mpis(runs) == [f"{name} (1)", f"{name} (2)"]
    assert len(report.rows_of(runs, "reducing")) == 2 * len(report.rows_of(runs[:1], "reducing"))


def test_the_command(tmp_path, monkeypatch, capsys):
    fake, written = measured("MPICH 4"), []
    monkeypatch.setattr(report, "write", lambda *arguments: written.append(arguments))
    monkeypatch.setattr(suite, "measure", lambda names, settings: (fake, []))
    other = tmp_path / "other.json"
    suite.save(other, [measured("Open MPI 5")])
    arguments = ["reducing", "--quick", "--output", "report", "--merge", str(other)]
    assert command_line.main(arguments) == 0
    told = capsys.readouterr().out
    assert "Open MPI 5, 4 ranks" in told
    ((folder, runs, note),) = written
    assert "--quick" in note
    assert told.endswith(f"Written to report. {note}\n")
    assert folder == Path("report")
    assert [run["machine"]["MPI"] for run in runs] == ["MPICH 4", "Open MPI 5"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["nothing"], "no benchmark 'nothing'; there are: coadding,"),
        (["--ranks", "2,0"], "argument --ranks: '0'; expected a whole number"),
        (["--rounds", "x"], "argument --rounds: 'x'; expected a whole number"),
    ],
)
def test_bad_usage(wrong, told, capsys):
    with pytest.raises(SystemExit) as left:
        command_line.main(wrong)
    assert left.value.code == 2
    assert f"error: {told}" in capsys.readouterr().err


def test_a_machine_is_described_without_names():
    import getpass
    import socket

    from benchmarks.harness import machine

    facts = machine.describe()
    assert {"processor", "cores", "memory", "MPI", "spt3g", "numpy"} <= facts.keys()
    assert re.search(r"\d", facts["MPI"])
    told = " ".join(facts.values())
    assert socket.gethostname() not in told
    assert getpass.getuser() not in told


@among_all
def test_sharded(settings):
    found = sharded.measure(settings)
    assert_sane(found, settings.folder)
    assert_shown(sharded, found)
    assert [(row["kind"], row["ranks"]) for row in found] == [
        (kind, ranks) for kind in mapfiles.SPARSE for ranks in (1, 2)
    ]
