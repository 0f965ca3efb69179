"""Frames of coadds without their weights, against spt3g's RemoveWeights."""

import logging

import numpy as np
import pytest
import skies
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, OutputError, cli


def invertible(frame):
    """The frame with stronger diagonals, so that most weights can be divided by."""
    weights = frame.pop("Wpol")
    for name in ("TT", "QQ", "UU"):
        diagonal = getattr(weights, name)
        diagonal *= 3
    frame["Wpol"] = weights
    return frame


def spt3gs(frame, **options):
    """A copy of the frame, as spt3g makes it."""
    copy = core.G3Frame(core.G3FrameType.Map)
    for key in frame.keys():  # noqa: SIM118
        copy[key] = frame[key].copy() if key in "TQU" else frame[key]
    maps.RemoveWeights(copy, **options)
    return copy


@pytest.mark.parametrize("kind", ["flat sparse", "flat dense", "healpix ring", "healpix indexed"])
@pytest.mark.parametrize("zero_nans", [True, False])
def test_frames_are_those_of_spt3g(kind, zero_nans, caplog):
    frame = invertible(skies.map_frame(kind, "polarized", 1))
    frame["Note"] = "kept"
    skymap = frame.pop("T")
    skymap.overflow = 2.5
    frame["T"] = skymap
    before = g3reduce.digest(frame)
    (mine,) = g3reduce.unweight(frame, zero_nans=zero_nans)
    assert g3reduce.digest(frame) == before
    theirs = spt3gs(frame, zero_nans=zero_nans)
    assert set(mine.keys()) == set(theirs.keys())
    assert mine["Note"] == "kept"
    for name in "TQU":
        skies.assert_same_attributes(mine[name], theirs[name], name)
        values, expected = skies.pixels(mine[name]), skies.pixels(theirs[name])
        np.testing.assert_array_equal(values, expected, err_msg=name)
    assert "have weights that cannot be divided by (singular); the maps are " in caplog.text
    assert ("are 0 there" in caplog.text) == zero_nans


def test_all_frames_of_a_file_and_maps_that_are_not_weighted(tmp_path, caplog):
    frames = [
        invertible(skies.map_frame("flat sparse", "polarized", 1)),
        invertible(skies.map_frame("flat sparse", "polarized", 2)),  # of the same Id
        skies.map_frame("flat sparse", "unweighted", 3, "90GHz"),
        skies.map_frame("flat sparse", "hits", 4, "220GHz"),
    ]
    file = skies.write_file(tmp_path / "coadd.g3", frames)
    output = tmp_path / "maps.g3"
    with caplog.at_level(logging.ERROR):
        assert len(g3reduce.unweight(file, output)) == 4
    for mine, theirs in zip(core.G3File(str(output)), frames, strict=True):
        skies.assert_same_coadd(mine, spt3gs(theirs, zero_nans=True))


def test_weighted_maps_without_weights_are_refused(tmp_path):
    frame = skies.map_frame("flat sparse", "no weights", 1)
    with pytest.raises(InputError, match="the maps are weighted, and there are no weights"):
        g3reduce.unweight(frame)
    file = skies.write_file(tmp_path / "coadd.g3", [frame])
    with pytest.raises(OutputError, match="the output is also an input"):
        g3reduce.unweight(file, file)


def test_the_command(tmp_path, capsys):
    frames = [
        invertible(skies.map_frame("flat sparse", "polarized", 1)),
        skies.map_frame("flat sparse", "unweighted", 1, "90GHz"),
    ]
    file = skies.write_file(tmp_path / "coadd.g3", frames)
    output = str(tmp_path / "maps.g3")
    assert cli.main(["unweight", file, "-o", output, "--nan"]) == 0
    said = capsys.readouterr().out
    assert said == f"150GHz: T, Q, U divided\n90GHz: was not weighted\nWrote {output}.\n"
    first, _ = core.G3File(output)
    assert not first["T"].sparse
    assert np.isnan(skies.pixels(first["T"])).any()
    assert cli.main(["unweight", file, "-o", file]) == 1
    assert "the output is also an input" in capsys.readouterr().err


def test_sign_flips_have_one_line(tmp_path, capsys):
    files = skies.write_files(tmp_path, 4, "flat sparse", "hits", map_ids=("90GHz",))
    flips, output = str(tmp_path / "flips.g3"), str(tmp_path / "maps.g3")
    splitting = g3reduce.splits.by("id") * g3reduce.splits.signflips(12, seed=1)
    g3reduce.coadd_files(files, flips, assign=splitting)
    assert cli.main(["unweight", flips, "-o", output]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "90GHz: T divided",
        "12 sign flips of 90GHz: T divided",
        f"Wrote {output}.",
    ]


def test_sign_flips_are_warned_of_once(caplog):
    """The singular pixels of a coadd are those of its sign flips, too."""
    frame = skies.map_frame("flat sparse", "polarized", 1)
    flips = [core.G3Frame(core.G3FrameType.Map) for _ in range(3)]
    for number, flip in enumerate(flips):
        for key in frame.keys():  # noqa: SIM118 (a G3Frame)
            flip[key] = frame[key] if key != "Id" else f"150GHz_signflip{number:03d}"
    g3reduce.unweight([frame, *flips])
    assert len(caplog.records) == 1


def test_files_without_maps_are_refused(tmp_path):
    file = skies.write_file(tmp_path / "scan.g3", [core.G3Frame(core.G3FrameType.Scan)])
    with pytest.raises(InputError, match=r"There is no map in .*scan\.g3"):
        g3reduce.unweight(file, tmp_path / "maps.g3")
    assert not (tmp_path / "maps.g3").exists()
