"""Flat-sky FITS files: what spt3g's own reader and astropy make of them, and what comes back."""

import gzip
import pathlib

import numpy as np
import pytest
import skies
from astropy.io import fits
from choices import some_of
from mapframes import changed, setting
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, OutputError, UsageError
from g3reduce.formats import WriteOptions, map_frames_in, write_maps
from g3reduce.formats.pixeltable import PixelTable
from g3reduce.formats.writing import write_tables

ENMAP = WriteOptions(style="enmap")
KINDS = ("flat sparse", "flat dense")


def written(folder, frame, options=WriteOptions()):  # noqa: B008 (it is frozen)
    file = str(folder / "map.fits")
    write_maps(file, frame, options)
    return file


def read(file, **assumed):
    (frame,) = map_frames_in(file, **assumed)
    return frame


def unweighted(frame):
    """Dense copies of maps, without their weights, by spt3g."""
    made = core.G3Frame(core.G3FrameType.Map)
    for key in skies.MAP_KEYS:
        if key in frame:
            made[key] = frame[key].clone(True)
            made[key].dense = True
    if frame["T"].weighted:
        maps.RemoveWeights(made, zero_nans=True)
    return made


@pytest.mark.parametrize("weighting", skies.WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_frames_come_back_to_the_bit(tmp_path, kind, weighting):
    frame = skies.map_frame(kind, weighting, 3)
    found = read(written(tmp_path, frame))
    theirs = skies.maps_by_plane(frame)
    for name, skymap in skies.maps_by_plane(found).items():
        skymap.sparse = kind == "flat sparse"  # what fills less than half is read as sparse
        skies.assert_same_map(skymap, theirs.pop(name), name)
    assert not theirs
    assert found["Id"] == frame["Id"]


@pytest.mark.parametrize("weighting", skies.WEIGHTINGS)
def test_spt3g_reads_them_to_the_bit(tmp_path, weighting):
    frame = skies.map_frame("flat sparse", weighting, 3)
    found = maps.load_skymap_fits(written(tmp_path, frame))
    for name in ("T", "Q", "U"):
        assert (name in found) == (name in frame)
        if name in frame:
            np.testing.assert_array_equal(np.asarray(found[name]), skies.pixels(frame[name]))
            assert found[name].compatible(frame[name])
            assert found[name].units == frame[name].units
            assert name != "U" or found[name].pol_conv == frame[name].pol_conv
    for key in ("Wpol", "Wunpol"):
        for component in frame[key].keys() if key in frame else ():
            mine = np.asarray(getattr(found["W"], component))
            np.testing.assert_array_equal(mine, skies.pixels(frame[key][component]))


@pytest.mark.parametrize("weighting", [name for name in skies.WEIGHTINGS if name != "hits"])
def test_files_of_spt3g_are_read_to_the_bit(tmp_path, weighting):
    frame = skies.map_frame("flat dense", weighting, 3)
    file = str(tmp_path / "map.fits")
    weights = next((frame[key] for key in ("Wpol", "Wunpol") if key in frame), None)
    stokes = {name: frame[name] for name in "TQU" if name in frame}
    maps.save_skymap_fits(file, W=weights, **stokes)
    found = skies.maps_by_plane(read(file))
    for name, skymap in skies.maps_by_plane(frame).items():
        np.testing.assert_array_equal(skies.pixels(found[name]), skies.pixels(skymap))
        assert found[name].compatible(skymap)
        if name in "TQU":  # spt3g writes the attributes of T only
            assert found[name].units == skymap.units
            assert found[name].weighted == skymap.weighted


def test_spt3g_itself_takes_unweighted_maps_with_weights_for_weighted_ones(tmp_path):
    # Should this fail, spt3g has mended it, and the page about formats need not warn any more.
    file = written(tmp_path, skies.map_frame("flat dense", "unweighted", 3))
    assert maps.load_skymap_fits(file)["T"].weighted
    assert not read(file)["T"].weighted


def test_units_and_headers_of_the_style_of_spt3g(tmp_path):
    with fits.open(written(tmp_path, skies.map_frame("flat dense", "hits", 3))) as hdus:
        hdus.verify("exception")
        units = {hdu.header["EXTNAME"]: hdu.header.get("BUNIT") for hdu in hdus}
    assert units == {"T": "mK^-1", "Wunpol.TT": None, "H": None} | {"Wunpol.TT": "mK^-2"}


@pytest.mark.parametrize("units", ["K", "uK"])
@pytest.mark.parametrize("weighting", ["polarized", "unpolarized", "unweighted", "hits"])
def test_style_enmap_by_astropy(tmp_path, weighting, units):
    frame = skies.map_frame("flat sparse", weighting, 3)
    file = written(tmp_path, frame, WriteOptions(style="enmap", units=units))
    kelvin = {"K": core.G3Units.K, "uK": core.G3Units.uK}[units]
    expected = unweighted(frame)
    with fits.open(file) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["BUNIT"] == units
        stokes = [name for name in "TQU" if name in frame]
        images = hdus["MAP"].data.reshape(len(stokes), *frame["T"].shape)
        for name, image in zip(stokes, images, strict=True):
            np.testing.assert_allclose(image, np.asarray(expected[name]) / kelvin, rtol=1e-15)
        if "Wpol" in frame:
            div = hdus["DIV"].data
            assert div.shape == (3, 3, *frame["T"].shape)
            for row, column in ((0, 0), (0, 2), (2, 0), (1, 2), (2, 2)):
                component = "".join(sorted("TQU"[row] + "TQU"[column], key="TQU".index))
                weights = skies.pixels(frame["Wpol"][component])
                np.testing.assert_allclose(div[row, column], weights * kelvin**2, rtol=1e-15)
        if "H" in frame:
            np.testing.assert_array_equal(hdus["HITS"].data, skies.pixels(frame["H"]))


@pytest.mark.parametrize("weighting", ["polarized", "unpolarized", "unweighted", "hits"])
@pytest.mark.parametrize("companions", [False, True])
def test_style_enmap_comes_back(tmp_path, weighting, companions):
    frame = skies.map_frame("flat sparse", weighting, 3)
    file = str(tmp_path / "map.fits")
    files = write_maps(file, frame, WriteOptions(style="enmap", companions=companions))
    assert len(files) == (2 + ("H" in frame) if companions else 1)
    found = read(files[0])
    assert not found["T"].weighted
    theirs = skies.maps_by_plane(unweighted(frame))
    for name, skymap in skies.maps_by_plane(found).items():
        np.testing.assert_allclose(skies.pixels(skymap), skies.pixels(theirs[name]), rtol=1e-15)
        assert skymap.compatible(theirs[name])
    assert found["Id"] == frame["Id"]
    assert found["T"].pol_conv == frame["T"].pol_conv


def test_weighted_maps_without_weights_cannot_be_in_the_style_of_pixell(tmp_path):
    with pytest.raises(OutputError, match="no weights to divide them by"):
        written(tmp_path, skies.map_frame("flat sparse", "no weights", 3), ENMAP)
    frame = skies.map_frame("flat sparse", "unweighted", 3)
    for key in ("T", "Q", "U", "Wpol"):
        changed(frame, key, setting(pol_conv=maps.MapPolConv.names["none"]))
    with pytest.raises(OutputError, match="convention is not set"):
        written(tmp_path, frame, ENMAP)


def _image(file, shape=(3, 5, 6), unit="K", **cards):
    """A file as pixell and TOAST write it: CAR, without a word about Stokes parameters."""
    header = fits.Header()
    if unit is not None:
        header["BUNIT"] = unit
    for axis, (name, at, step) in enumerate((("RA---CAR", 3.0, -0.5), ("DEC--CAR", 41.0, 0.5)), 1):
        header[f"CTYPE{axis}"], header[f"CRPIX{axis}"], header[f"CDELT{axis}"] = name, at, step
        header[f"CUNIT{axis}"], header[f"CRVAL{axis}"] = "deg", 10.0 * (axis == 1)
    header.update(cards)
    pixels = np.arange(1.0, np.prod(shape) + 1).reshape(shape)
    fits.writeto(file, pixels, header, overwrite=True)
    return pixels


STOKES = {"CTYPE3": "STOKES", "CRPIX3": 1.0, "CRVAL3": 1.0, "CDELT3": 1.0}


def test_what_headers_do_not_say_is_asked_for(tmp_path):
    file = str(tmp_path / "map.fits")
    pixels = _image(file, unit=None, **STOKES)
    with pytest.raises(InputError, match=r"does not say its units .*input_units="):
        read(file, pol_conv="IAU")
    with pytest.raises(InputError, match=r"the polarization convention .*input_pol_conv="):
        read(file, units="uK")
    frame = read(file, units="uK", pol_conv="COSMO")
    assert frame["U"].pol_conv == maps.MapPolConv.COSMO
    assert frame["Id"] == "map"
    np.testing.assert_array_equal(skies.pixels(frame["U"]), pixels[2] / 1000)
    assert read(file, units="uK", pol_conv="iau")["U"].pol_conv == maps.MapPolConv.IAU


def test_what_headers_say_is_not_overruled(tmp_path):
    file = str(tmp_path / "map.fits")
    pixels = _image(file, unit="K", POLCCONV="COSMO", **STOKES)
    frame = read(file, units="uK", pol_conv="IAU")
    assert frame["U"].pol_conv == maps.MapPolConv.COSMO
    np.testing.assert_array_equal(skies.pixels(frame["U"]), pixels[2] * 1000)


def test_order_of_the_stokes_axis(tmp_path):
    file = str(tmp_path / "map.fits")
    backwards = STOKES | {"CRVAL3": 3.0, "CDELT3": -1.0}
    pixels = _image(file, POLCCONV="IAU", **backwards)
    np.testing.assert_array_equal(skies.pixels(read(file)["T"]), pixels[2] * 1000)


@pytest.mark.parametrize("layout", [(3, 3), (6,), (3,)])
@pytest.mark.parametrize(
    ("of_map", "of_weights"),
    [("_wmap", "_weights"), ("_map", "_invcov"), ("_noiseweighted_map", "_invcov"), ("", "_div")],
)
def test_weights_and_hits_beside_the_map(tmp_path, of_map, of_weights, layout):
    file = str(tmp_path / f"a{of_map}.fits")
    weighted = of_map in ("_wmap", "_noiseweighted_map")
    pixels = _image(file, unit="1 / K" if weighted else "K")
    weights = _image(tmp_path / f"a{of_weights}.fits", (*layout, 5, 6), "K^-2")
    hits = _image(tmp_path / "a_hits.fits", (1, 5, 6), "hits")
    frame = read(file, pol_conv="COSMO")
    assert frame["T"].weighted == weighted
    scale = 1 / 1000 if weighted else 1000
    np.testing.assert_allclose(skies.pixels(frame["Q"]), pixels[1] * scale, rtol=1e-15)
    at = {(3, 3): (1, 2), (6,): 4, (3,): None}[layout]
    expected = 0 if at is None else weights[at] / 1e6
    np.testing.assert_allclose(skies.pixels(frame["Wpol"].QU), expected, rtol=1e-15)
    last = {(3, 3): (2, 2), (6,): 5, (3,): 2}[layout]
    np.testing.assert_allclose(skies.pixels(frame["Wpol"].UU), weights[last] / 1e6, rtol=1e-15)
    np.testing.assert_array_equal(skies.pixels(frame["H"]), hits[0])


@pytest.mark.parametrize(
    ("shape", "unit", "message"),
    [
        ((4, 5, 6), "K", "expected T alone, or T, Q and U"),
        ((3, 3, 5, 6), "K^-2", "expected T alone, or T, Q and U"),
        ((3, 5, 6), "K^-2", "by their unit .* these are weights; expected a map"),
        ((5, 6), "MJy/sr", "the unit is 'MJy/sr'"),
    ],
)
def test_what_is_no_map(tmp_path, shape, unit, message):
    file = str(tmp_path / "a.fits")
    _image(file, shape, unit)
    with pytest.raises(InputError, match=message):
        read(file, pol_conv="IAU")


def test_weights_that_do_not_fit(tmp_path):
    file = str(tmp_path / "a_map.fits")
    _image(file)
    _image(tmp_path / "a_ivar.fits", (5, 6), "K^-2")
    with pytest.raises(InputError, match=r"a_ivar\.fits, HDU 0: the image of weights has the sh"):
        read(file, pol_conv="IAU")
    _image(tmp_path / "a_div.fits", (6, 5, 6), "K")
    with pytest.raises(InputError, match="expected the inverse square of a temperature"):
        read(file, pol_conv="IAU")
    _image(tmp_path / "a_div.fits", (6, 5, 6), "K^-2", POLCCONV="COSMO")
    with pytest.raises(InputError, match="another polarization convention"):
        read(file, pol_conv="IAU")


def test_files_that_are_broken(tmp_path):
    file = tmp_path / "map.fits"
    _image(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:3000])
    with pytest.raises(InputError, match=r"map\.fits, HDU 0: its pixels cannot be read"):
        read(str(file), pol_conv="IAU")
    file.write_bytes(b"SIMPLE" + whole[100:500])
    with pytest.raises(InputError, match=r"map\.fits: "):
        read(str(file), pol_conv="IAU")


