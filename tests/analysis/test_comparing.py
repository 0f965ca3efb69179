"""Files of maps are compared; the numbers are numpy's."""

import json

import numpy as np
import pytest
import skies
from mapframes import changed, setting
from spt3g import core, maps

import g3reduce
from g3reduce import UsageError, cli, compare


def only(found):
    (one,) = found.maps
    return one


def spoiled(frame, seed=7):
    """The frame with other values in some pixels of T, two of which it had not hit."""
    rng = np.random.default_rng(seed)

    def change(skymap):
        values = skies.pixels(skymap).ravel()
        for pixel in rng.choice(np.flatnonzero(values), 5, replace=False).tolist():
            skymap[pixel] = values[pixel] * (1 + rng.normal() * 1e-3)
        for pixel in np.flatnonzero(values == 0)[3:5].tolist():
            skymap[pixel] = 0.25
        skymap[int(np.flatnonzero(values)[0])] = 0.0

    return changed(frame, "T", change)


@pytest.mark.parametrize("tolerance", [{}, {"rtol": 1e-3}, {"atol": 0.02}])
@pytest.mark.parametrize("kind", skies.KINDS)
def test_pixels_are_compared_as_numpy_does(kind, tolerance):
    a, b = skies.map_frame(kind, "polarized", 1), skies.map_frame(kind, "polarized", 1)
    found = compare(a, spoiled(b), **tolerance)
    one = only(found)
    assert not found.same
    assert not one.attributes
    mine, theirs = (skies.pixels(frame["T"]).ravel() for frame in (a, b))
    (t, *others) = one.planes
    assert {plane.plane for plane in others} == {*skies.maps_by_plane(a)} - {"T"}
    assert all(plane.identical and not plane.n_different for plane in others)
    difference = np.abs(mine - theirs)
    larger = np.maximum(np.abs(mine), np.abs(theirs))
    beyond = difference > tolerance.get("atol", 0) + tolerance.get("rtol", 0) * larger
    both = (mine != 0) & (theirs != 0)
    relative = np.where(both, difference / np.where(larger, larger, 1), 0)
    assert t.n_pixels == np.count_nonzero(larger)
    assert t.n_different == np.count_nonzero(beyond) > 0
    assert (t.only_a, t.only_b) == (1, 2)
    for largest, values in ((t.absolute, difference), (t.relative, relative)):
        pixel = int(np.argmax(values))
        shape = skies.pixels(a["T"]).shape
        name = ",".join(map(str, np.unravel_index(pixel, shape)))
        assert largest == (values[pixel], name, mine[pixel], theirs[pixel])


def test_what_is_within_the_tolerance_is_the_same_but_not_identical():
    a, b = (skies.map_frame("flat sparse", "hits", 1) for _ in range(2))
    changed(b, "T", lambda skymap: skymap.__imul__(1 + 1e-9))
    found = compare(a, b, rtol=1e-8)
    assert (found.same, found.identical) == (True, False)
    assert found.lines()[0] == "150GHz: the same within the tolerance"
    assert not compare(a, b, rtol=1e-10).same


@pytest.mark.parametrize(
    ("kind", "others"),
    [
        ("flat sparse", ["flat dense"]),
        ("healpix ring", ["healpix dense", "healpix indexed"]),
        ("healpix nested dense", ["healpix nested indexed"]),
    ],
)
def test_how_maps_are_stored_does_not_count(kind, others):
    for other in others:
        found = compare(skies.map_frame(kind, "hits", 2), skies.map_frame(other, "hits", 2))
        assert found.identical
        assert found.lines() == ["150GHz: the same to the bit"]


def test_nan_is_nan_and_differs_from_all_else():
    def frame(**values):
        made = skies.map_frame("flat dense", "hits", 1)
        for pixel, value in values.items():
            changed(made, "T", lambda m, p=int(pixel[1:]), v=value: m.__setitem__(p, v))
        return made

    assert compare(frame(p5=np.nan), frame(p5=np.nan)).identical
    t = only(compare(frame(p5=np.nan, p6=1.0), frame(p5=2.0, p6=np.inf), atol=1e9)).planes[0]
    assert (t.n_different, t.not_finite, t.absolute, t.identical) == (2, 2, None, False)


