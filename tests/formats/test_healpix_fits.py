"""HEALPix maps in FITS files: what is in them, and back."""

import warnings

import healpy
import numpy as np
import pytest
from astropy.io import fits
from skies import map_frame, maps_by_plane, planes
from spt3g import core, maps

import g3reduce
from g3reduce.formats import WriteOptions, map_frames_in, write_maps

KINDS = ("healpix ring", "healpix dense", "healpix nested indexed", "healpix nested dense")
TO_THE_BIT = WriteOptions(units="mK")  # G3's own unit


def column_of(plane):
    names = {"T": "TEMPERATURE", "Q": "Q_POLARISATION", "U": "U_POLARISATION", "H": "HITS"}
    return names.get(plane) or plane.split(".")[1].replace("T", "I")


def read_all(file, **options):
    """All columns by healpy, by their names."""
    found, header = healpy.read_map(file, field=None, h=True, **options)
    header = dict(header)
    names = [header[f"TTYPE{n}"] for n in range(1, header["TFIELDS"] + 1)]
    names = [name for name in names if name != "PIXEL"]
    return dict(zip(names, np.atleast_2d(found), strict=True)), header


def seen(values):
    return np.where(values == healpy.UNSEEN, 0, values)


def written(folder, frame, options=TO_THE_BIT, name="map.fits"):
    (file,) = write_maps(folder / name, frame, options)
    return file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", ["polarized", "unpolarized", "hits"])
@pytest.mark.parametrize("full_sky", [True, False])
def test_healpy_reads_all_columns_to_the_bit(tmp_path, kind, weighting, full_sky):
    frame = map_frame(kind, weighting, 1)
    file = written(tmp_path, frame, WriteOptions(units="mK", full_sky=full_sky))
    nest = "nested" in kind
    columns, header = read_all(file, nest=nest)
    expected = planes(frame)
    assert {*columns} == {*map(column_of, expected)}
    weights = next(values for name, values in expected.items() if name.endswith("TT"))
    for plane, values in expected.items():
        found = columns[column_of(plane)]
        unseen = found == healpy.UNSEEN
        assert not np.any(values[unseen])
        if plane in ("T", "Q", "U"):  # what has no weight was not measured
            assert np.array_equal(unseen, (values == 0) & (weights == 0))
        np.testing.assert_array_equal(np.where(unseen, 0, found), values)
    assert header["ORDERING"] == ("NESTED" if nest else "RING")
    scheme = ("IMPLICIT", "FULLSKY") if full_sky else ("EXPLICIT", "PARTIAL")
    assert (header["INDXSCHM"], header["OBJECT"]) == scheme
    assert ("FIRSTPIX" in header) == ("LASTPIX" in header) == full_sky


