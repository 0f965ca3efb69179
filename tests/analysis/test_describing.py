"""What is told of a file: against healpy's pixel areas, geometry, and noise that was put in."""

import json
import math

import healpy
import noisemaps
import numpy as np
import pytest
import skies
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, UsageError, cli, info
from g3reduce.maps.solidangles import solid_angles

ARCMIN, DEGREE = core.G3Units.arcmin, core.G3Units.deg


def described(tmp_path, *frames):
    (one,) = info(skies.write_file(tmp_path / "maps.g3", frames)).maps
    return one


@pytest.mark.parametrize("nest", [False, True])
def test_sky_area_and_depth_of_a_healpix_map(tmp_path, nest):
    """White noise of 10 uK arcmin in T, and of sqrt(2) times that in Q and U."""
    nside, pixels = 64, np.arange(4000, 5000)
    area = healpy.nside2pixarea(nside, degrees=True)
    weights = np.zeros((6, 1000))
    weights[0] = area * 3600 / 10**2
    weights[[3, 5]] = weights[0] / 2
    weights[0, 900:] /= 4  # 20 uK arcmin
    weights[:, 990:] = 0
    ones = np.ones(1000)
    frame = g3reduce.map_frame(
        *(ones, ones, ones),
        weights=weights,
        hits=np.where(np.arange(1000) == 5, 7, 3),
        units="uK",
        coord="G",
        pol_conv="COSMO",
        weighted=True,
        nside=nside,
        pixels=pixels,
        nest=nest,
        map_id="95GHz",
    )
    one = described(tmp_path, frame)
    assert (one.frame_id, one.planes, one.pixels) == ("95GHz", ("T", "Q", "U", "Wpol", "H"), 990)
    assert one.sky_area_deg2 == pytest.approx(990 * area, rel=1e-12)
    assert one.sky_fraction == pytest.approx(990 / healpy.nside2npix(nside), rel=1e-12)
    assert one.depth_t == pytest.approx((10, 10, 10), rel=1e-9)
    assert one.depth_p == pytest.approx((10 * math.sqrt(2),) * 3, rel=1e-9)
    assert one.hits == (3, 3, 7, 3004)
    assert one.geometry["ordering"] == ("NESTED" if nest else "RING")
    resolution = healpy.nside2resol(nside, arcmin=True)
    assert one.geometry["resolution_arcmin"] == pytest.approx(resolution, rel=1e-12)
    assert (one.units, one.coord, one.pol_conv, one.weighted) == ("Tcmb", "Galactic", "COSMO", True)


def flat(projection, n, res, **options):
    place = {"alpha_center": 0.3, "delta_center": 0.0} | options
    return maps.FlatSkyMap(n, n, res, proj=getattr(maps.MapProjection, projection), **place)


def total(stub):
    return solid_angles(stub, np.arange(stub.size)).sum()


def test_solid_angles_of_flat_maps():
    """The whole of a map has the area of its outline on the sky."""
    res, n = 0.1 * DEGREE, 200
    half = n * res / 2
    exact = {
        "ProjCAR": 2 * half * 2 * math.sin(half),
        "ProjTAN": 4 * math.asin(half**2 / (1 + half**2)),
        "ProjZEA": (2 * half) ** 2,
        "ProjCEA": (2 * half) ** 2,
        "ProjSFL": (2 * half) ** 2,
    }
    for projection, area in exact.items():
        assert total(flat(projection, n, res)) == pytest.approx(area, rel=1e-5), projection
    # A square of the sphere has the same area in whatever projection, near enough to its middle.
    for projection in ("ProjSIN", "ProjARC", "ProjSTG"):
        stub = flat(projection, 10, 0.01 * DEGREE, delta_center=-1.0)
        assert total(stub) == pytest.approx((0.1 * DEGREE) ** 2, rel=1e-5), projection


def test_a_flat_map(tmp_path):
    frame = skies.map_frame("flat sparse", "hits", 1)
    one = described(tmp_path, frame)
    weights = skies.pixels(frame["Wunpol"].TT)
    n_hit = np.count_nonzero(weights)
    assert one.pixels == n_hit
    assert one.sky_area_deg2 == pytest.approx(n_hit * 0.25, rel=1e-12)
    noise = 30 / np.sqrt(weights[weights > 0] * core.G3Units.uK**2)
    assert one.depth_t.median == pytest.approx(np.median(noise), rel=1e-12)
    assert one.depth_t.low == pytest.approx(np.percentile(noise, 10), rel=1e-12)
    assert one.depth_p is None
    assert one.lines()[1].endswith(
        "flat sky, 30 x 20 pixels of 30', ZEA at 10, -50 deg; Equatorial"
    )


def test_depths_are_those_of_the_inverse_of_weights(tmp_path):
    """Against numpy's inverse, with weights that correlate T, Q and U."""
    rng, n = np.random.default_rng(4), 48
    weights = noisemaps.weights_for(rng, n)  # in the units of G3
    stub = maps.HealpixSkyMap(2, coord_ref=maps.MapCoordReference.Equatorial)
    for attribute, value in (("units", core.G3TimestreamUnits.Tcmb), ("weighted", True)):
        setattr(stub, attribute, value)
    frame = noisemaps.frame_of(stub, np.arange(n), np.ones((n, 3)), weights, kind="dense")
    one = described(tmp_path, frame)
    covariance = np.linalg.inv(weights) / core.G3Units.uK**2
    area = healpy.nside2pixarea(2, degrees=True) * 3600
    t = np.median(np.sqrt(area * covariance[:, 0, 0]))
    p = np.median(np.sqrt(area * (covariance[:, 1, 1] + covariance[:, 2, 2]) / 2))
    assert (one.depth_t.median, one.depth_p.median) == pytest.approx((t, p), rel=1e-9)


