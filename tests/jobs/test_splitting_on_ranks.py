"""Coadds of files by splittings: each is the sum of its maps with the signs in its ledger."""

import re
from pathlib import Path

import numpy as np
import pytest
import skies
from choices import some_of
from spt3g import core, maps

import g3reduce
from g3reduce import splits
from g3reduce.coadd.coadder import MPIMapCoadder
from g3reduce.jobs.choosing import Chosen
from g3reduce.jobs.splitting import Planner
from g3reduce.mpi import communicators

N_FILES = 9

EVERYTHING = splits.by("id") * splits.signflips(11, seed=3) + splits.split(
    early=splits.observation("100[0-4]"), late=~splits.observation("100[0-4]")
) * splits.bundles(2) * splits.signflips(3)


@pytest.fixture
def season(shared_folder, on_first):
    """Files of two maps each, whose footprints differ, by kind."""
    made = {}

    def write(kind, weighting="polarized"):
        if (kind, weighting) not in made:
            folder = shared_folder / f"{kind} {weighting}".replace(" ", "_")
            made[kind, weighting] = on_first(lambda: _write(folder, kind, weighting))
        return made[kind, weighting]

    return write


def _write(folder, kind, weighting):
    folder.mkdir()
    return skies.write_files(folder, N_FILES, kind, weighting)


def maps_in(files):
    return {
        (file, index): frame
        for file in files
        for index, frame in enumerate(core.G3File(file))
        if frame.type == core.G3FrameType.Map
    }


def rows_of(frame):
    """File, index and sign of each map in a coadd, as its ledger has them."""
    numbers = frame["LedgerNumbers"]
    places = zip(frame["Ledger"]["file"], map(int, numbers["frame"]), strict=True)
    return dict(zip(places, map(int, numbers["sign"]), strict=True))


def assert_sum_of_its_ledger(frame, inputs):
    rows = rows_of(frame)
    mine = skies.planes(frame)
    for name in mine:
        expected = sum(
            (sign if name in "TQU" else 1) * skies.planes(inputs[place])[name]
            for place, sign in rows.items()
        )
        np.testing.assert_array_equal(mine[name], expected, err_msg=name)


@pytest.mark.ranks(*some_of((1, 2, 3, 5), fewer=(1, 3)))
@pytest.mark.parametrize(
    ("kind", "weighting"),
    some_of(
        skies.KINDS,
        ("polarized", "unpolarized", "hits"),
        fewer=[
            ("flat sparse", "polarized"),
            ("flat dense", "hits"),
            ("healpix nested indexed", "polarized"),
        ],
    ),
)
def test_each_coadd_is_the_sum_that_its_ledger_says(comm, season, kind, weighting):
    files = season(kind, weighting)
    coadds = g3reduce.coadd_files(files, assign=EVERYTHING, mpicomm=comm, result="all")
    inputs = maps_in(files)
    assert len(coadds) == 2 * 12 + 4 * 4
    for name, frame in coadds.items():
        assert_sum_of_its_ledger(frame, inputs)
        record = dict(frame["Split"].items())
        assert record["name"] == name
        if "signflip" in name:
            base = coadds[record["base"]]
            assert rows_of(frame).keys() == rows_of(base).keys()
            for plane in skies.planes(base).keys() - set("TQU"):
                skies.assert_same_map(
                    skies.maps_by_plane(frame)[plane], skies.maps_by_plane(base)[plane], plane
                )
            assert {1, -1} == set(rows_of(frame).values())
    halves = [rows_of(coadds[f"{half}_bundle{n}"]) for half in ("early", "late") for n in (0, 1)]
    assert sorted(place for half in halves for place in half) == sorted(inputs)
    # Frames without flips are spt3g's own coadds of the same maps.
    for map_id in ("90GHz", "150GHz"):
        skies.assert_same_coadd(
            _without(coadds[map_id], "Split"),
            maps.coadd_map_files(files, map_ids=[map_id], output_map_id=map_id),
        )


def _columns(value):
    columns = dict(value.items())
    return {name: one if isinstance(one, str) else list(one) for name, one in columns.items()}


def _without(frame, key):
    copy = core.G3Frame(frame.type)
    for name in frame:
        if name != key:
            copy[name] = frame[name]
    return copy


@pytest.mark.ranks(*some_of((1, 2, 3), fewer=(2,)))
def test_many_at_once_are_the_same_as_one_by_one(comm, season, shared_folder):
    files = season("healpix ring")
    at_once = g3reduce.coadd_files(files, assign=EVERYTHING, mpicomm=comm, result="all")
    one_by_one = g3reduce.coadd_files(
        *(files,),
        assign=EVERYTHING,
        mpicomm=comm,
        result="all",
        checkpoint=shared_folder / "checkpoints",
    )
    exact = g3reduce.coadd_files(
        files, assign=EVERYTHING, mpicomm=comm, result="all", reproducible=True
    )
    assert sorted(at_once) == sorted(one_by_one) == sorted(exact)
    for name, frame in at_once.items():
        skies.assert_same_coadd(frame, one_by_one[name])
        for key in ("Ledger", "LedgerNumbers", "Split"):
            for other in (one_by_one, exact):
                assert _columns(frame[key]) == _columns(other[name][key])
        for plane, values in skies.planes(exact[name]).items():
            np.testing.assert_array_equal(values, skies.planes(frame)[plane], err_msg=plane)


