"""Bad files are left out as a whole, the same on any number of ranks, and the rest is summed."""

import os
import shutil
from pathlib import Path

import faultyseason
import pytest
import skies
from choices import ALL, some_of
from faults import rewrite
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, RemoteError, coadd_files
from g3reduce.g3files.pieces import Piece
from g3reduce.jobs.feeding import Reader
from g3reduce.mpi import OneProcess
from g3reduce.mpi.counter import SharedCounter


def outcome_of(comm, files, **options):
    """A coadd, or the kinds and texts of the errors on all ranks."""
    try:
        made, said = coadd_files(files, mpicomm=comm, result="all", collate=True, **options), None
    except g3reduce.G3ReduceError as error:
        made, said = None, (type(error), str(error))
    return made, [one for one in comm.allgather(said) if one]


def assert_sum_of(coadds, files):
    expected = maps.coadd_map_files(files, collate=True)
    assert sorted(coadds) == sorted(expected)
    for name, frame in expected.items():
        for plane, skymap in skies.maps_by_plane(frame).items():
            mine = skies.maps_by_plane(coadds[name])[plane]
            assert (skies.pixels(mine) == skies.pixels(skymap)).all(), (name, plane)


def flip(file, part):
    """Change a bit somewhere in a file."""
    size = os.path.getsize(file)
    with open(file, "r+b") as stream:
        stream.seek(int(part * size))
        (byte,) = stream.read(1)
        stream.seek(int(part * size))
        stream.write(bytes([byte ^ 4]))


def in_power(frames):
    for frame in frames:
        for key in "TQU" if frame.type == core.G3FrameType.Map else ():
            skymap = frame.pop(key)
            skymap.units = core.G3TimestreamUnits.Power
            frame[key] = skymap


def write_large(folder, broken):
    """Three files of eight maps, of which one is broken somewhere."""
    files = [str(folder / f"large{number}.g3") for number in range(3)]
    for number, file in enumerate(files):
        with core.G3Writer(file) as writer:
            for seed in range(8):
                writer(skies.map_frame("flat sparse", "polarized", 20 * number + seed))
    flip(files[broken[0]], broken[1])
    return files


@pytest.fixture
def season(shared_folder, on_first):
    return on_first(lambda: faultyseason.make(shared_folder, 42 if ALL else 22, 3, share=0.8))


@pytest.mark.ranks(*some_of([1, 2, 3, 5], fewer=[1, 3]))
def test_the_good_files_are_summed_and_the_others_are_listed(comm, season):
    coadds, said = outcome_of(comm, season.files, on_error="skip", nonfinite="error")
    assert not said
    assert_sum_of(coadds, [file for file in season.good if file not in season.without_maps])
    left_out = [(one.file, one.frame) for one in coadds.left_out]
    assert sorted(left_out) == sorted((file, -1) for file in [*season.bad, *season.again])
    options = {"collate": True, "on_error": "skip", "nonfinite": "error"}
    alone = None
    if comm.rank == 0:
        alone = coadd_files(season.files, mpicomm=OneProcess(), **options).left_out
    assert coadds.left_out == comm.bcast(alone)  # with the same reasons
    assert coadds.n_given == len(season.files)
    for frame in coadds.values():
        listed = set(frame["LeftOut"]["file"])  # what was counted once is not left out
        assert listed == {file for file, _ in left_out} - set(season.good)


@pytest.mark.ranks(1, 3)
def test_one_error_names_all_files_that_are_bad(comm, survey, on_first):
    files = survey(7, "flat sparse", "polarized")
    on_first(
        lambda: [flip(files[1], 0.9), os.truncate(files[4], 9000), rewrite(files[6], in_power)]
    )
    made, said = outcome_of(comm, files)
    assert made is None
    assert {kind for kind, _ in said} <= {InputError, RemoteError, g3reduce.MismatchError}
    text = next(text for kind, text in said if kind is not RemoteError)
    assert "3 of 7 files cannot be used:" in text
    for file, fault in (
        (files[1], "wrong checksum in frame 2"),
        (files[4], "cut off at byte 9000"),
        (files[6], "has Power, the other 4 Tcmb (units of Q)"),
    ):
        assert f"  {file}: {fault}" in text
    for options in ({"check": True}, {"on_duplicate": "skip"}):
        _, said = outcome_of(comm, files, **options)
        assert all(f"{files[4]}: cut off at byte 9000" in text for _, text in said)
        assert len(said) == comm.size


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("where", [0.98, 0.4])
def test_a_fault_late_in_a_large_file_that_ranks_share(
    comm, shared_folder, on_first, limits, where
):
    limits(smallest_piece=3000, small_frame=16)

    files = on_first(lambda: write_large(shared_folder, broken=(1, where)))
    coadds, said = outcome_of(comm, files, on_error="skip")
    assert not said
    assert_sum_of(coadds, [files[0], files[2]])
    (left_out,) = coadds.left_out
    assert left_out.file == files[1]
    assert left_out.reason == f"wrong checksum in frame {int(where * 8)}"
    assert len(coadds.ledger.entries) == 16


@pytest.mark.ranks(1, 2)
def test_a_file_that_changes_while_it_is_added_does_not_count_half(
    comm, shared_folder, on_first, limits
):
    """It is good when it is looked through, and broken when its second frame is added."""
    limits(small_frame=16)
    files = on_first(
        lambda: skies.write_files(shared_folder, 4, "flat sparse", "polarized", map_ids=("a",) * 3)
    )
    taken = []

    def assign(frame):
        unit = g3reduce.unit_of(frame)
        if unit.file == files[2] and unit.position == 2:
            taken.append(unit.index)
            if taken == [1, 2, 3, 1, 2, 3, 1, 2]:  # the survey, the look before, the adding
                flip(files[2], 0.99)
        return {frame["Id"]: 1}

    coadds = coadd_files(files, mpicomm=comm, result="all", assign=assign, on_error="skip")
    if any(comm.allgather(len(taken) >= 8)):
        assert [one.file for one in coadds.left_out] == [files[2]]
        assert len(coadds.ledger.entries) == 9
        assert_sum_of(coadds, [file for file in files if file != files[2]])


