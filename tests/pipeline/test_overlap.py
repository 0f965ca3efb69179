"""The same observation twice: coadds of coadds that overlap, and other names of one file."""

from __future__ import annotations

import gzip
import logging
import os
import random

import pytest
from families import BANDS, Family, frame_of, value_of, write
from spt3g import core, maps

import g3reduce
from g3reduce import DuplicateError, MPIFileReader, MPIMapCoadder, check_files, coadd_files
from g3reduce.pipeline.filenames import refuse_repeated


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nights(folder, by=coadd_files, **options):
    """Two nights' coadds, in both of which is obs2.g3."""
    for number in (1, 2, 3):
        write(f"obs{number}.g3", {"90GHz": 10.0**number}, observation=number)
    by(["obs1.g3", "obs2.g3"], "monday.g3", **options)
    by(["obs2.g3", "obs3.g3"], "tuesday.g3", **options)


def refusal_of(files, **options):
    with pytest.raises(DuplicateError) as caught:
        coadd_files(files, **options)
    return str(caught.value)


def renamed(source, target, name):
    """The same coadds, by what their lists say, of other files."""

    def names(found):
        return core.G3VectorString([name(one) for one in found])

    with core.G3Writer(target) as writer:
        for frame in core.G3File(source):
            if frame.type == core.G3FrameType.Map:
                ledger, files = frame.pop("Ledger"), frame.pop("InputFiles")
                ledger["file"] = names(ledger["file"])
                frame["Ledger"], frame["InputFiles"] = ledger, names(files)
            writer(frame)


@pytest.mark.parametrize("name", ["a\0{}", "\0{}.fits", "/there/\0/{}", "{}\0"])
def test_what_a_coadd_lists_may_be_no_name_of_a_file(folder, name):
    nights(folder)
    for night in ("monday.g3", "tuesday.g3"):
        renamed(night, f"odd_{night}", name.format)
    odd = ["odd_monday.g3", "odd_tuesday.g3"]
    assert f"both contain {name.format('obs2.g3')} (Id " in refusal_of(odd)
    assert value_of(coadd_files(odd, on_duplicate="sum").frame) == 1210
    # By another name it is the same content.
    assert "obs2.g3" in refusal_of(["odd_monday.g3", "tuesday.g3"])
    assert not check_files(odd).is_fine


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        ("monday.g3", "tuesday.g3"),
        ("tuesday.g3", "monday.g3"),
        ("monday.g3", "obs2.g3"),
        ("obs2.g3", "monday.g3"),
    ],
    ids="-".join,
)
def test_coadds_that_share_an_input_are_refused_with_both_and_what_they_share(
    folder, files, recorded
):
    nights(folder, record_obs_id=recorded)
    for again in (False, True):  # whatever this coadd records itself
        text = refusal_of(list(files), record_obs_id=again)
        assert text.startswith(f"{files[0]}, frame ")
        assert f"and {files[1]}, frame " in text
        assert "both contain obs2.g3 (Id " in text
        assert 'on_duplicate="sum"' in text
    both = coadd_files(list(files), on_duplicate="sum").frame
    assert value_of(both) == (1210 if "tuesday.g3" in files else 210)


def test_what_is_no_overlap_is_summed(folder):
    nights(folder)
    week = coadd_files(["monday.g3", "obs3.g3"]).frame
    assert value_of(week) == 1110
    assert list(week["InputFiles"]) == ["obs1.g3", "obs2.g3", "obs3.g3"]
    coadd_files(["monday.g3", "obs3.g3"], "week.g3")
    assert "week.g3, frame 0 both contain obs3.g3" in refusal_of(["obs3.g3", "week.g3"])


def test_bands_of_one_file_are_not_the_same(folder):
    for number in range(2):
        write(f"obs{number}.g3", {"90GHz": 1.0 + number, "150GHz": 10.0 + number})
    for band in BANDS:
        coadd_files(["obs0.g3", "obs1.g3"], f"{band}.g3", map_ids=band)
    assert value_of(coadd_files(["90GHz.g3", "150GHz.g3"]).frame) == 24
    assert "(Id '90GHz')" in refusal_of(["150GHz.g3", "90GHz.g3", "obs1.g3"])
    assert "(Id '150GHz')" in refusal_of(["150GHz.g3", "obs1.g3"])
    both = coadd_files(["90GHz.g3", "obs1.g3"], assign=lambda f: {"both": 1} if hits(f) else None)
    assert value_of(both["both"]) == 14


