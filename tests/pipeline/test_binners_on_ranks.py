"""spt3g's MapBinner behind the distributor: ranks without scans do not complain of it."""

import pytest
from choices import some_of
from spt3g import core, maps

import g3reduce

COMPLAINT = "No valid scan frames found for map a"


def stub():
    return maps.FlatSkyMap(
        x_len=40,
        y_len=20,
        res=30 * core.G3Units.arcmin,
        proj=maps.MapProjection.ProjZEA,
        alpha_center=0,
        delta_center=0,
        coord_ref=maps.MapCoordReference.Equatorial,
    )


def scan(start):
    """A Scan frame of one detector, at rest."""
    frame = core.G3Frame(core.G3FrameType.Scan)
    timestream = core.G3Timestream([1.0, 2.0])
    timestream.units = core.G3TimestreamUnits.Tcmb  # as of the stub
    timestream.start, timestream.stop = core.G3Time(start), core.G3Time(start + 1)
    frame["Timestreams"] = core.G3TimestreamMap({"d": timestream})
    frame["Pointing"] = core.G3VectorQuat([core.Quat(1, 0, 0, 0)] * 2)
    return frame


def calibration():
    from spt3g import calibration as cal

    frame = core.G3Frame(core.G3FrameType.Calibration)
    properties = cal.BolometerProperties()
    properties.x_offset = properties.y_offset = 0
    frame["BolometerProperties"] = cal.BolometerPropertiesMap({"d": properties})
    return frame


def binned(comm, folder, n_scans, n_io, **binner):
    """The coadd of what all ranks have binned of one file, which readers or one rank has read."""
    file = str(folder / "scans.g3")
    if comm.rank == 0:
        with core.G3Writer(file) as writer:
            for frame in (calibration(), *map(scan, range(1, 1 + n_scans))):
                writer(frame)
    comm.barrier()
    coadder = g3reduce.MPIMapCoadder(comm, collate=True) if binner.get("coadd", True) else None
    pipe = core.G3Pipeline()
    if n_io:
        pipe.Add(g3reduce.MPIIODistributor, mpicomm=comm, n_io=n_io, files=[file])
    else:
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[[file]])
    for name in ("a", "b"):
        pipe.Add(
            maps.MapBinner,
            map_id=name,
            stub_map=stub(),
            timestreams=binner.get("timestreams", "Timestreams"),
            pointing="Pointing",
        )
    if coadder is not None:
        pipe.Add(coadder)
    pipe.Run()
    comm.barrier()
    return coadder


@pytest.mark.ranks(3)
@pytest.mark.parametrize("n_io", some_of([None, 1, 2], fewer=[1]))
def test_ranks_without_scans_do_not_complain(comm, n_ranks, shared_folder, capfd, n_io):
    before = core.G3Logger.global_logger.get_level_for_unit("MapBinner")
    coadder = binned(comm, shared_folder, 1, n_io)
    assert "MapBinner" not in capfd.readouterr().err
    assert core.G3Logger.global_logger.get_level_for_unit("MapBinner") == before
    if comm.rank == 0:
        for name in ("a", "b"):
            assert sum(coadder.result[name]["Wunpol"].TT) == 2


@pytest.mark.ranks(3)
@pytest.mark.parametrize("n_io", some_of([None, 1], fewer=[1]))
def test_without_any_scan_a_rank_that_reads_complains(comm, n_ranks, shared_folder, capfd, n_io):
    binned(comm, shared_folder, 0, n_io)
    complains = COMPLAINT in capfd.readouterr().err
    assert comm.allgather(complains).count(True) == 1


@pytest.mark.ranks(3)
def test_a_rank_whose_scans_are_of_no_use_complains(comm, n_ranks, shared_folder, capfd):
    binned(comm, shared_folder, 4, 1, timestreams="Misspelt")
    complains = COMPLAINT in capfd.readouterr().err
    assert not complains or comm.rank > 0
    assert any(comm.allgather(complains))


@pytest.mark.ranks(2)
def test_where_nothing_joins_the_maps_the_reader_complains(comm, n_ranks, shared_folder, capfd):
    """Its empty map is then all that it has."""
    binned(comm, shared_folder, 2, 1, coadd=False)
    assert (COMPLAINT in capfd.readouterr().err) == (comm.rank == 0)


@pytest.mark.ranks(2)
def test_what_the_user_has_set_is_kept(comm, n_ranks, shared_folder, capfd):
    core.set_log_level(core.G3LogLevel.LOG_WARN, "MapBinner")
    binned(comm, shared_folder, 2, 1)
    level = core.G3Logger.global_logger.get_level_for_unit("MapBinner")
    assert level == core.G3LogLevel.LOG_WARN
