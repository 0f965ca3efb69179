"""Files of scans to TOAST's own files, on several ranks; the same ranks as other tests of TOAST."""

import os

import numpy as np
import pytest
from spt3g import core
from toastscans import U, observation, toast_or_skip

from g3reduce import InputError, OutputError, RemoteError, cli, stitch_files, stitch_to_toast
from g3reduce.mpi.communicators import OneProcess


@pytest.fixture
def toast():
    return toast_or_skip()


@pytest.fixture
def folder(comm, shared_folder):
    """A folder with the scans of two observations."""
    if comm.rank == 0:
        for number in (1, 2):
            frames = observation(number, ["a", "b", "c"], lacking=["b"])
            for part in (0, 1):
                path = shared_folder / f"obs_{number}_{part}.g3"
                with core.G3Writer(str(path)) as writer:
                    for frame in [*frames[:2], *frames[2 + part :: 2]]:
                        writer(frame)
    comm.Barrier()
    return shared_folder


@pytest.mark.ranks(5)
def test_the_command_writes_what_toast_loads(toast, comm, folder, capsys):
    import toast.ops

    pattern, volume = str(folder / "obs_*.g3"), str(folder / "saved.h5")
    assert cli.main(["stitch", pattern, "-o", volume, "--nets", "NET"]) == 0
    said = capsys.readouterr().out
    assert ("field-1: 3 detectors, " in said) == (comm.rank == 0)
    whole = folder / "whole.g3"
    if comm.rank == 0:
        told = stitch_files(pattern, whole, mpicomm=OneProcess(), gaps="fill")
        assert said.count(f", {told[0].n_samples} samples from 3 scans over ") == 1
        assert said.count(f"{100 * told[0].flagged:.3g} % flagged") >= 1
    comm.Barrier()
    data = toast.Data(toast.Comm(world=comm))
    toast.ops.LoadHDF5(volume=volume).apply(data)
    frames = [f for f in core.G3File(str(whole)) if f.type == core.G3FrameType.Scan]
    for ob, frame in zip(sorted(data.obs, key=lambda ob: ob.name), frames, strict=True):
        assert ob.name == f"{frame['SourceName']}-{frame['ObservationID']}"
        for name in ob.local_detectors:
            signal = np.asarray(frame["CalTimestreams"][name])
            np.testing.assert_allclose(ob.detdata["signal"][name] * U.K, signal, rtol=1e-15)
            flags = frame["CalTimestreamsFlags"].get(name, 0)
            np.testing.assert_array_equal(ob.detdata["flags"][name], flags)
        np.testing.assert_array_equal(ob.shared["flags"], frame["SampleFlags"])
    if comm.rank == 0:
        assert not [name for name in os.listdir(folder) if name.startswith(".g3reduce-")]


def load(toast, comm, volume):
    import toast.ops

    data = toast.Data(toast.Comm(world=comm))
    toast.ops.LoadHDF5(volume=str(volume)).apply(data)
    return data, {ob.name: ob for ob in data.obs}  # observations are cleared with their data


@pytest.mark.ranks(5)
@pytest.mark.parametrize("groupsize", [None, 1])
def test_files_are_the_same_however_observations_are_divided(toast, comm, folder, groupsize):
    """TOAST cannot write one that is divided by time; some groups of ranks get no observation."""
    pattern = str(folder / "obs_*.g3")
    whole = stitch_to_toast(pattern, folder / "whole", mpicomm=comm)
    groups = {} if groupsize is None else {"toastcomm": toast.Comm(comm, groupsize=groupsize)}
    options = {"distribution": "time", "site": toast.instrument.GroundSite("pole", -90, 0, 2800)}
    told = stitch_to_toast(pattern, folder / "parts", mpicomm=comm, **groups, **options)
    assert sorted(told, key=lambda each: each.name) == whole
    assert all(theirs == told for theirs in comm.allgather(told))
    (_first, expected), (_second, found) = (
        load(toast, comm, folder / name) for name in ("whole", "parts")
    )
    assert expected.keys() == found.keys() == {each.name for each in whole}
    for name, ob in expected.items():
        for field in ("signal", "flags"):
            mine = found[name].detdata[field].data
            np.testing.assert_array_equal(mine, ob.detdata[field].data)
        np.testing.assert_array_equal(found[name].shared["times"], ob.shared["times"])


@pytest.mark.ranks(5)
def test_names_that_no_file_can_have(toast, comm, shared_folder, caplog):
    sources = ["RA0H/DEC-44", 300 * "x", "..", "a\nb:c", "a_b_c", "é" * 150]
    if comm.rank == 0:
        for number, source in enumerate(sources):
            head, *frames = observation(number, ["a", "b"], 1)
            del head["SourceName"]
            head["SourceName"] = source
            with core.G3Writer(str(shared_folder / f"obs_{number}.g3")) as writer:
                for frame in [head, *frames]:
                    writer(frame)
    comm.Barrier()
    volume = shared_folder / "saved"
    told = stitch_to_toast(str(shared_folder / "obs_*.g3"), volume, mpicomm=comm)
    names = {f"{source}-{number}" for number, source in enumerate(sources)}
    assert {summary.name for summary in told} == names
    _kept, data = load(toast, comm, volume)
    assert {ob.get("observation", ob.name) for ob in data.values()} == names
    assert {ob.session.name for ob in data.values()} == data.keys()
    files = {name for name in os.listdir(volume) if "index" not in name}
    assert {f"{name}.h5" for name in data} == files
    warned = [text for text in caplog.messages if "have to be names of files" in text]
    assert len(warned) == (len(names - data.keys()) if comm.rank == 0 else 0)


@pytest.mark.ranks(5)
def test_what_fails_leaves_no_folder(toast, comm, folder):
    pattern = str(folder / "obs_*.g3")
    with pytest.raises((InputError, RemoteError), match="has no 'Others'"):
        stitch_to_toast(pattern, folder / "new", mpicomm=comm, timestreams="Others")
    with pytest.raises((OutputError, RemoteError), match="this folder is not empty"):
        stitch_to_toast(pattern, folder, mpicomm=comm)
    comm.Barrier()
    assert not [name for name in os.listdir(folder) if "new" in name]


@pytest.mark.ranks(5)
def test_nothing_is_done_that_may_fail_when_the_folder_has_its_name(
    toast, comm, folder, monkeypatch
):
    def no_memory(ob):
        raise MemoryError

    if comm.rank == 1:
        monkeypatch.setattr("g3reduce.toast3.volume._count_flagged", no_memory)
    with pytest.raises((MemoryError, RemoteError)):
        stitch_to_toast(str(folder / "obs_*.g3"), folder / "new", mpicomm=comm)
    comm.Barrier()
    assert not [name for name in os.listdir(folder) if "new" in name]