def hits(frame):
    return frame["Id"] in ("Coadd", "150GHz")


def test_each_coadd_is_looked_at_by_itself(folder):
    nights(folder)
    files = ["monday.g3", "tuesday.g3"]
    apart = coadd_files(files, assign=lambda frame: {g3reduce.unit_of(frame).file: 1})
    assert [value_of(frame) for frame in apart.values()] == [110, 1100]
    null = {"monday.g3": 1, "tuesday.g3": -1}
    text = refusal_of(files, assign=lambda frame: {"null": null[g3reduce.unit_of(frame).file]})
    assert "both contain obs2.g3" in text


def test_halves_and_their_difference_are_made_of_coadds(folder):
    for number in range(4):
        write(f"obs{number}.g3", {"90GHz": 10.0**number})
    for half in range(2):
        coadd_files([f"obs{half}.g3", f"obs{half + 2}.g3"], f"half{half}.g3")
    signs = {"half0.g3": 1, "half1.g3": -1}
    made = coadd_files(list(signs), assign=lambda f: {"null": signs[g3reduce.unit_of(f).file]})
    assert value_of(made["null"]) == 101 - 1010


@pytest.mark.parametrize("tracked", [True, False])
def test_pipelines_notice_it_too(folder, tracked):
    nights(folder)
    pipe = core.G3Pipeline()
    files = ["monday.g3", "tuesday.g3"]
    if tracked:
        pipe.Add(MPIFileReader, mpicomm=None, files=files)
    else:
        pipe.Add(core.G3Reader, filename=files)
    pipe.Add(MPIMapCoadder())
    with pytest.raises(DuplicateError, match=r"both contain obs2\.g3"):
        pipe.Run()


def test_coadds_without_files_are_told_apart_by_their_observations(folder):
    """As modules make them of maps that they made themselves, without a file."""

    def made(name, observations):
        coadder = maps.CoaddMaps(record_obs_id=True, keep_outputs=True)
        for number in observations:
            frame = core.G3Frame(core.G3FrameType.Observation)
            frame["SourceName"], frame["ObservationID"] = "field", number
            coadder(frame)
            coadder(frame_of("90GHz", 10.0**number))
        (coadd, _) = coadder(core.G3Frame(core.G3FrameType.EndProcessing))
        assert "InputFiles" not in coadd
        with core.G3Writer(name) as writer:
            writer(coadd)
        return name

    files = [made("a.g3", [1, 2]), made("b.g3", [3, 4]), made("c.g3", [4, 5])]
    assert value_of(coadd_files(files[:2], "ab.g3").frame) == 11110
    assert "both contain the observation 'field/4/90GHz'" in refusal_of(files)
    assert "both contain a.g3" in refusal_of(["ab.g3", "a.g3"])
    assert value_of(coadd_files(["ab.g3", files[2]], on_duplicate="sum").frame) == 121110


def test_nights_of_which_only_the_band_is_known_do_not_contradict(folder):
    for night in range(3):
        coadder = maps.CoaddMaps(output_map_id="150GHz", keep_outputs=True)
        coadder(frame_of("150GHz", 10.0**night))
        (coadd, _) = coadder(core.G3Frame(core.G3FrameType.EndProcessing))
        with core.G3Writer(f"night{night}.g3") as writer:
            writer(coadd)
    assert value_of(coadd_files([f"night{night}.g3" for night in range(3)]).frame) == 111


def test_parts_of_an_observation_in_files_of_their_own_may_be_coadded(folder):
    for part in range(4):
        write(f"wafer{part}.g3", {"90GHz": 10.0**part}, observation=7)
    for half in range(2):
        files = [f"wafer{half}.g3", f"wafer{half + 2}.g3"]
        coadd_files(files, f"half{half}.g3", record_obs_id=True)
    assert value_of(coadd_files(["half0.g3", "half1.g3"]).frame) == 1111