@pytest.mark.parametrize("kind", KINDS)
def test_partial_reading_and_reordering_by_healpy(tmp_path, kind):
    """A NESTED file is read as RING, and the other way round, as healpy reorders."""
    frame = map_frame(kind, "polarized", 2)
    file = written(tmp_path, frame)
    ring = seen(healpy.read_map(file, field=0, partial=True))
    values = planes(frame)["T"]
    nside = frame["T"].nside
    if "nested" in kind:
        values = values[healpy.ring2nest(nside, np.arange(len(values)))]
    np.testing.assert_array_equal(ring, values)
    other = written(tmp_path, frame, WriteOptions(units="mK", nested="nested" not in kind))
    np.testing.assert_array_equal(seen(healpy.read_map(other, field=0, partial=True)), values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", ["polarized", "hits"])
@pytest.mark.parametrize("name", ["map.fits", "map.fits.gz"])
@pytest.mark.parametrize("full_sky", [True, False])
def test_what_was_written_is_read_as_it_was(tmp_path, kind, weighting, name, full_sky):
    frame = map_frame(kind, weighting, 3)
    options = WriteOptions(units="mK", full_sky=full_sky)
    (again,) = map_frames_in(written(tmp_path, frame, options, name))
    assert g3reduce.digest(again) == g3reduce.digest(frame)
    assert again["Id"] == frame["Id"]
    for plane, skymap in maps_by_plane(again).items():
        if plane in ("T", "Q", "U"):
            mine = maps_by_plane(frame)[plane]
            mine.pol_conv = skymap.pol_conv if weighting == "hits" else mine.pol_conv
            for attribute in ("units", "coord_ref", "weighted", "pol_type", "pol_conv", "nested"):
                assert getattr(skymap, attribute) == getattr(mine, attribute), attribute


@pytest.mark.parametrize(("units", "exponent"), [("K", 3), ("mK", 0), ("uK", -3)])
def test_units_are_scaled_out_and_named(tmp_path, units, exponent):
    frame = map_frame("healpix ring", "unweighted", 0)
    with fits.open(written(tmp_path, frame, WriteOptions(units=units))) as parts:
        data, header = parts[1].data, parts[1].header
        pixels = data["PIXEL"]
        expected = planes(frame)
        hit = expected["Wpol.TT"][pixels] != 0
        factor = float(f"1e{exponent}")
        in_file = expected["T"][pixels][hit] / factor
        np.testing.assert_array_equal(data["TEMPERATURE"][hit], in_file)
        np.testing.assert_array_max_ulp(data["II"], expected["Wpol.TT"][pixels] * factor**2, 1)
        named = {header[f"TTYPE{n}"]: header.get(f"TUNIT{n}") for n in range(1, 11)}
    assert named["TEMPERATURE"] == f"{units}_CMB"
    assert named["QU"] == f"{units}_CMB^-2"
    assert named["PIXEL"] is None
    assert header["WEIGHTED"] is False


def test_the_header_of_a_weighted_map(tmp_path):
    frame = map_frame("healpix ring", "polarized", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of checksums, too
        with fits.open(written(tmp_path, frame, WriteOptions()), checksum=True) as parts:
            parts.verify("exception")
            header, columns = parts[1].header, parts[1].columns
    assert columns.names[:4] == ["PIXEL", "TEMPERATURE", "Q_POLARISATION", "U_POLARISATION"]
    assert columns.names[4:] == ["II", "IQ", "IU", "QQ", "QU", "UU"]
    assert columns["PIXEL"].format == "I"
    assert columns["TEMPERATURE"].unit == "K_CMB^-1"
    for card, value in {
        "PIXTYPE": "HEALPIX",
        "NSIDE": 8,
        "COORDSYS": "C",
        "POLAR": True,
        "POLCCONV": "IAU",
        "BAD_DATA": -1.6375e30,
        "EXTNAME": "MAP",
        "WEIGHTED": True,
        "TISWGT2": False,
        "TISWGT5": True,
        "TISWGT10": True,
    }.items():
        assert header[card] == value, card


@pytest.mark.parametrize(("nside", "kind"), [(32, "I"), (64, "J"), (16384, "K")])
def test_pixels_have_the_smallest_integers(tmp_path, nside, kind):
    skymap = maps.HealpixSkyMap(nside, weighted=False, units=core.G3TimestreamUnits.Tcmb)
    skymap[12 * nside**2 - 1] = 2.0
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["T"] = skymap
    file = written(tmp_path, frame)
    with fits.open(file) as parts:
        assert parts[1].columns["PIXEL"].format == kind
        assert parts[1].data["PIXEL"].tolist() == [12 * nside**2 - 1]
    (again,) = map_frames_in(file)
    assert again["T"][12 * nside**2 - 1] == 2.0


def test_a_full_sky_is_packed_as_healpy_packs_it(tmp_path):
    values = np.arange(1.0, 12 * 32**2 + 1)
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["T"] = maps.HealpixSkyMap(values, weighted=False, units=core.G3TimestreamUnits.Tcmb)
    file = written(tmp_path, frame)
    theirs = str(tmp_path / "healpy.fits")
    healpy.write_map(theirs, values, coord="C", column_units="mK_CMB", dtype=np.float64)
    with fits.open(file) as mine, fits.open(theirs) as healpys:
        assert mine[1].columns["TEMPERATURE"].format == healpys[1].columns[0].format == "1024D"
        assert np.array_equal(mine[1].data["TEMPERATURE"], healpys[1].data.field(0))
        for card in ("PIXTYPE", "ORDERING", "NSIDE", "INDXSCHM", "OBJECT", "COORDSYS", "LASTPIX"):
            assert mine[1].header[card] == healpys[1].header[card], card


def test_unweighted_maps_are_those_of_spt3g(tmp_path):
    frame = map_frame("healpix ring", "polarized", 1)
    columns, header = read_all(written(tmp_path, frame, WriteOptions(units="mK", unweight=True)))
    t, q, u = (frame[key].clone(True) for key in "TQU")
    maps.remove_weights(t, q, u, frame["Wpol"])
    assert header["WEIGHTED"] is False
    for plane, skymap in (("T", t), ("Q", q), ("U", u)):
        expected = np.asarray(skymap)
        found = columns[column_of(plane)]
        solved = np.isfinite(expected)
        assert np.array_equal(found != healpy.UNSEEN, solved)
        np.testing.assert_array_equal(found[solved], expected[solved])


def test_companions_are_what_toast_looks_for(tmp_path):
    frame = map_frame("healpix ring", "hits", 1)
    files = write_maps(tmp_path / "out.fits", frame, WriteOptions(companions=True))
    assert files == [str(tmp_path / f"out_{part}.fits") for part in ("map", "invcov", "hits")]
    hits = healpy.read_map(files[2])
    np.testing.assert_array_equal(
        hits,
        planes(frame)["H"] * (hits != healpy.UNSEEN)
        + np.where(hits == healpy.UNSEEN, healpy.UNSEEN, 0),
    )
    (weights,) = map_frames_in(files[1])
    np.testing.assert_array_max_ulp(planes(weights)["Wunpol.TT"], planes(frame)["Wunpol.TT"], 2)
    with pytest.raises(g3reduce.UsageError, match="TOAST takes the values"):
        write_maps(tmp_path / "x.fits", frame, WriteOptions(units="uK", companions=True))


def test_several_maps_are_files_with_their_ids(tmp_path):
    frames = [map_frame("healpix ring", "hits", 0, name) for name in ("90GHz", "a/b", "90GHz")]
    files = write_maps(tmp_path / "out.fits", frames)
    assert files == [str(tmp_path / f"out_{one}.fits") for one in ("90GHz", "a_b", "90GHz_2")]
    assert [frame["Id"] for file in files for frame in map_frames_in(file)] == [
        *("90GHz", "a/b", "90GHz")
    ]


def test_what_a_frame_has_beside_maps_comes_back(tmp_path):
    frame = map_frame("healpix ring", "hits", 0)
    frame["Count"], frame["Text"], frame["Yes"], frame["X"] = 3, "ä \\ b ", True, 0.1
    frame["InputFiles"] = core.G3VectorString(["a.g3", "ü ", ""])
    frame["Table"] = core.G3MapVectorDouble({"a": [0.1, 2], "b": [3, float("nan")]})
    frame["Uneven"] = core.G3MapVectorString({"0": ["x"], "1": ["y", "z"]})
    frame["Split"] = core.G3MapString({"rule": "id=150GHz & early", "seed": "1"})
    frame["Beam"] = core.G3TimestreamMap()  # no table: it stays behind
    file = written(tmp_path, frame)
    (again,) = map_frames_in(file)
    assert "Beam" not in again
    for key in ("Count", "Text", "Yes", "X"):
        assert again[key] == frame[key]
        assert type(again[key]) is type(frame[key])
    assert list(again["InputFiles"]) == ["a.g3", "ü ", ""]
    assert list(again["Table"]["a"]) == [0.1, 2]
    assert np.isnan(again["Table"]["b"][1])
    assert {k: list(v) for k, v in again["Uneven"].items()} == {"0": ["x"], "1": ["y", "z"]}
    assert dict(again["Split"].items()) == {"rule": "id=150GHz & early", "seed": "1"}
    with fits.open(file) as parts:  # by hand
        assert parts["INPUTFILES"].data["value"][0] == "a.g3"


def test_spt3g_reads_maps_and_weights(tmp_path):
    """It scales maps in K_CMB to its own units, and leaves weights as they are in the file.

    Without the keys TQ and QU it would leave these out: it looks for them in the text "TQU".
    """
    frame = map_frame("healpix ring", "unweighted", 1)
    expected = planes(frame)
    found = maps.load_skymap_fits(
        written(tmp_path, frame, WriteOptions()), keys=["T", "Q", "U", "W", "TQ", "QU"]
    )
    hit = expected["Wpol.TT"] != 0
    for key in "TQU":
        values = np.asarray(found[key].clone(True))
        np.testing.assert_array_max_ulp(values[hit], expected[key][hit], 1)
        assert found[key].units == frame[key].units
        assert found[key].coord_ref == frame[key].coord_ref
    assert found["U"].pol_conv == maps.MapPolConv.IAU
    for component in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
        values = np.asarray(getattr(found["W"], component).clone(True)) / core.G3Units.K**2
        np.testing.assert_allclose(values, expected[f"Wpol.{component}"], rtol=1e-15)


def test_a_map_without_coordinates_or_convention_is_refused(tmp_path):
    frame = map_frame("healpix ring", "polarized", 0)
    for key in "QU":
        skymap = frame.pop(key)
        skymap.pol_conv = maps.MapPolConv.none
        frame[key] = skymap
    weights = frame.pop("Wpol")
    for component in ("TQ", "TU", "QQ", "QU", "UU", "TT"):
        getattr(weights, component).pol_conv = maps.MapPolConv.none
    frame["Wpol"] = weights
    skymap = frame.pop("T")
    skymap.pol_conv = maps.MapPolConv.none
    frame["T"] = skymap
    with pytest.raises(g3reduce.OutputError, match="its convention is not set"):
        written(tmp_path, frame)
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_before_stays_where_writing_fails(tmp_path):
    file = tmp_path / "map.fits"
    file.write_bytes(b"before")
    frame = map_frame("healpix ring", "no weights", 0)
    with pytest.raises(g3reduce.OutputError, match="no weights to divide"):
        write_maps(file, frame, WriteOptions(unweight=True))
    assert file.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("plane", ["T", "Wpol.TT", "Wpol.QU"])
@pytest.mark.parametrize("ending", [".fits", ".h5"])
def test_nan_does_not_become_a_number(tmp_path, plane, ending):
    """Else a value would count without its weight, or as one that was measured to be 0."""
    frame = map_frame("healpix ring", "polarized", 1)
    sky = frame["Wpol"][plane[-2:]] if "." in plane else frame[plane]
    pixel = int(np.flatnonzero(planes(frame)["T"])[0])
    sky[pixel] = np.nan
    (name,) = write_maps(tmp_path / f"map{ending}", frame, WriteOptions(units="mK"))
    (again,) = map_frames_in(name)
    for key, values in planes(frame).items():
        np.testing.assert_array_equal(planes(again)[key], values)
