"""MPIFileReader: broadcast files reach every rank, those of a parallel block one rank each."""

import time

import pytest
from spt3g import core

import g3reduce
from g3reduce.pipeline.ledger import unit_of


def write(folder, name, letters):
    """A file of frames: letters are metadata, digits are data."""
    path = str(folder / f"{name}.g3")
    with core.G3Writer(path) as writer:
        for letter in letters:
            data = letter.isdigit()
            frame = core.G3Frame(core.G3FrameType.Scan if data else core.G3FrameType.Calibration)
            frame["What"] = letter
            writer(frame)
    return path


def read(comm, files, wait=0.0, **options):
    """What this rank sees: the letters, and the units."""
    seen, units = [], []

    def look(frame):
        if "What" in frame:
            time.sleep(wait)
            seen.append(frame["What"])
            units.append(unit_of(frame))

    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=files, **options)
    pipe.Add(look)
    pipe.Run()
    return "".join(seen), units


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize("schedule", ["dynamic", "static"])
def test_every_frame_is_seen_in_order_by_those_who_should(comm, shared_folder, on_first, schedule):
    def make():
        return [
            write(shared_folder, "meta", "MN"),
            [
                write(shared_folder, f"block{i}", text)
                for i, text in enumerate(["12", "345", "", "6"])
            ],
            write(shared_folder, "more", "P"),
            [],
            [write(shared_folder, "last", "789")],
        ]

    (shared_folder / "x").touch()
    files = on_first(lambda: make() if comm.rank == 0 else None)
    # A file without any frame is an error elsewhere: here it holds metadata only.
    files[1][2] = on_first(lambda: write(shared_folder, "block2", "Q"))
    before = [list(entry) if isinstance(entry, list) else entry for entry in files]
    seen, units = read(comm, files, schedule=schedule)
    assert files == before, "the caller's lists are not changed"
    everywhere = comm.allgather(seen)
    assert all([c for c in text if c in "MNP"] == list("MNP") for text in everywhere)
    assert sorted("".join(everywhere).replace("M", "").replace("N", "").replace("P", "")) == list(
        "123456789Q"
    )
    for text in everywhere:  # between the metadata where they belong, and in the file's order
        assert text.startswith("MN")
        block, last = text[2:].split("P")
        assert set(block) <= set("123456Q")
        assert set(last) <= set("789")
        assert last in ("", "789")
        assert all(pair in block for pair in ("12", "345") if pair[0] in block)
    names = {("meta", 0), ("meta", 1), ("more", 0)}
    for letter, unit in zip(seen, units, strict=True):
        name = unit.file.rsplit("/")[-1].removesuffix(".g3")
        assert unit.shared == (letter in "MNP")
        if unit.shared:
            assert (name, unit.index) in names
    assert [unit.position for unit in units] == sorted(unit.position for unit in units)


@pytest.mark.ranks(2, 3)
def test_files_go_to_the_rank_that_is_free(comm, shared_folder, on_first):
    files = on_first(lambda: [[write(shared_folder, f"f{i}", "1") for i in range(4 * comm.size)]])
    seen, _ = read(comm, files, wait=0.0 if comm.rank else 1.0)
    counts = comm.allgather(len(seen))
    assert sum(counts) == 4 * comm.size
    assert counts[0] < 4 < max(counts[1:]), "the slow rank reads few, the others its share"


@pytest.mark.ranks(2, 3)
def test_static_deals_files_out_in_order(comm, shared_folder, on_first):
    files = on_first(lambda: [[write(shared_folder, f"f{i}", str(i)) for i in range(7)]])
    seen, _ = read(comm, files, schedule="static")
    assert seen == "0123456"[comm.rank :: comm.size]


@pytest.mark.ranks(3)
def test_large_frames_are_cut_into_pieces(comm, shared_folder, on_first, limits):
    limits(message_piece=1000)

    def make():
        path = str(shared_folder / "large.g3")
        with core.G3Writer(path) as writer:
            frame = core.G3Frame(core.G3FrameType.Calibration)
            frame["Numbers"] = core.G3VectorDouble(range(5000))
            writer(frame)
        return path

    path = on_first(make)
    reader = g3reduce.MPIFileReader(comm, [path])
    (frame,) = list(reader)
    assert list(frame["Numbers"]) == list(range(5000))


@pytest.mark.ranks(2, 3)
def test_a_broken_broadcast_file_is_an_error_on_all_ranks(comm, shared_folder, on_first):
    def make():
        path = write(shared_folder, "cut", "MNOP")
        with open(path, "r+b") as stream:
            stream.truncate(180)
        return path

    path = on_first(make)
    with pytest.raises(
        g3reduce.G3ReduceError, match=r"cut\.g3, frame \d, byte \d+: this frame cannot be read"
    ):
        read(comm, [path])