def test_what_a_coadd_says_of_its_input_goes_along(tmp_path, survey):
    coadd = g3reduce.coadd_files(survey(2, "flat sparse", "polarized"), map_ids="90GHz").frame
    for style in ("spt3g", "enmap"):
        file = written(tmp_path, coadd, WriteOptions(style=style))
        found = read(file)
        for key in ("InputFiles", "InputMapIds"):
            assert list(found[key]) == list(coadd[key])
        for key in ("Ledger", "LedgerNumbers"):
            for column in coadd[key].keys():  # noqa: SIM118
                assert list(found[key][column]) == list(coadd[key][column])
    file = written(tmp_path, coadd)
    spt3gs = maps.load_skymap_fits(file)  # it goes past the tables
    np.testing.assert_array_equal(np.asarray(spt3gs["U"]), skies.pixels(coadd["U"]))
    assert spt3gs["U"].pol_conv == coadd["U"].pol_conv
    with fits.open(file) as hdus:
        hdus.verify("exception")


@pytest.mark.parametrize("style", ["spt3g", "enmap"])
def test_compressed_files_hold_the_same(tmp_path, style):
    frame = skies.map_frame("flat sparse", "polarized", 3)
    options = WriteOptions(style=style)
    plain, zipped = (str(tmp_path / f"map.fits{ending}") for ending in ("", ".gz"))
    assert write_maps(plain, frame, options) == [plain]
    assert write_maps(zipped, frame, options) == [zipped]
    assert gzip.decompress(pathlib.Path(zipped).read_bytes()) == pathlib.Path(plain).read_bytes()