# Names that coadds list


def in_folder(monkeypatch, folder):
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("kept", [True, False], ids=["there", "deleted"])
@pytest.mark.parametrize("by", ["spt3g", "g3reduce"])
def test_nights_in_folders_of_their_own_may_have_files_of_the_same_names(
    folder, monkeypatch, caplog, by, kept
):
    for night in range(2):
        in_folder(monkeypatch, folder / f"night{night}")
        write("maps.g3", {"90GHz": 10.0**night})
        if by == "spt3g":
            by_spt3g(["maps.g3"], "coadd.g3")
        else:
            coadd_files("maps.g3", "coadd.g3")
        if not kept:
            os.unlink("maps.g3")
    for here in (folder, folder / "night0"):
        monkeypatch.chdir(here)
        names = [os.path.relpath(folder / f"night{night}" / "coadd.g3") for night in range(2)]
        with caplog.at_level(logging.WARNING):
            coadd = coadd_files(names).frame
        assert value_of(coadd) == 11
        messages = [record.getMessage() for record in caplog.records]
        warnings = [text for text in messages if "is not known whether both mean" in text]
        # A ledger has checksums, which say that these are two files.
        assert len(warnings) == (0 if kept or by == "g3reduce" else 1)
        if kept:  # they are listed by names that lead to them from here
            originals = [os.path.join(os.path.dirname(name), "maps.g3") for name in names]
            assert list(coadd["InputFiles"]) == originals
        elif warnings:
            assert f"{names[0]}, frame 0 and {names[1]}, frame 0" in warnings[0]
        caplog.clear()


def test_names_are_followed_from_wherever_the_coadds_were_made(folder, monkeypatch):
    nights(folder)
    in_folder(monkeypatch, folder / "elsewhere")
    assert "both contain ../obs2.g3" in refusal_of(["../monday.g3", "../tuesday.g3"])
    assert "both contain " in refusal_of(["../monday.g3", str(folder / "obs2.g3")])
    coadd_files(["../obs2.g3", "../obs3.g3"], "../wednesday.g3")  # lists what is not beside it
    assert "both contain ../obs2.g3" in refusal_of(["../monday.g3", "../wednesday.g3"])


def test_a_file_here_that_is_newer_than_a_coadd_was_not_its_input(folder, monkeypatch):
    running = str(folder / "running.g3")
    for night in range(3):
        in_folder(monkeypatch, folder / f"night{night}")
        write("maps.g3", {"90GHz": 10.0**night})
        if night:
            os.utime(running, ns=(0, os.stat("maps.g3").st_mtime_ns - 10**9))
        files = ["maps.g3", *([running] if night else [])]
        total = coadd_files(files).frame
        coadd_files(files, str(folder / "new.g3"))
        os.replace(folder / "new.g3", running)
    assert value_of(total) == 111


def test_inputs_that_were_deleted_are_the_same_by_their_full_names(folder):
    nights(folder)
    for name in ("monday.g3", "tuesday.g3"):
        numbers = (1, 2) if name == "monday.g3" else (2, 3)
        coadd_files([str(folder / f"obs{number}.g3") for number in numbers], name)
    os.unlink("obs2.g3")
    assert "obs2.g3 (Id '90GHz')" in refusal_of(["monday.g3", "tuesday.g3"])


def test_inputs_that_were_deleted_are_the_same_by_name_and_observation(folder):
    nights(folder, by=by_spt3g, record_obs_id=True)
    os.unlink("obs2.g3")
    text = refusal_of(["monday.g3", "tuesday.g3"])
    assert "both contain the observation 'field/2/90GHz'" in text


def test_inputs_that_were_deleted_are_the_same_by_their_checksums(folder):
    nights(folder)
    os.unlink("obs2.g3")
    text = refusal_of(["monday.g3", "tuesday.g3"])
    assert "both contain obs2.g3 (Id '90GHz')" in text


