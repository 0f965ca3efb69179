"""``g3reduce convert``, and outputs of ``g3reduce coadd`` by their names."""

import healpy
import numpy as np
import pytest
from skies import map_frame, planes, write_files
from spt3g import maps

import g3reduce
from g3reduce.cli import main
from g3reduce.formats import WriteOptions, map_frames_in, write_maps


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def to_the_bit(output):
    return ["--fits-units", "mK"] if ".fits" in output else []


@pytest.mark.parametrize(
    ("flag", "output"),
    [
        *[("--nest", name) for name in ("out.g3", "out.h5")],
        *[("--fits-style=enmap", "out.g3"), ("--fits-units=uK", "out.h5")],
        *[("--companions", "out.g3"), ("--partial", "out.h5")],
        *[("--compress", name) for name in ("out.g3", "out.fits")],
    ],
)
@pytest.mark.parametrize("command", ["convert", "coadd"])
def test_flags_that_would_do_nothing_are_refused(folder, capsys, command, flag, output):
    assert main([command, "in.g3", "-o", output, flag]) == 2
    error = capsys.readouterr().err
    assert flag.partition("=")[0] in error
    assert error.endswith("files alone.\n")


@pytest.mark.parametrize("kind", ["healpix ring", "flat sparse"])
def test_from_any_format_to_any(folder, kind, capsys):
    (file,) = write_files(".", 1, kind, "hits", map_ids=("150GHz",))
    (frame,) = map_frames_in(file)
    expected = g3reduce.digest(frame)
    before = file
    for name in ("a.fits", "b.h5", "c.g3.gz", "d.fits.gz", "e.g3", "f.h5", "g.fits"):
        assert main(["convert", before, "-o", name, *to_the_bit(name)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "150GHz: T, Wunpol, H"
        assert lines[1].startswith(f"Wrote {name} in ")
        (again,) = map_frames_in(name)
        assert g3reduce.digest(again) == expected
        assert again["Id"] == "150GHz"
        before = name


def test_several_ids_are_several_fits_files_and_one_of_others(folder, capsys):
    files = write_files(".", 2, "healpix ring", "polarized")
    assert main(["convert", *files, "-o", "all.h5"]) == 0
    assert [frame["Id"] for frame in map_frames_in("all.h5")] == ["90GHz", "150GHz"] * 2
    assert main(["convert", "all.h5", "-o", "out.fits"]) == 0
    names = ["out_90GHz.fits", "out_150GHz.fits", "out_90GHz_2.fits", "out_150GHz_2.fits"]
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"Wrote {', '.join(names)} in ")
    for name, frame in zip(names, map_frames_in("all.h5"), strict=True):
        found = healpy.read_map(name, field=0)
        found[found == healpy.UNSEEN] = 0
        np.testing.assert_array_equal(found, planes(frame)["T"] * 1000)


@pytest.mark.parametrize("output", ["out.g3", "out.h5", "out.fits"])
def test_unweighted(folder, output):
    frame = map_frame("healpix ring", "unpolarized", 1)
    write_maps("in.g3", frame)
    assert main(["convert", "in.g3", "-o", output, "--unweight", *to_the_bit(output)]) == 0
    (again,) = map_frames_in(output)
    expected = frame["T"].clone(True)
    maps.remove_weights_t(expected, frame["Wunpol"], True)
    assert not again["T"].weighted
    np.testing.assert_array_equal(np.asarray(again["T"].clone(True)), np.asarray(expected))
    assert g3reduce.digest(again)["Wunpol.TT"] == g3reduce.digest(frame)["Wunpol.TT"]


def test_silent_headers_are_asked_about(folder, capsys):
    values = np.arange(3 * 768.0).reshape(3, 768) + 1
    healpy.write_map("map.fits", values, dtype=np.float64)
    for given, asked in (
        ([], "--units"),
        (["--units", "uK"], "--coord"),
        (["--units", "uK", "--coord", "G"], "--pol-conv"),
    ):
        assert main(["convert", "map.fits", "-o", "map.g3", *given]) == 1
        message = capsys.readouterr().err
        assert "map.fits" in message
        assert asked in message
    given = ["--coord", "G", "--pol-conv", "COSMO", "--units", "uK"]
    assert main(["convert", "map.fits", "-o", "map.g3", *given]) == 0
    (frame,) = map_frames_in("map.g3")
    assert frame["Id"] == "map"
    assert frame["U"].pol_conv == maps.MapPolConv.COSMO
    assert frame["Q"].coord_ref == maps.MapCoordReference.Galactic
    np.testing.assert_array_equal(np.asarray(frame["U"]), values[2] / 1000)


def test_an_input_is_not_replaced(folder, capsys):
    write_maps("a.g3", map_frame("healpix ring", "hits", 1))
    content = (folder / "a.g3").read_bytes()
    assert main(["convert", "a.g3", "-o", "./a.g3"]) == 1
    assert "also an input" in capsys.readouterr().err
    assert (folder / "a.g3").read_bytes() == content
    assert main(["convert", "a.g3", "-o", "a.txt"]) == 2
    assert ".fits" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["a.g3"]


def test_files_without_maps_are_refused(folder, capsys):
    write_maps("none.g3", [])
    assert main(["convert", "none.g3", "-o", "out.g3"]) == 1
    assert "none.g3" in capsys.readouterr().err
    assert not (folder / "out.g3").exists()


def test_coadd_writes_by_the_name_of_its_output(folder, capsys):
    files = write_files(".", 3, "healpix ring", "polarized")
    assert main(["coadd", *files, "-o", "out.fits", "--collate", "--fits-units", "mK"]) == 0
    names = ["out_Coadd90GHz.fits", "out_Coadd150GHz.fits"]
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"Wrote {', '.join(names)} in ")
    coadds = g3reduce.coadd_files(files, collate=True)
    for name, frame in zip(names, coadds.values(), strict=True):
        (found,) = map_frames_in(name)
        assert g3reduce.digest(found) == g3reduce.digest(frame)
        assert list(found["Ledger"]["file"]) == files
    assert main(["coadd", *files, "-o", "out.g3", "--unweight"]) == 2
    assert "g3reduce unweight" in capsys.readouterr().err


def test_convert_in_python(folder):
    frame = map_frame("healpix ring", "polarized", 1)
    write_maps("in.g3", frame)
    written = g3reduce.convert("in.g3", "out.fits", WriteOptions(companions=True))
    assert written == ["out_map.fits", "out_invcov.fits"]


def test_all_sign_flips_of_a_coadd_take_one_line(folder, capsys):
    files = write_files(".", 4, "healpix ring", "polarized", map_ids=("150GHz",))
    flips = ["--signflips", "3", "--seed", "1"]
    assert main(["coadd", *files, "-o", "out.g3", *flips]) == 0
    capsys.readouterr()
    assert main(["convert", "out.g3", "-o", "out.h5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert ": 3 sign flips of " in lines[1]
