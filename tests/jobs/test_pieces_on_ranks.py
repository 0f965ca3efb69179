"""Large files are shared out by frames: the coadd is the serial one, and nothing is read twice."""

import itertools
import os
import shutil

import pytest
import skies
from spt3g import core, maps

import g3reduce
from g3reduce.g3files import pieces
from g3reduce.jobs.mapopener import READ_WITH, MapOpener
from g3reduce.pipeline.reader import MPIFileReader


@pytest.fixture
def small_pieces(limits):
    limits(smallest_piece=3000)


def write_files(folder, counts, kind="flat sparse", *, observed=True):
    """Files of so many maps; before each third one comes an Observation frame, which the first
    file lacks at its beginning."""
    names = []
    for number, count in enumerate(counts):
        name = str(folder / f"file{number}.g3")
        with core.G3Writer(name) as writer:
            for i in range(count):
                if observed and i % 3 == (1 if number == 0 else 0):
                    frame = core.G3Frame(core.G3FrameType.Observation)
                    frame["SourceName"], frame["ObservationID"] = f"field{number}", i
                    writer(frame)
                map_id = ("90GHz", "150GHz")[i % 2]
                writer(skies.map_frame(kind, "polarized", 100 * number + i, map_id))
                if i % 4 == 1:
                    writer(core.G3Frame(core.G3FrameType.Housekeeping))
        names.append(name)
    return names


def outcome_of(comm, files, **options):
    """A coadd, or the kinds and texts of the errors on all ranks."""
    try:
        made, said = g3reduce.coadd_files(files, mpicomm=comm, result="all", **options), None
    except g3reduce.G3ReduceError as error:
        made, said = None, f"{type(error).__name__}: {error}"
    return made, [text for text in comm.allgather(said) if text]


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize(
    ("counts", "kind", "schedule"),
    [
        ((17,), "flat sparse", "dynamic"),
        ((1, 23, 2, 0), "flat sparse", "static"),
        ((9, 4), "healpix dense", "dynamic"),
        ((5, 1, 6), "healpix ring", "static"),
    ],
)
def test_coadds_are_the_serial_ones(
    comm, shared_folder, on_first, monkeypatch, small_pieces, counts, kind, schedule
):
    taken = []
    take = g3reduce.MPIMapCoadder.take

    def noted(self, frame):
        taken.append((os.path.basename(frame.unit.file), frame.unit.index))
        return take(self, frame)

    monkeypatch.setattr(g3reduce.MPIMapCoadder, "take", noted)
    files = on_first(lambda: [*write_files(shared_folder, [c for c in counts if c], kind)])
    coadds, said = outcome_of(comm, files, collate=True, record_obs_id=True, schedule=schedule)
    assert not said
    expected = {
        (os.path.basename(file), index)
        for file in files
        for index, frame in enumerate(core.G3File(file))
        if frame.type == core.G3FrameType.Map
    }
    everywhere = comm.allgather(taken)
    assert sorted(itertools.chain(*everywhere)) == sorted(expected)
    # By demand it is chance who comes first: small pieces may all go to one.
    if comm.size > 1 and len(expected) > 10 and schedule == "static":
        assert sum(map(bool, everywhere)) > 1
    serial = serial_by_file(files)
    assert list(coadds) == list(serial)
    for name, coadd in coadds.items():
        assert sorted(coadd["InputMapIds"]) == sorted(serial[name]["InputMapIds"])
        theirs = skies.planes(serial[name])
        for plane, values in skies.planes(coadd).items():
            assert (values == theirs[plane]).all()


def serial_by_file(files):
    """spt3g's coadd, where the observation of a file ends with it."""
    parts = []
    for file in files:
        coadder = maps.CoaddMaps(collate=True, record_obs_id=True, keep_outputs=True)
        for frame in core.G3File(file):
            coadder(frame)
        for frame in coadder.coadd_frames.values():
            parts.append(frame)
    total = maps.CoaddMaps(collate=True, keep_outputs=True)
    for frame in parts:
        frame["Id"] = frame.pop("Id").removeprefix("Coadd")
        total(frame)
    return total.coadd_frames


