"""Names for files, out of any text."""

import os

import pytest

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