@pytest.mark.ranks(1, 3)
def test_what_was_kept_of_a_file_that_turns_out_bad_is_forgotten(
    comm, shared_folder, on_first, limits
):
    """Checkpoints hold frames of a file that ranks share before its fault is found."""
    limits(smallest_piece=3000, small_frame=16)
    files = on_first(lambda: write_large(shared_folder, broken=(1, 0.98)))
    folder, output = shared_folder / "kept", shared_folder / "coadd.g3"
    kept = {"checkpoint": folder, "checkpoint_every": 1e-9, "output_file": output}
    coadds, said = outcome_of(comm, files, on_error="skip", **kept)
    assert not said
    assert_sum_of(coadds, [files[0], files[2]])
    again, said = outcome_of(comm, files, on_error="skip", resume=True, **kept)
    assert not said
    assert again.from_earlier
    assert again.left_out == coadds.left_out
    assert [one.file for one in again.left_out] == [files[1]]


@pytest.mark.ranks(1, 3)
def test_too_many_bad_files_are_an_error_that_lists_them(comm, survey, on_first, shared_folder):
    files = survey(5, "flat sparse", "polarized")
    on_first(lambda: [os.truncate(files[number], 9000) for number in (1, 3)])
    output = shared_folder / "coadd.g3"
    for bound, fits in ((2, True), (1, False), ("40%", True), ("39%", False), ("1", False)):
        made, said = outcome_of(comm, files, output_file=output, on_error="skip", max_bad=bound)
        assert (made is not None) == fits, said
        if not fits:
            assert not output.exists()
            assert all(text.count("cut off at byte 9000") == 2 for _, text in said)
            assert all(f"These are more than max_bad={bound!r} allows." in text for _, text in said)
        comm.Barrier()
        if comm.rank == 0 and fits:
            output.unlink()
        comm.Barrier()


@pytest.mark.ranks(1, 2)
def test_copies_are_left_out_but_nothing_else_is_lost(comm, survey, on_first):
    files = survey(3, "flat sparse", "polarized")

    def repeat():
        whole, link, part = (f"{files[0]}_{name}.g3" for name in ("copy", "link", "part"))
        shutil.copyfile(files[0], whole)
        os.link(files[1], link)
        with core.G3Writer(part) as writer:
            writer(skies.map_frame("flat sparse", "polarized", 7))
        with open(part, "ab") as stream:  # spt3g would write the same frames in another order
            stream.write(Path(files[2]).read_bytes())
        return [whole, link], part

    (copies, part) = on_first(repeat)
    coadds, said = outcome_of(comm, [*files, *copies, files[2]], on_duplicate="skip")
    assert not said
    assert_sum_of(coadds, files)
    assert [one.file for one in coadds.left_out] == [*copies, files[2]]
    assert coadds.left_out[0].reason == f"the same as {files[0]}"
    made, said = outcome_of(comm, [*files, part], on_duplicate="skip")
    assert made is None
    assert len(said) == comm.size


def test_beside_a_stream_nothing_is_read_a_second_time(tmp_path):
    """A file that turns out bad when a part of it was added is an error then: see `set_aside`."""
    files = skies.write_files(tmp_path, 1, "flat sparse", "polarized")
    error = InputError("broken")
    error.file = files[0]
    for names, possible in ((files, True), ([*files, "tcp://host:1"], False)):
        pieces = [Piece(number) for number in range(len(names))]
        terms = g3reduce.MPIMapCoadder(OneProcess()).terms
        comm = OneProcess()
        reader = Reader(comm, names, pieces, SharedCounter(comm), "dynamic", terms)
        assert reader.set_aside(error) == possible
        assert bool(reader.bad) == possible


def test_no_majority_is_asked_for_and_like_decides(tmp_path):
    files = skies.write_files(tmp_path, 2, "flat sparse", "polarized")
    rewrite(files[1], in_power)
    with pytest.raises(InputError, match=r"has Tcmb, .* Power \(units of Q\)\. Say which file"):
        coadd_files(files, mpicomm=OneProcess(), on_error="skip", map_ids="90GHz")
    for like, other in (files, files[::-1]):
        coadds = coadd_files(
            files, mpicomm=OneProcess(), on_error="skip", map_ids="90GHz", like=like
        )
        assert [one.file for one in coadds.left_out] == [other]
        assert like in coadds.left_out[0].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error is 'ignore'; expected one of error, skip"),
        ({"max_bad": 3}, "max_bad bounds what on_error="),
        ({"max_bad": "many", "on_error": "skip"}, "max_bad is 'many'; expected a number of files"),
        ({"max_bad": -1, "on_error": "skip"}, "max_bad is -1; expected a number of files"),
        ({"like": 3}, "like is 3; expected the name of a file"),
        ({"check": "yes"}, "check is 'yes'; expected True or False"),
        ({"on_duplicate": "first"}, "on_duplicate is 'first'; expected one of error, skip, sum"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, message):
    with pytest.raises(g3reduce.UsageError) as caught:
        coadd_files("obs.g3", mpicomm=OneProcess(), **options)
    assert message in str(caught.value)