def test_the_style_of_spt3g_is_in_mk(tmp_path):
    frame = skies.map_frame("flat sparse", "polarized", 3)
    with pytest.raises(UsageError, match="spt3g reads values as mK"):
        written(tmp_path, frame, WriteOptions(units="uK"))


def test_pixels_that_cannot_be_divided(tmp_path):
    frame = skies.map_frame("flat dense", "unpolarized", 3)
    values, weights = np.asarray(frame["T"]), np.asarray(frame["Wunpol"].TT)
    values[0, :3], weights[0, :3] = (np.nan, 5, np.inf), (2, 0, 2)
    with fits.open(written(tmp_path, frame, ENMAP)) as hdus:
        np.testing.assert_array_equal(hdus[0].data[0, :3], [np.nan, 0, np.inf])


@pytest.mark.ranks(*some_of((2, 3), fewer=(2,)))
@pytest.mark.parametrize("style", ["spt3g", "enmap"])
def test_ranks_write_their_shards(comm, survey, shared_folder, style):
    files = survey(3, "flat sparse", "polarized")
    whole = g3reduce.coadd_files(files, mpicomm=comm, result="all", map_ids="90GHz").frame
    parts = g3reduce.coadd_files(files, mpicomm=comm, result="sharded", map_ids="90GHz")
    (name,) = parts.shards
    outline = core.G3Frame(core.G3FrameType.Map)
    outline["Id"] = whole["Id"]
    for key in ("InputMapIds", "InputFiles", "Ledger", "LedgerNumbers"):
        outline[key] = whole[key]
    table = PixelTable.of_shard(outline, parts.shards[name])
    file, other = (str(shared_folder / f"{one}.fits") for one in ("parts", "whole"))
    options = WriteOptions(style=style)
    write_tables(file, [table], options, comm, sharded=True)
    if comm.rank == 0:
        write_maps(other, whole, options)
        with fits.open(file) as mine, fits.open(other) as theirs:
            mine.verify("exception")
            assert len(mine) == len(theirs)
            for one, another in zip(mine, theirs, strict=True):
                if one.is_image:  # the tables come in any order
                    assert one.header == another.header
                    np.testing.assert_array_equal(skies.bits(one.data), skies.bits(another.data))


@pytest.mark.parametrize(
    ("card", "value"),
    [("NAXIS1", 99999999999), ("NAXIS2", -5), ("NAXIS", 10**12), ("NAXIS1", "x")],
)
def test_headers_that_ask_for_too_much(tmp_path, card, value):
    file = tmp_path / "map.fits"
    _image(file)
    raw = bytearray(file.read_bytes())
    at = raw.index(card.ljust(8).encode() + b"=")
    raw[at + 10 : at + 80] = repr(value).ljust(70).encode()
    file.write_bytes(raw)
    with pytest.raises(InputError, match=r"map\.fits"):
        read(str(file), pol_conv="IAU")


def test_the_name_of_a_map_tells_that_it_is_weighted_where_its_header_has_no_unit(tmp_path):
    for name, weighted in (("a_wmap", True), ("b_noiseweighted_map", True), ("c_map", False)):
        file = str(tmp_path / f"{name}.fits")
        pixels = _image(file, unit=None)
        frame = read(file, units="K", pol_conv="COSMO")
        assert frame["T"].weighted == weighted
        expected = pixels[0] / 1000 if weighted else pixels[0] * 1000
        np.testing.assert_array_equal(skies.pixels(frame["T"]), expected)