@pytest.mark.ranks(1, 2, 3)
def test_observations_last_over_files_that_are_read_in_pieces(
    comm, shared_folder, on_first, limits
):
    """As for spt3g: also where a file begins with maps, and where one ends that several read."""
    limits(smallest_piece=1, pieces_per_rank=4 // comm.size)

    def make():
        letters, names = itertools.count(), []
        for number, frames in enumerate(("1mm", "m2mmmmmmmmm3m", "mm")):
            names.append(str(shared_folder / f"{number}.g3"))
            with core.G3Writer(names[-1]) as writer:
                for word in frames:
                    if word == "m":
                        map_id = str(next(letters))
                        frame = skies.map_frame("flat dense", "unpolarized", 0, map_id)
                    else:
                        frame = core.G3Frame(core.G3FrameType.Observation)
                        frame["SourceName"], frame["ObservationID"] = "field", int(word)
                    writer(frame)
        return names

    files = on_first(make)
    options = {"record_obs_id": True, "metadata_lasts": True, "schedule": "static"}
    coadd, said = outcome_of(comm, files, map_ids=list(map(str, range(15))), **options)
    assert not said
    serial = maps.coadd_map_files(files, record_obs_id=True)
    assert list(coadd.frame["InputMapIds"]) == list(serial["InputMapIds"])


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize(
    ("what", "schedule"),
    [
        ("cut", "dynamic"),
        ("flipped", "static"),
        ("header", "dynamic"),
        ("twice", "static"),
        ("type", "dynamic"),
    ],
)
def test_what_is_wrong_is_found_wherever_it_is(
    comm, shared_folder, on_first, small_pieces, what, schedule
):
    def make():
        (file,) = write_files(shared_folder, [13], observed=False)
        starts = starts_of(file)
        data = bytearray((shared_folder / "file0.g3").read_bytes())
        if what == "cut":
            del data[starts[-1] + 40 :]
        elif what == "flipped":
            data[starts[9] - 300] ^= 4
        elif what == "header":
            data[starts[8] + 13] = 0xFF
            data[starts[8] + 18] = 0xFF
        elif what == "type":
            data[starts[8] + 9] = 0x33
        (shared_folder / "file0.g3").write_bytes(data)
        return [file, file] if what == "twice" else [file]

    files = on_first(make)
    coadd, said = outcome_of(comm, files, schedule=schedule)
    assert coadd is None
    assert len(said) == comm.size
    own = [text for text in said if not text.startswith("RemoteError")]
    assert own
    kind = "DuplicateError" if what == "twice" else "InputError"
    assert all(text.startswith(kind) for text in own)
    frame = {"cut": starts_count(13) - 1, "twice": 0}.get(what, 8)
    assert any(f"file0.g3, frame {frame}" in text for text in own), own


def starts_of(file):
    reader, starts = core.G3Reader(file), []
    while True:
        starts.append(reader.tell())
        if not reader.Process(None):
            return starts[:-1]


def starts_count(count):
    return count + sum(i % 4 == 1 for i in range(count))


@pytest.mark.ranks(2)
def test_a_file_that_was_replaced_meanwhile_is_refused(comm, shared_folder, on_first, small_pieces):
    def make():
        (file,) = write_files(shared_folder, [14])
        shutil.copyfile(file, file + ".new")
        return file

    file = on_first(make)
    reader = MPIFileReader(comm, [[file]], opener=MapOpener())
    comm.Barrier()
    if comm.rank == 0:
        os.replace(file + ".new", file)
    comm.Barrier()
    with pytest.raises(g3reduce.InputError, match="was replaced or changed"):
        list(reader)


@pytest.mark.ranks(2)
def test_a_file_in_two_parallel_blocks_is_read_twice(comm, shared_folder, on_first, small_pieces):
    (file,) = on_first(lambda: write_files(shared_folder, [14]))
    opener = MapOpener()
    reader = MPIFileReader(comm, [[file], [file]], opener=opener)
    assert len(reader._pieces[0]) > 2
    of_maps = [frame.unit for frame in reader if frame.type == core.G3FrameType.Map]
    positions = sorted(unit.position for units in comm.allgather(of_maps) for unit in units)
    assert positions == [0] * 14 + [1] * 14


@pytest.mark.ranks(2)
def test_files_that_are_many_compressed_or_small_stay_whole(
    comm, shared_folder, on_first, monkeypatch, limits
):
    def make():
        return write_files(shared_folder, [8, 8])

    files = on_first(make)
    assert all(piece.stamp is None for piece in pieces.plan(files, 2))  # too small
    limits(smallest_piece=3000)
    assert any(piece.stamp for piece in pieces.plan(files, 2))
    assert all(piece.stamp is None for piece in pieces.plan(files, 1))
    assert all(piece.stamp is None for piece in pieces.plan(files * 8, 2))
    packed = str(shared_folder / "packed.g3.gz")
    assert all(piece.stamp is None for piece in pieces.plan([packed], 2))
    monkeypatch.setenv(READ_WITH, "spt3g")
    reader = MPIFileReader(comm, [files], opener=MapOpener())
    n_frames = sum(1 for file in files for _ in core.G3File(file))
    assert comm.allreduce(sum(1 for _ in reader)) == n_frames
    assert all(piece.stamp is None for piece in reader._pieces[0])


@pytest.mark.ranks(1, 2)
@pytest.mark.parametrize("schedule", ["dynamic", "static"])
def test_frames_are_added_together_until_few_files_are_left(
    comm, survey, monkeypatch, limits, schedule
):
    """A part of the sum stays in the cache; in the end no rank waits for a batch of another."""
    limits(small_frame=1)
    n_files, batches = 19, []
    files = survey(n_files, "flat dense", "polarized", map_ids=("90GHz",))
    add_taken = g3reduce.MPIMapCoadder.add_taken

    def noted(self, taken):
        batches.append([one.frame.unit.position for one in taken])
        return add_taken(self, taken)

    monkeypatch.setattr(g3reduce.MPIMapCoadder, "add_taken", noted)
    g3reduce.coadd_files(files, mpicomm=comm, schedule=schedule)
    batches = [batch for batch in batches if batch]
    for batch in batches:
        assert len(batch) <= min(8, -(-(n_files - batch[0]) // comm.size))
    if comm.size == 1:
        assert [len(batch) for batch in batches] == [8, 8, 3]
    if comm.size == 2 and schedule == "static" and comm.rank == 0:
        assert [len(batch) for batch in batches] == [8, 2]
    everywhere = comm.allgather([position for batch in batches for position in batch])
    assert sorted(itertools.chain(*everywhere)) == list(range(n_files))