@pytest.mark.ranks(*some_of((1, 3), fewer=(3,)))
def test_shards_have_all_pixels_of_all_realisations(comm, season):
    files = season("flat sparse")
    options = {"assign": EVERYTHING, "mpicomm": comm}
    whole = g3reduce.coadd_files(files, result="all", **options)
    shards = g3reduce.coadd_files(files, result="sharded", **options).shards
    assert sorted(shards) == sorted(whole)
    for name, frame in whole.items():
        for plane, values in skies.planes(frame).items():
            here = shards[name].pixels >= 0
            pixels, mine = shards[name].pixels[here], shards[name].planes[plane][here]
            found = np.zeros(values.size)
            for theirs in comm.allgather((pixels, mine)):
                found[theirs[0]] += theirs[1]
            np.testing.assert_array_equal(found, values.reshape(-1), err_msg=plane)


@pytest.mark.ranks(2)
def test_signs_are_those_of_one_rank_in_any_order_of_files(comm, season):
    files = season("flat dense")
    together = g3reduce.coadd_files(files, assign=EVERYTHING, mpicomm=comm, result="all")
    alone = g3reduce.coadd_files(files[::-1], assign=EVERYTHING, mpicomm=comm.Split(comm.rank))
    assert list(together) == list(alone)
    for name, frame in together.items():
        assert rows_of(frame) == rows_of(alone[name])
        assert dict(frame["Split"].items()) == dict(alone[name]["Split"].items())


@pytest.mark.ranks(1, 2)
def test_what_a_bad_file_would_have_had_is_planned_anew(comm, season, shared_folder, on_first):
    files = season("flat sparse")
    broken = str(shared_folder / "broken.g3")

    def spoil():
        content = bytearray(Path(files[0]).read_bytes())
        content[-4000] ^= 4
        Path(broken).write_bytes(content)

    on_first(spoil)
    options = {"assign": splits.signflips(5), "mpicomm": comm, "result": "all"}
    coadds = g3reduce.coadd_files([*files[1:], broken], on_error="skip", **options)
    assert [one.file for one in coadds.left_out] == [broken]
    for name, frame in g3reduce.coadd_files(files[1:], **options).items():
        assert rows_of(frame) == rows_of(coadds[name])
        np.testing.assert_array_equal(skies.pixels(frame["Q"]), skies.pixels(coadds[name]["Q"]))


@pytest.mark.ranks(1, 2)
def test_the_weights_of_the_plan_are_those_of_the_ledger(comm, season):
    files = season("healpix ring")
    ledger = g3reduce.coadd_files(files, mpicomm=comm, result="all").ledger
    weights = {(one.unit.file, one.unit.index): one.weight for one in ledger.entries}
    own, terms = communicators.private(comm), MPIMapCoadder(comm).terms
    planner = Planner(own, splits.signflips(2), terms, None)
    planner.plan(Chosen(files, {}))
    facts = [one for of_file in planner._facts.values() for one in of_file]
    assert {(one.file, one.frame): one.weight for one in facts} == weights


@pytest.fixture
def little_memory(comm, monkeypatch):
    """150 kB for each rank, as the last one of them knows."""
    n_bytes = comm.size * 150_000 if comm.rank == comm.size - 1 else None
    monkeypatch.setattr("g3reduce.mpi.memory.available", lambda: n_bytes)


@pytest.mark.ranks(*some_of((1, 3), fewer=(3,)))
@pytest.mark.parametrize("passes", some_of((2, 4, "auto"), fewer=(2, "auto")))
@pytest.mark.usefixtures("little_memory")
def test_several_passes_make_the_same(comm, season, shared_folder, caplog, passes):
    files = season("flat sparse")
    options = {"assign": EVERYTHING, "mpicomm": comm}
    expected = g3reduce.coadd_files(files, result="all", passes=1, **options)
    output = str(shared_folder / "coadds.g3")
    caplog.clear()
    coadds = g3reduce.coadd_files(files, output, passes=passes, keep_maps=False, **options)
    told = [one.message for one in caplog.records if "passes over the files" in one.message]
    assert len(told) == (comm.rank == 0)
    number = r"\d" if passes == "auto" else passes
    assert all(re.match(rf"40 coadds take about .* made in {number} passes", one) for one in told)
    assert [file.name for file in shared_folder.glob("coadds*")] == ["coadds.g3"]
    written = {frame["Id"]: frame for frame in core.G3File(output)}
    if comm.rank == 0:
        assert list(coadds) == list(written)
        assert len(coadds.ledger.entries) == 2 * N_FILES
    assert sorted(written) == sorted(expected)
    for name, frame in written.items():
        skies.assert_same_coadd(frame, expected[name])
        assert rows_of(frame) == rows_of(expected[name])


@pytest.mark.ranks(3)
@pytest.mark.usefixtures("little_memory")
def test_what_does_not_fit_is_refused_before_anything_is_read(comm, season, shared_folder):
    files = season("flat sparse")
    output = str(shared_folder / "refused.g3")
    advice = r'40 coadds take about \d+ kB .* passes="auto", by which the files are read \d times'
    with pytest.raises(g3reduce.G3ReduceError, match=advice):
        g3reduce.coadd_files(files, output, assign=EVERYTHING, mpicomm=comm)
    with pytest.raises(g3reduce.G3ReduceError, match="of use with a splitting"):
        g3reduce.coadd_files(files, output, mpicomm=comm, passes=2)
    assert not list(shared_folder.glob("*refused*"))


@pytest.mark.ranks(3)
def test_what_does_not_fit_in_any_number_of_passes_is_refused(comm, season, monkeypatch):
    monkeypatch.setattr("g3reduce.mpi.memory.available", lambda: 3000)
    with pytest.raises(g3reduce.G3ReduceError, match=r"ask for fewer .* ranks on each\.\)?$"):
        g3reduce.coadd_files(season("flat sparse"), assign=EVERYTHING, mpicomm=comm, passes="auto")