@pytest.mark.parametrize(
    ("key", "attributes", "line"),
    [
        ("T", {"weighted": False}, "T: weighted is True in A, False in B"),
        ("U", {"pol_conv": maps.MapPolConv.COSMO}, "U: pol_conv is IAU in A, COSMO in B"),
        ("Q", {"units": core.G3TimestreamUnits.Trj}, "Q: units is Tcmb in A, Trj in B"),
        ("Wpol", {"pol_type": maps.MapPolType.T}, "Wpol.TT, Wpol.TQ"),
        ("T", {"overflow": 2.5}, "T: overflow is 0.0 in A, 2.5 in B"),
        ("Q", {"flat_pol": True}, "Q: flat_pol is False in A, True in B"),
        ("T", {"coord_ref": maps.MapCoordReference.Galactic}, "T: coord_ref is Equatorial in A"),
        ("H", {"x_res": core.G3Units.arcmin}, "H: x_res is"),
    ],
)
def test_attributes_count(key, attributes, line):
    weighting = "hits" if key == "H" else "polarized"
    a, b = (skies.map_frame("flat sparse", weighting, 1) for _ in range(2))
    found = compare(a, changed(b, key, setting(**attributes)))
    assert not found.same
    assert any(line in text for text in found.lines())


def test_attributes_that_say_nothing_of_a_map_do_not_count():
    a, b = (skies.map_frame("flat sparse", "hits", 1) for _ in range(2))
    changed(b, "H", setting(pol_conv=maps.MapPolConv.COSMO, weighted=True, flat_pol=True))
    changed(b, "Wunpol", setting(weighted=True))
    changed(b, "T", setting(pol_conv=maps.MapPolConv.COSMO, flat_pol=True))
    assert compare(a, b).identical


def test_geometries_that_went_through_degrees_are_the_same():
    a, b = (skies.map_frame("flat sparse", "hits", 1) for _ in range(2))
    for key in ("T", "Wunpol", "H"):
        degrees = a["T"].alpha_center / core.G3Units.deg * (1 + 2e-16)
        changed(b, key, setting(alpha_center=degrees * core.G3Units.deg))
    assert a["T"].alpha_center != b["T"].alpha_center
    assert compare(a, b).identical


def test_maps_are_paired_by_id_and_place(tmp_path):
    frames = [
        skies.map_frame("flat sparse", "hits", seed, name)
        for seed, name in enumerate(["90GHz", "150GHz", "90GHz", "220GHz"])
    ]
    a = skies.write_file(tmp_path / "a.g3", frames)
    b = skies.write_file(tmp_path / "b.g3", [frames[1], frames[0], frames[2]])
    found = compare(a, b)
    assert sorted(one.frame_id for one in found.maps) == ["150GHz", "90GHz", "90GHz"]
    assert all(one.identical for one in found.maps)
    assert (found.only_a, found.only_b) == (["220GHz"], [])
    assert not found.same
    assert not compare(a, [frames[2], frames[1], frames[0], frames[3]]).same


def test_two_single_maps_are_compared_whatever_they_are_called():
    a, b = (skies.map_frame("flat sparse", "hits", 1, name) for name in ("early", "late"))
    one = only(compare(a, b))
    assert one.frame_id == "early and late"
    assert [str(each) for each in one.attributes] == ["Id, 'early' and 'late'"]


def subtracted(frame):
    return {"Coadd": -1} if frame["Id"] == "90GHz" else None


def test_ledgers_are_compared_if_asked_for(tmp_path):
    files = skies.write_files(tmp_path, 3, "flat sparse", "hits")
    a = g3reduce.coadd_files(files, map_ids="90GHz")
    copies = tmp_path / "copies"
    copies.mkdir()
    moved = skies.write_files(copies, 3, "flat sparse", "hits")
    assert compare(a, g3reduce.coadd_files(moved, map_ids="90GHz"), ledger=True).same
    fewer = g3reduce.coadd_files(files[:2], map_ids="90GHz").frame
    assert not [line for line in compare(a, fewer).lines() if "ledger" in line]
    (line,) = [line for line in compare(a, fewer, ledger=True).lines() if "ledger" in line]
    assert line == f"  ledger: only in A: {files[2]}, frame 1"
    signed = g3reduce.coadd_files(files, assign=subtracted)
    lines = only(compare(signed, a, ledger=True)).ledger
    assert len(lines) == 6
    assert lines[0].endswith("frame 1 with the sign -1")


