"""Where pixels are: spt3g's own positions against those that astropy finds by the header."""

import itertools

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from spt3g import core, maps

from g3reduce import InputError, OutputError
from g3reduce.maps.wcs import geometry_in, wcs_cards

DEG = core.G3Units.deg
ZENITHAL = ("ProjSIN", "ProjARC", "ProjSTG", "ProjZEA", "ProjTAN")
CYLINDRICAL = ("ProjSFL", "ProjCAR", "ProjCEA", "ProjBICEP")
COORDS = ("Equatorial", "Galactic", "Local")


def flat(proj, delta, coord="Equatorial", alpha=351.1, **more):
    return maps.FlatSkyMap(
        *(12, 9, 0.7 * DEG),
        proj=maps.MapProjection.names[proj],
        alpha_center=alpha * DEG,
        delta_center=delta * DEG,
        coord_ref=maps.MapCoordReference.names[coord],
        **more,
    )


def header_of(skymap, *, own=True):
    header = fits.Header()
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, *skymap.shape[::-1]
    for name, value in wcs_cards(skymap, "map"):
        if own or name not in ("PROJ", "ALPHA0", "DELTA0", "X0", "Y0"):
            header[name] = value
    return fits.Header.fromstring(header.tostring())


def directions(alpha, delta):
    return np.stack(
        [np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1
    )


def apart(skymap, header):
    """How far each pixel's centre is from where astropy finds it, in radians."""
    y, x = np.indices(skymap.shape).reshape(2, -1)
    mine = np.array([skymap.pixel_to_angle(int(pixel)) for pixel in range(skymap.size)]).T
    theirs = np.radians(WCS(header).wcs_pix2world(np.stack([x, y], axis=1), 0)).T
    return np.linalg.norm(directions(*mine) - directions(*theirs), axis=1)


ODD = ({}, {"x_center": 3.25, "y_center": -7.5}, {"x_res": -0.4 * DEG})


@pytest.mark.parametrize(
    ("proj", "delta"),
    [
        *itertools.product(ZENITHAL, (0, 20, -57.5, 90, -90)),
        *itertools.product(CYLINDRICAL, (0, 20, -57.5)),
    ],
)
def test_pixels_are_where_spt3g_has_them(proj, delta):
    for coord, more in zip(COORDS, ODD, strict=True):
        skymap = flat(proj, delta, coord, **more)
        offsets = apart(skymap, header_of(skymap))
        assert np.nanmax(offsets) < 1e-12, (coord, more)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("proj", [*ZENITHAL, *CYLINDRICAL])
def test_geometry_comes_back(proj, own):
    for coord, more in zip(COORDS, ODD, strict=True):
        skymap = flat(proj, 20, coord, **more)
        if proj == "ProjBICEP" and not own:
            continue  # only its name tells it from a CAR of narrower pixels
        found = geometry_in(header_of(skymap, own=own), "map")
        assert found.coord_ref == skymap.coord_ref
        assert found.shape == skymap.shape
        if own or proj in ZENITHAL:
            assert found.compatible(skymap)
            assert found.proj == skymap.proj
        assert np.nanmax(apart(found, header_of(skymap))) < 1e-12


@given(
    proj=st.sampled_from(ZENITHAL + CYLINDRICAL),
    alpha=st.floats(-360, 360),
    delta=st.floats(-80, 80),
)
def test_geometry_comes_back_from_anywhere(proj, alpha, delta):
    skymap = flat(proj, delta, alpha=alpha)
    assert geometry_in(header_of(skymap), "map").compatible(skymap)


def test_names_of_spt3g_that_are_out_of_date_do_not_count():
    header = header_of(flat("ProjZEA", -50))
    header["CRPIX1"] -= 3  # as of a part that was cut out by another program
    found = geometry_in(header, "map")
    assert found.x_center == header["CRPIX1"] - 1
    assert np.nanmax(apart(found, header)) < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CTYPE1": "RA---AIT", "CTYPE2": "DEC--AIT"}, "the projection AIT is none"),
        ({"CTYPE1": "ELON-ZEA", "CTYPE2": "ELAT-ZEA"}, "coordinates are ELON"),
        ({"RADESYS": "FK4"}, "coordinates are RA FK4"),
        ({"CTYPE1": "", "CTYPE2": ""}, "expected longitude and latitude"),
        ({"CTYPE1": "DEC--ZEA", "CTYPE2": "RA---ZEA"}, "its WCS cannot be used"),
        ({"PC1_2": 0.1}, "axes that are turned"),
        ({"LONPOLE": 150.0}, "axes that are turned"),
        ({"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR"}, "axes that are turned"),  # a tilted one
        ({"CTYPE1": "RA---FOO", "CTYPE2": "DEC--ZEA"}, "its WCS cannot be used"),
    ],
)
def test_refusals(change, message):
    header = header_of(flat("ProjZEA", -50))
    header.update(change)
    with pytest.raises(InputError, match=message):
        geometry_in(header, "map")


@pytest.mark.parametrize("proj", ["Proj8", "ProjNone"])
def test_what_fits_has_no_name_for(proj):
    with pytest.raises(OutputError, match=f"no name for the projection {proj}"):
        wcs_cards(flat(proj, 0), "map")
