"""Arguments that cannot be used are refused by constructors, before any work."""

from __future__ import annotations

import numpy as np
import pytest
from spt3g import core, maps

import g3reduce
from g3reduce import UsageError

SCAN = core.G3FrameType.Scan
COUNT = g3reduce.reductions.count("Signal")


def distributor(**arguments):
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIIODistributor, **{"files": ["x.g3"], **arguments})


def parallelizer(**arguments):
    good = {"iocomm": None, "cpucomm": None, "cpucomm_startrank": 1}
    return g3reduce.MPIFrameParallelizer(**{**good, **arguments})


# What makes it, and of each argument what cannot be used.
COADDING = {
    "mpicomm": [["90GHz"], "90GHz", 3],
    "map_ids": [7, [7], ["90GHz", None], ["90GHz", "90GHz"], [], b"90GHz", {"90GHz": 1}],
    "output_map_id": [None, 7, b"Coadd", ["Coadd"]],
    "collate": [None, "yes", 2, []],
    "weighted": [None, "yes"],
    "ignore_missing_weights": [None, "no"],
    "record_obs_id": [None, "obs"],
    "metadata_lasts": [None, "yes"],
    "assign": ["90GHz", {"90GHz": 1}, 0],
    "strategy": [None, "ring", 3, ["tree"]],
    "result": [None, "everywhere", 0, ["root"]],
    "root": [None, "0", 1.0, -1, 1],
    "on_duplicate": [None, "drop", True, ["sum"]],
    "pol_conv": ["iau-cosmo", 3, True, [], ["IAU"]],
    "reproducible": [None, "bits"],
    "absmax": [1.0, {"T": 1.0}],
    "nonfinite": [None, "drop", True, ["skip"]],
}
WRONG = {
    "MPIMapCoadder": (
        g3reduce.MPIMapCoadder,
        COADDING | {"drop_input_frames": [None, "Map"], "keep_outputs": [None, "all"]},
    ),
    "coadd_files": (
        g3reduce.coadd_files,
        COADDING
        | {
            "files": [None, 7, [7], [None], [["a.g3"]], b"a.g3"],
            "output_file": [7, ["coadd.g3"], b"coadd.g3"],
            "schedule": [None, "any", ["static"]],
            "keep_maps": [None, "all"],
        },
    ),
    "MPIReducer": (
        g3reduce.MPIReducer,
        {
            "mpicomm": [COUNT, 3],
            "reduction": [None, "count", len, g3reduce.Reduction],
            "by": [3, ["Id"]],
            "strategy": [None, "ring", ["tree"]],
            "result": [None, "everywhere"],
            "root": [None, "0", 1.0, -1, 1],
            "on_duplicate": [None, "drop"],
            "reproducible": [None, "bits"],
            "absmax": [1.0, {"T": 1.0}],
        },
    ),
    "MPIAccumulator": (
        g3reduce.MPIAccumulator,
        {
            "mpicomm": [len, 3],
            "extractfunc": ["Id", 3],
            "sorter": ["Id", 3],
            "dataframes": [None, SCAN, "Scan", ["Scan"], []],
            "on_duplicate": [None, "drop"],
        },
    ),
    "MPIFileReader": (
        g3reduce.MPIFileReader,
        {
            "mpicomm": [["x.g3"], 3],
            "files": [None, 7, [7], [None], [[7]], [[["x.g3"]]], b"x.g3", [b"x.g3"]],
            "schedule": [None, "any", ["static"]],
            "leaders_of": [7, SCAN, ["Scan"]],
        },
    ),
    "MPIIODistributor": (
        distributor,
        {
            "mpicomm": [["x.g3"], 3],
            "n_io": ["1", 1.0, 0, -1, True],
            "files": [None, 7, [7], [[7]]],
            "dataframetype": [None, SCAN, "Scan", ["Scan"], []],
            "on_progress": ["print", 3],
        },
    ),
    "MPIFrameParallelizer": (
        parallelizer,
        {
            "cpucomm_startrank": [None, "1", 0, -1, 1],
            "dataframetype": [None, SCAN, "Scan", []],
            "on_progress": ["print", 3],
        },
    ),
}
GOOD = {"files": ["x.g3"], "mpicomm": None, "reduction": COUNT}
NEEDED = {
    "coadd_files": ("files", "mpicomm"),
    "MPIReducer": ("mpicomm", "reduction"),
    "MPIFileReader": ("mpicomm", "files"),
    "MPIIODistributor": ("mpicomm", "files"),
}
CASES = [
    pytest.param(name, argument, value, id=f"{name}({argument}={value!r})")
    for name, (_, arguments) in WRONG.items()
    for argument, values in arguments.items()
    for value in values
]


@pytest.mark.parametrize(("name", "argument", "value"), CASES)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, monkeypatch, name, argument, value):
    monkeypatch.chdir(tmp_path)
    make = WRONG[name][0]
    good = {other: GOOD.get(other) for other in NEEDED.get(name, ())}
    with pytest.raises(UsageError) as caught:
        make(**{**good, argument: value})
    assert argument in str(caught.value)


@pytest.mark.parametrize("value", [0, 1, np.True_, np.bool_(0)])
def test_numbers_and_numpys_booleans_will_do(value):
    assert g3reduce.MPIMapCoadder(collate=value).collate == bool(value)


def test_the_convention_of_a_map_will_do():
    stub = maps.FlatSkyMap(4, 4, 1.0, pol_conv=maps.MapPolConv.COSMO)
    g3reduce.MPIMapCoadder(pol_conv=stub.pol_conv)
    with pytest.raises(UsageError, match="pol_conv is"):
        g3reduce.MPIMapCoadder(pol_conv=maps.FlatSkyMap(4, 4, 1.0).pol_conv)


def test_what_can_be_used_is_used(tmp_path, survey):
    """So that the table above does not refuse everything."""
    files = survey(1, "flat sparse", "hits")
    g3reduce.coadd_files(tuple(files), tmp_path / "coadd.g3", map_ids=("90GHz",), root=np.int64(0))
    g3reduce.MPIReducer(COUNT, by="Id")
    g3reduce.MPIAccumulator(None, dataframes={SCAN})
    g3reduce.MPIFileReader(None, tuple(files), leaders_of=(SCAN,))
    distributor(files=files, dataframetype=[SCAN], on_progress=print)
