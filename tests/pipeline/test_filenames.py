"""Names for files, out of any text; and texts that are none."""

import os

import pytest
from families import write

import g3reduce
from g3reduce.pipeline.filenames import as_file_name

PLAIN = ["ra0hdec-44.75-70007200", "a b", "ä", "x" * 200, "a_b", "a..b", "-"]
OTHERS = [
    "",
    " ",
    ".",
    "..",
    ".a",
    "a/b",
    "a\\b",
    "a:b",
    "a\0b",
    "a\nb",
    "\x7f",
    "\ud800",
    "x" * 201,
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_can_be_a_name_is_one(text):
    assert as_file_name(text) == text


def test_all_else_becomes_one_of_its_own(tmp_path):
    names = [as_file_name(text) for text in OTHERS]
    assert len({*names, *PLAIN}) == len(OTHERS) + len(PLAIN)
    for name in names:
        (tmp_path / f"{name}.h5.tmp").write_text("")
    assert sorted(os.listdir(tmp_path)) == sorted(f"{name}.h5.tmp" for name in names)
    assert not [name for name in names if name.startswith(".") or set(name) & set("/\\:\n\0")]


NO_NAME = "a\0b"
USES = {
    "coadd": lambda: g3reduce.coadd_files(["a.g3", f"{NO_NAME}.g3"]),
    "skip": lambda: g3reduce.coadd_files(["a.g3", f"{NO_NAME}.g3"], on_error="skip"),
    "fits": lambda: g3reduce.coadd_files([f"{NO_NAME}.fits"]),
    "output": lambda: g3reduce.coadd_files(["a.g3"], f"{NO_NAME}.g3"),
    "checkpoint": lambda: g3reduce.coadd_files(["a.g3"], "o.g3", checkpoint=NO_NAME),
    "like": lambda: g3reduce.coadd_files(["a.g3"], like=f"{NO_NAME}.g3"),
    "add_to": lambda: g3reduce.coadd_files(["a.g3"], "o.g3", add_to=f"{NO_NAME}.g3"),
    "check": lambda: g3reduce.check_files([f"{NO_NAME}.g3"]),
    "manifest": lambda: g3reduce.check_files(["a.g3"], manifest=NO_NAME),
    "table": lambda: g3reduce.splits.read_table(f"{NO_NAME}.csv"),
    "stitch": lambda: g3reduce.stitch_files([f"{NO_NAME}.g3"], "o.g3"),
    "difference": lambda: g3reduce.difference("a.g3", f"{NO_NAME}.g3"),
    "convert": lambda: g3reduce.convert(f"{NO_NAME}.g3", "o.fits"),
    "reader": lambda: g3reduce.MPIFileReader(mpicomm=None, files=[[f"{NO_NAME}.g3"]]),
}


@pytest.mark.parametrize("use", USES)
def test_what_no_file_can_be_called_is_refused(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.g3", {"90GHz": 1.0})
    with pytest.raises(g3reduce.G3ReduceError, match=r"a(\\x00|\x00)b"):
        USES[use]()
    assert os.listdir() == ["a.g3"]