def test_an_input_that_was_compressed_since_is_the_same(folder):
    nights(folder)
    with gzip.open("obs2.g3.gz", "wb") as stream:
        stream.write((folder / "obs2.g3").read_bytes())
    os.unlink("obs2.g3")
    assert "both contain obs2.g3" in refusal_of(["monday.g3", "obs2.g3.gz"])
    assert "both contain obs2.g3" in refusal_of(["monday.g3", "tuesday.g3"])


# Other names of one file


def other_names(folder):
    write("a.g3", {"90GHz": 1.0})
    os.link("a.g3", "hard.g3")
    os.symlink("a.g3", "soft.g3")
    os.symlink("hard.g3", "soft to hard.g3")
    with gzip.open("a.g3.gz", "wb") as stream:
        stream.write((folder / "a.g3").read_bytes())


NAMES = {
    "hard.g3": "is a hard link to it",
    "soft.g3": "also as",
    "soft to hard.g3": "is a hard link to it",
    "a.g3.gz": "beside it is the same, but for its compression",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("first", [True, False])
def test_a_file_is_noticed_under_any_other_name(folder, name, first):
    other_names(folder)
    files = [name, "a.g3"] if first else ["a.g3", name]
    for text in (refusal_of(files), refusal_in_pipeline(files)):
        assert text.startswith(f"{files[1]}, frame 0 came twice (")
        assert files[0] in text
        assert NAMES[name] in text
    assert value_of(coadd_files(files, on_duplicate="sum").frame) == 2
    with pytest.raises(DuplicateError, match=rf"^{files[1]}: this file is named twice, .*"):
        refuse_repeated(files)


def refusal_in_pipeline(files):
    pipe = core.G3Pipeline()
    pipe.Add(MPIFileReader, mpicomm=None, files=[files])
    pipe.Add(MPIMapCoadder())
    with pytest.raises(DuplicateError) as caught:
        pipe.Run()
    return str(caught.value)


def test_a_coadd_of_a_hard_link_overlaps_with_the_file(folder):
    other_names(folder)
    coadd_files("hard.g3", "coadd.g3")
    assert "both contain" in refusal_of(["coadd.g3", "a.g3"])


def test_files_that_are_only_equal_in_length_are_others(folder):
    for number, name in enumerate(("a.g3", "b.g3", "other/a.g3", "other/a.g3.gz")):
        os.makedirs("other", exist_ok=True)
        write(name, {"90GHz": 1.0 + number})
    for name in ("a.g3", "b.g3"):  # with links of their own
        os.link(name, f"{name}.link")
    assert value_of(coadd_files(["a.g3", "b.g3", "other/a.g3"]).frame) == 6


# Families


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("relative", [True, False])
def test_families_of_coadds_are_summed_right_or_refused(folder, seed, relative):
    rng = random.Random(seed)
    by = coadd_files if seed % 2 else by_spt3g
    family = Family(str(folder), rng, relative=relative, by=by)
    check_family(family, rng, coadd_files)


def by_spt3g(files, output, **options):
    """Without the maps that spt3g passes on to the output where they do not match."""
    with core.G3Writer(output) as writer:
        writer(maps.coadd_map_files(files, **options))


def check_family(family, rng, coadd, n_tries=12):
    """Any files of a family, coadded: the right sum, or an error that names two of them."""
    outcomes = set()
    for _ in range(n_tries):
        files = rng.sample(list(family.within), rng.randint(2, 4))
        inside = sum((family.within[name] for name in files), type(family.within[files[0]])())
        overlap = family.overlap(files)
        outcomes.add(overlap)
        assert overlap or max(inside.values()) == 1
        if not overlap:
            assert value_of(coadd(files).frame) == family.sum_of(inside)
            continue
        with pytest.raises(DuplicateError) as caught:
            coadd(files)
        text = str(caught.value)
        assert sum(f"{name}, frame " in text for name in files) == 2, text
        summed = coadd(files, on_duplicate="sum").frame
        assert value_of(summed) == family.sum_of(inside)
    assert outcomes == {True, False}
