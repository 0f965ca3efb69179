"""The mapping of Id to frame that a coaddition returns."""

import pytest
from skies import assert_same_coadd, map_frame, write_files
from spt3g import core, maps

import g3reduce
from g3reduce import Coadds, MPIMapCoadder, UsageError, coadd_files


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path, 2, "flat sparse", "hits")


def test_a_coadd_is_found_by_its_id(files):
    coadds = coadd_files(files, collate=True)
    assert isinstance(coadds, Coadds)
    assert list(coadds) == ["90GHz", "150GHz"]
    for name, frame in maps.coadd_map_files(files, collate=True).items():
        assert_same_coadd(coadds[name], frame)
    with pytest.raises(KeyError, match="'220GHz'; there are '90GHz', '150GHz'"):
        coadds["220GHz"]
    assert coadds.get("220GHz") is None
    assert "220GHz" not in coadds


def test_an_id_that_is_not_here_says_why(files):
    with pytest.raises(KeyError, match="'odd'; the result is on another rank: ask"):
        Coadds(here=False)["odd"]
    shards = coadd_files(files, collate=True, result="sharded")
    with pytest.raises(KeyError, match=r"coadds\.shards, which has '90GHz', '150GHz'"):
        shards["90GHz"]
    planned = coadd_files(files, collate=True, dry_run=True)
    with pytest.raises(KeyError, match="dry_run=True has added nothing"):
        planned["90GHz"]


def test_the_only_frame_has_a_name_of_its_own(files):
    one = coadd_files(files)
    assert one.frame is one["Coadd"]
    collated = coadd_files(files, map_ids=["90GHz"], collate=True)
    assert collated.frame is collated["90GHz"]
    several = coadd_files(files, collate=True)
    with pytest.raises(UsageError, match=r"There are 2 coadds, .* '90GHz', '150GHz'"):
        several.frame  # noqa: B018
    assert Coadds(here=False).frame is None


@pytest.mark.parametrize("assigned", [False, True])
def test_the_ledger_counts_each_frame_once(files, assigned):
    if assigned:
        coadds = coadd_files(files, assign=lambda frame: {"all": 1, frame["Id"]: -1})
        assert len(coadds) == 3
    else:
        coadds = coadd_files(files)
    found = [(unit.file, unit.index) for unit in coadds.ledger.units()]
    assert found == [
        (file, index)
        for file in files
        for index, frame in enumerate(core.G3File(file))
        if frame.type == core.G3FrameType.Map
    ]
    twice = coadd_files([*files, *files], on_duplicate="sum")
    assert len(twice.ledger.units()) == 2 * len(found)


def test_it_says_what_it_is(files):
    assert repr(coadd_files(files)) == "<Coadds of 4 frames: 'Coadd' (T, Wunpol, H)>"
    listed = "'90GHz' (T, Wunpol, H), '150GHz' (T, Wunpol, H)"
    assert repr(coadd_files(files, collate=True)) == f"<Coadds of 4 frames: {listed}>"
    shards = repr(coadd_files(files[:1], map_ids="90GHz", result="sharded"))
    assert shards.startswith("<Coadds of 1 frame: shard of 'Coadd' (H, T, ")
    assert repr(Coadds(here=False)) == "<Coadds: the result is on another rank>"


def test_a_shard_may_be_the_only_one(files):
    one = coadd_files(files, map_ids="90GHz", result="sharded")
    assert len(one) == 0
    assert one.frame is None
    assert one.shard is one.shards["Coadd"]
    n_pixels = sum(one.shard.pixels.ravel() >= 0)
    assert repr(one.shard) == f"<Shard of {', '.join(one.shard.planes)}: {n_pixels} pixels>"
    with pytest.raises(UsageError, match=r"There are 2 shards, .* '90GHz', '150GHz'"):
        coadd_files(files, collate=True, result="sharded").shard  # noqa: B018


def test_the_coadder_has_the_same_and_keeps_it_if_asked():
    frames = [map_frame("flat sparse", "hits", seed=number) for number in range(2)]
    coadder = MPIMapCoadder()
    with pytest.raises(UsageError, match="no coadd before the end"):
        coadder.result  # noqa: B018
    for frame in frames:
        coadder.add(frame)
    coadds = coadder.finish()
    assert coadds is coadder.result is coadder.coadd_frames
    assert coadder.coadd_frame is coadds.frame
    coadder.reset()
    assert coadder.result == {}
    assert coadds.frame is not None

    forgetful = MPIMapCoadder(keep_outputs=False)
    forgetful.add(frames[0])
    assert forgetful.finish().frame["Id"] == "Coadd"
    assert forgetful.result == {}
    assert len(forgetful.result.ledger.entries) == 1


def test_without_a_map_there_is_no_frame():
    coadder = MPIMapCoadder()
    assert coadder.finish() == {}
    assert coadder.result.here
    assert coadder.coadd_frame is None
    assert repr(coadder.result) == "<Coadds of 0 frames: none>"


@pytest.mark.ranks(2)
@pytest.mark.parametrize("result", ["root", "all", "sharded"])
def test_each_rank_knows_whether_it_holds_the_result(comm, shared_folder, result):
    names = write_files(shared_folder, 2, "flat sparse", "hits") if comm.rank == 0 else None
    names = comm.bcast(names)

    def assign(frame):
        return {"all": 1, frame["Id"]: 1}

    read = coadd_files(names, mpicomm=comm, assign=assign, result=result, root=1)
    coadder = MPIMapCoadder(comm, assign=assign, result=result, root=1)
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[names])
    pipe.Add(coadder)
    pipe.Run()
    for coadds in (read, coadder.result):
        assert coadds.here == (result != "root" or comm.rank == 1)
        assert len(coadds) == (3 if coadds.here and result != "sharded" else 0)
        assert len(coadds.shards) == (3 if result == "sharded" else 0)
        assert len(coadds.ledger.units()) == (4 if coadds.here else 0)
        assert coadds.statistics.ranks == 2
        assert (repr(coadds) == "<Coadds: the result is on another rank>") == (not coadds.here)
