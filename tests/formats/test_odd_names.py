"""Ids, keys and columns that FITS headers or HDF5 groups cannot hold as they are."""

import pytest
from skies import map_frame
from spt3g import core

from g3reduce.formats import map_frames_in, write_maps

IDS = ["", " ", "150 GHz µ", "a/b", ".", "..", "tab\t", "end ", r"back\slash", "x" * 100]
COLUMNS = ["é", "a/b", ".", "", "x" * 90]


@pytest.mark.parametrize("ending", [".fits", ".h5"])
@pytest.mark.parametrize("kind", ["healpix ring", "flat sparse"])
def test_ids_come_back(tmp_path, kind, ending):
    frames = [map_frame(kind, "no weights", seed, one) for seed, one in enumerate(IDS)]
    files = dict.fromkeys(write_maps(tmp_path / f"maps{ending}", frames))
    assert [frame["Id"] for file in files for frame in map_frames_in(file)] == IDS


@pytest.mark.parametrize("ending", [".fits", ".h5"])
def test_tables_come_back(tmp_path, ending):
    frame = map_frame("healpix ring", "no weights", 0)
    frame["line\nfeed"] = core.G3VectorInt([1])
    frame["a/b"], frame["a_b"] = core.G3VectorInt([2]), core.G3VectorInt([3])
    frame["."] = core.G3VectorInt([4])
    tables = {"Odd": COLUMNS, "Many": [f"c{number}" for number in range(1000)]}
    for key, columns in tables.items():
        frame[key] = core.G3MapVectorString({column: ["x", "y"] for column in columns})
    uneven = {"none": [], "one": [1], "two": [2, 3], "": []}
    kinds = {core.G3MapVectorString: str, core.G3MapVectorDouble: float, core.G3MapVectorInt: int}
    for kind, of in kinds.items():
        frame[kind.__name__] = kind({name: list(map(of, some)) for name, some in uneven.items()})
        frame[f"{kind.__name__}s of nothing"] = kind({"a": [], "b": []})
        frame[f"no {kind.__name__}"] = kind()
    (name,) = write_maps(tmp_path / f"map{ending}", frame)
    (again,) = map_frames_in(name)
    assert [list(again[key]) for key in ("line\nfeed", "a/b", "a_b", ".")] == [[1], [2], [3], [4]]
    for key, columns in tables.items():
        expected = {column: ["x", "y"] for column in columns}
        assert {column: list(again[key][column]) for column in again[key].keys()} == expected  # noqa: SIM118
    for key in frame.keys():  # noqa: SIM118
        if "MapVector" in key:
            assert type(again[key]) is type(frame[key])
            assert [(name, list(column)) for name, column in again[key].items()] == [
                (name, list(column)) for name, column in frame[key].items()
            ]