def test_sign_flips_have_one_line(tmp_path):
    files = skies.write_files(tmp_path, 4, "flat sparse", "hits", map_ids=("90GHz",))
    coadd = str(tmp_path / "coadd.g3")
    flips = g3reduce.splits.by("id") * g3reduce.splits.signflips(12, seed=1)
    g3reduce.coadd_files(files, coadd, assign=flips)
    found = info(coadd)
    assert len(found.maps) == 13
    assert found.lines()[-1] == "  90GHz_signflip000 to 90GHz_signflip011: 12 sign flips of 90GHz"
    assert sum("signflip" in line for line in found.lines()) == 1


def test_weights_that_cannot_be_weights_have_no_depth(tmp_path):
    frame = skies.map_frame("flat sparse", "hits", 1)
    weights = frame.pop("Wunpol")
    weights.TT *= -1
    frame["Wunpol"] = weights
    assert described(tmp_path, frame).depth_t is None
    other = skies.map_frame("flat sparse", "hits", 1)
    skymap = other.pop("T")
    skymap.units = core.G3TimestreamUnits.Power
    other["T"] = skymap
    assert described(tmp_path, other).depth_t is None


def test_maps_without_weights(tmp_path):
    sky = np.where(np.arange(192) < 100, np.nan, 1.0)
    skymap = maps.HealpixSkyMap(sky, nested=False, weighted=False)
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["T"] = skymap
    one = described(tmp_path, frame)
    assert (one.pixels, one.hits, one.depth_t, one.ledger) == (92, None, None, None)
    assert one.lines()[0] == "without an Id (frame 0): T"


def test_the_ledger_in_short(tmp_path):
    files = skies.write_files(tmp_path, 3, "flat sparse", "hits")
    (tmp_path / "broken.g3").write_bytes(b"nonsense")
    coadd = str(tmp_path / "coadd.g3")
    g3reduce.coadd_files(
        [*files, str(tmp_path / "broken.g3")],
        coadd,
        assign=lambda frame: {"all": -1 if frame["Id"] == "90GHz" else 1},
        on_error="skip",
    )
    (one,) = info(coadd).maps
    assert one.ledger == (6, 3, 3, "field/1000", "field/1002", 3, 1, "", "")
    for time, begin, end in (
        ("spt", "2017-01-01T00:16:40", "2017-01-01T00:16:42"),
        ("ctime", "1970-01-01T00:16:40", "1970-01-01T00:16:42"),
    ):
        (timed,) = info(coadd, time=time).maps
        assert timed.ledger[-2:] == (begin, end)
        assert f"begun {begin} to {end}" in " ".join(" ".join(timed.lines()).split())
    with pytest.raises(UsageError, match="time is 'mjd'; expected one of spt, ctime"):
        info(coadd, time="mjd")
    text = " ".join(" ".join(one.lines()).split())
    assert (
        "6 frames of 3 files, 3 observations (field/1000 to field/1002), 3 subtracted; 1 left out"
        in text
    )


def test_other_frames_are_counted(tmp_path):
    frames = [core.G3Frame(core.G3FrameType.Observation), core.G3Frame(core.G3FrameType.Scan)]
    frames[0]["SourceName"], frames[0]["ObservationID"] = "field", 17
    frames.append(core.G3Frame(core.G3FrameType.Scan))
    file = skies.write_file(tmp_path / "scans.g3.gz", frames)
    found = info(file)
    assert (found.frames, found.observations) == ({"Observation": 1, "Scan": 2}, ["field/17"])
    assert found.lines()[0].endswith("bytes; frames: 1 Observation, 2 Scan")
    empty = core.G3Frame(core.G3FrameType.Map)
    one = described(tmp_path, empty)
    assert (one.planes, one.lines()) == ((), ["without an Id (frame 0): no maps"])


def test_maps_under_other_names(tmp_path):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "150GHz"
    frame["Noise"] = core.G3MapString({"realisations": "7"})
    frame["VarT"] = maps.FlatSkyMap(np.eye(4), core.G3Units.deg, False)
    one = described(tmp_path, frame)
    assert (one.planes, one.pixels, one.record) == (("VarT",), 4, {"realisations": "7"})
    assert one.sky_area_deg2 == pytest.approx(4)  # it has no projection
    assert one.lines()[0] == "150GHz (frame 0): VarT"
    assert "  realisations 7" in one.lines()


def test_maps_of_other_formats(tmp_path):
    frame = skies.map_frame("healpix ring", "hits", 1)
    for name in ("maps.h5", "maps.fits"):
        file = str(tmp_path / name)
        g3reduce.formats.write_maps(file, frame)
        found = info(file)
        assert found.frames == {"Map": 1}
        assert found.maps[0].pixels == np.count_nonzero(skies.pixels(frame["Wunpol"].TT))


def test_the_command(tmp_path, capsys):
    frames = [skies.map_frame(kind, "hits", 1) for kind in skies.KINDS]
    a = skies.write_file(tmp_path / "a.g3", frames)
    assert cli.main(["info", a, a]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if a not in line) <= 80
    assert sum("150GHz (frame 3): T, Wunpol, H" in line for line in lines) == 2
    assert cli.main(["info", "--json", a]) == 0
    (data,) = json.loads(capsys.readouterr().out)
    assert [one["storage"] for one in data["maps"]][:3] == ["sparse", "dense", "dense"]
    assert data["maps"][0]["hits"]["most"] > 1
    assert cli.main(["info", str(tmp_path / "none.g3")]) == 1
    with pytest.raises(InputError):
        info(tmp_path / "none.g3")
