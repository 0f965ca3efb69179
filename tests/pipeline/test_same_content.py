"""The same content under other names, and observations that come from several files."""

from __future__ import annotations

import gzip
import logging
import os
import shutil

import pytest
from families import frame_of, value_of, write
from spt3g import core

from g3reduce import DuplicateError, MPIFileReader, MPIMapCoadder, UsageError, coadd_files
from g3reduce.g3files.frames import Fingerprint
from g3reduce.pipeline import samecontent
from g3reduce.pipeline.ledger import Entry, Ledger, Unit


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal_of(files, **options):
    with pytest.raises(DuplicateError) as caught:
        coadd_files(files, **options)
    return str(caught.value)


@pytest.mark.parametrize("ending", [".g3", ".g3.gz"])
@pytest.mark.parametrize("pipeline", [False, True])
def test_a_copy_is_refused_with_both_names_and_the_remedy(folder, ending, pipeline):
    write("obs_0005.g3", {"90GHz": 1.0})
    copy = f"obs_0005_copy{ending}"
    opened = gzip.open if ending == ".g3.gz" else open
    with opened(copy, "wb") as file:
        file.write((folder / "obs_0005.g3").read_bytes())
    files = ["obs_0005.g3", copy]
    if pipeline:
        pipe = core.G3Pipeline()
        pipe.Add(MPIFileReader, mpicomm=None, files=[files])
        pipe.Add(MPIMapCoadder())
        with pytest.raises(DuplicateError) as caught:
            pipe.Run()
        text = str(caught.value)
    else:
        text = refusal_of(files)
    assert text.startswith(f"{copy} and obs_0005.g3 have the same content")
    assert 'Drop one, or pass on_duplicate="skip"' in text
    assert value_of(coadd_files(files, on_duplicate="sum").frame) == 2
    kept = coadd_files(files, on_duplicate="skip")
    assert value_of(kept.frame) == 1
    assert [one.file for one in kept.left_out] == [copy]


def test_frames_of_equal_content_in_one_file_are_told_by_their_numbers(folder):
    with core.G3Writer("a.g3") as writer:
        for value in (1.0, 2.0, 1.0):
            writer(frame_of("90GHz", value))
    assert refusal_of("a.g3").startswith("a.g3, frame 0 and a.g3, frame 2 have the same content")


def test_maps_without_a_hit_may_be_alike(folder):
    for name in ("a.g3", "b.g3"):
        with core.G3Writer(name) as writer:
            frame = frame_of("90GHz", 0.0)
            weights = frame.pop("Wunpol")
            weights.TT *= 0
            frame["Wunpol"] = weights
            writer(frame)
    coadd = coadd_files(["a.g3", "b.g3"])
    assert [entry.pixels for entry in coadd.ledger.entries] == [0, 0]


def entry(file, checksum=1, length=9, **known):
    unit = Unit(file, 0, fingerprint=Fingerprint(checksum, length))
    return Entry.of(unit, ("x",), map_id="x")._replace(**{"pixels": 3, "weight": 2.5, **known})


def test_a_checksum_is_no_proof_where_the_bytes_can_be_read(folder, monkeypatch):
    """Two files that differ, and whose checksums are equal by chance."""
    names = [write(name, {"90GHz": value}) for name, value in (("a.g3", 1.0), ("b.g3", 2.0))]
    mark = Fingerprint(5, os.path.getsize("a.g3"))
    monkeypatch.setattr("g3reduce.g3files.frames.RawFrame.fingerprint", mark)
    found = coadd_files(names)
    assert {one.fingerprint for one in found.ledger.entries} == {mark}
    assert value_of(found.frame) == 3
    shutil.copy("a.g3", "c.g3")
    assert "have the same content" in refusal_of([*names, "c.g3"])


def test_what_cannot_be_read_is_the_same_if_all_that_is_known_of_it_is(folder):
    one = entry("gone.g3")
    assert samecontent.have_same_content(one, entry("gone too.g3"))
    for other in (
        {"observation": "field/3"},
        {"map_id": "y"},
        {"pixels": 4},
        {"weight": 1.0},
        {"pixels": 0},
    ):
        assert not samecontent.have_same_content(one, entry("gone too.g3", **other))
    ledger = Ledger([one])
    ledger.refuse_duplicate(entry("gone too.g3", checksum=2))
    with pytest.raises(DuplicateError, match=r"^gone too.g3 and gone.g3 have the same content"):
        ledger.refuse_duplicate(entry("gone too.g3"))


# The same observation


def warnings_of(caplog):
    texts = [record.getMessage() for record in caplog.records]
    return [text for text in texts if "counted from several files" in text]


def test_observations_from_several_files_are_counted_in_one_line(folder, caplog):
    files = [
        write(f"{part}{n}.g3", {"90GHz": 10.0 * n + place}, observation=n)
        for n in range(1, 5)
        for place, part in enumerate("ab")
    ]
    files.append(write("c.g3", {"150GHz": 1.0}, observation=1))  # another Id
    with caplog.at_level(logging.WARNING):
        coadd_files(files)
    (text,) = warnings_of(caplog)
    assert text == (
        "4 maps of observations were counted from several files, with other content in each: "
        "field/1 (Id '90GHz') from a1.g3 and b1.g3; field/2 (Id '90GHz') from a2.g3 and b2.g3; "
        "and 2 more."
    )
    caplog.clear()
    coadd_files(files, same_observation="sum")
    assert not warnings_of(caplog)
    text = refusal_of(files, same_observation="error")
    assert text.startswith("4 maps of observations were counted")
    assert 'same_observation="sum"' in text
    with pytest.raises(UsageError, match="same_observation is 'skip'; expected one of"):
        coadd_files(files, same_observation="skip")


def test_halves_of_an_observation_that_are_split_are_not_there_twice(folder, caplog):
    files = [write(f"{n}.g3", {"90GHz": 1.0 + n}, observation=1) for n in range(2)]
    with caplog.at_level(logging.WARNING):
        coadd_files(files, assign=lambda frame: {str(frame["T"][0]): 1})
        with core.G3Writer("both.g3") as writer:  # several maps in one file
            for file in files:
                for frame in core.G3File(file):
                    writer(frame)
        coadd_files("both.g3")
    assert not warnings_of(caplog)


@pytest.mark.ranks(2, 3)
def test_both_are_found_on_other_ranks(comm, shared_folder, on_first, caplog):
    def make():
        names = [str(shared_folder / name) for name in ("a.g3", "b.g3", "copy.g3")]
        for number, name in enumerate(names[:2]):
            write(name, {"90GHz": 1.0 + number}, observation=1)
        shutil.copy(names[0], names[2])
        return names

    first, second, copy = on_first(make)
    options = {"mpicomm": comm, "schedule": "static", "result": "all"}
    with pytest.raises(DuplicateError, match=r"copy.g3 and .*a.g3 have the same content"):
        coadd_files([first, copy], **options)
    with pytest.raises(DuplicateError, match="1 map of an observation was counted"):
        coadd_files([first, second], same_observation="error", **options)
    caplog.clear()
    assert value_of(coadd_files([first, second], **options).frame) == 3
    assert len(warnings_of(caplog)) == (1 if comm.rank == 0 else 0)