def test_lists_of_coadds_of_spt3g_are_compared(tmp_path):
    files = skies.write_files(tmp_path, 2, "flat sparse", "hits")
    frames = []
    for some in (files, files[:1]):
        frame = skies.map_frame("flat sparse", "hits", 1)
        frame["InputFiles"] = core.G3VectorString(some)
        frames.append(frame)
    assert only(compare(*frames, ledger=True)).ledger == (f"InputFiles: only in A: {files[1]}",)


def test_the_command(tmp_path, capsys):
    frames = [skies.map_frame("healpix ring", "polarized", seed) for seed in (1, 2)]
    a = skies.write_file(tmp_path / "a.g3", frames)
    b = skies.write_file(tmp_path / "b.g3", [frames[0], spoiled(frames[1])])
    assert cli.main(["diff", a, a]) == 0
    assert capsys.readouterr().out == "150GHz: the same to the bit\n" * 2
    assert cli.main(["diff", a, b]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"A: {a}",
        f"B: {b}",
        "150GHz: the same to the bit",
        "150GHz: different",
    ]
    assert all(len(line) <= 80 for line in lines[2:])
    assert cli.main(["diff", a, b, "-q"]) == 1
    assert not capsys.readouterr().out
    assert cli.main(["diff", a, b, "--json", "--atol", "100"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["same"], data["identical"]) == (True, False)
    assert data["maps"][1]["planes"][0]["only_b"] == 2


def test_maps_under_other_names_count():
    """As variances do: a frame of nothing else is not the same as any other."""
    frames = []
    for level in (2.0, 3.0, 3.0):
        frame = core.G3Frame(core.G3FrameType.Map)
        frame["VarT"] = maps.FlatSkyMap(np.full((4, 5), level), core.G3Units.arcmin, False)
        frame["WVar"] = skies.map_frame("flat sparse", "polarized", int(level))["Wpol"]
        frame["Number"] = level
        frames.append(frame)
    two, three, again = frames
    assert compare(three, again).identical
    different = {one.plane: one.n_different for one in only(compare(two, three)).planes}
    assert different.pop("VarT") == 20
    assert set(different) == {f"WVar.{one}" for one in ("TT", "TQ", "TU", "QQ", "QU", "UU")}
    assert all(different.values())


def test_sign_flips_are_told_together(tmp_path):
    def frames(base, seeds):
        names = [base, *(f"{base}_signflip{number:03d}" for number in range(len(seeds)))]
        kinds = ("healpix ring", "hits")
        return [skies.map_frame(*kinds, seed, name) for seed, name in zip([0, *seeds], names)]  # noqa: B905

    a = [*frames("95GHz", range(30)), *frames("150GHz", range(4))]
    b = [*frames("95GHz", [*range(29), 99]), *frames("220GHz", range(9))]
    lines = compare(a, b).lines()
    assert lines[:2] == [f"{name}: the same to the bit" for name in ("95GHz", "95GHz_signflip000")]
    assert lines[2] == "95GHz_signflip029: different"
    assert lines[-3:] == [
        "28 more sign flips of 95GHz: the same to the bit",
        "only in A: 150GHz, 4 sign flips of 150GHz",
        "only in B: 220GHz, 9 sign flips of 220GHz",
    ]
    many = [skies.map_frame("flat sparse", "hits", 1, f"{number}GHz") for number in range(70)]
    (first, last) = compare(many, many[:2]).lines()[2:], compare(many[3:], many[:3]).lines()
    assert first == ["only in A: 2GHz, 3GHz, 4GHz, 5GHz, 6GHz, and 63 more"]
    assert last[1:] == ["only in B: 0GHz, 1GHz, 2GHz"]


def test_trouble_has_an_exit_code_of_its_own(tmp_path, capsys):
    a = skies.write_file(tmp_path / "a.g3", [skies.map_frame("flat sparse", "hits", 1)])
    assert cli.main(["diff", a, str(tmp_path / "none.g3")]) == 2
    assert cli.main(["diff", a, a, "--rtol", "-1"]) == 2
    assert "--rtol is -1.0; expected a number of 0 or more" in capsys.readouterr().err
    with pytest.raises(UsageError, match="atol is nan"):
        compare(a, a, atol=float("nan"))
