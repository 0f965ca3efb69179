"""A look at files says the same on any number of ranks, and what the adding would say."""

import os

import faultyseason
import pytest
import skies
from choices import ALL as ALL_TESTS
from choices import some_of
from faults import rewrite
from spt3g import core, maps

import g3reduce
from g3reduce.jobs.choosing import Choice, look_at
from g3reduce.jobs.manifest import Expected, lines_of_manifest, read_manifest
from g3reduce.mpi import OneProcess, communicators

# With 42 there are faults of every kind.
N_FILES = 42 if ALL_TESTS else 22


def without_estimates(checked):
    return [line for line in checked.lines() if not line.startswith("Estimate")]


@pytest.mark.ranks(*some_of([1, 2, 3, 5], fewer=[1, 3]))
def test_the_report_is_the_same_and_true(comm, shared_folder, on_first):
    season = on_first(lambda: faultyseason.make(shared_folder, N_FILES, 5, share=0.8))
    options = {"collate": True, "nonfinite": "error", "deep": True}
    checked = g3reduce.check_files(season.files, mpicomm=comm, **options)
    files = [checked.seen.files[at].name for at in checked.seen.bad]
    assert sorted(files) == sorted([*season.bad, *season.again])
    assert not checked.is_fine
    assert len({*map(tuple, comm.allgather(without_estimates(checked)))}) == 1
    told = {file.name: file.faults for file in checked.seen.files if file.problems}
    assert all("no map in it" in told[file] for file in season.without_maps)
    assert all("only a manifest says" in told[file] for file in season.short)
    if comm.rank == 0:
        alone = g3reduce.check_files(season.files, mpicomm=OneProcess(), **options)
        assert without_estimates(alone) == without_estimates(checked)
    good = [file for file in season.good if file not in season.without_maps]
    assert g3reduce.check_files(good, mpicomm=comm, **options).is_fine


@pytest.mark.ranks(3)
def test_what_is_in_files_is_on_the_root_alone(comm, shared_folder, on_first):
    """The others are told what it concludes, and of errors of that."""
    files = on_first(lambda: skies.write_files(shared_folder, 4, "flat sparse", "polarized"))
    comm = communicators.private(comm)
    terms, called = g3reduce.MPIMapCoadder(comm, collate=True).terms, []

    def conclude(seen):
        called.append(comm.rank)
        return [file.n_maps for file in seen.files]

    assert look_at(comm, files, terms, Choice(check=True), conclude, root=1) == [2, 2, 2, 2]
    assert called == [1] * (comm.rank == 1)

    def refuse(seen):
        raise g3reduce.InputError("no", fault="none of them")

    with pytest.raises(g3reduce.InputError) as caught:
        look_at(comm, files, terms, Choice(check=True), refuse)
    assert caught.value.fault == "none of them"


def odd(change):
    def fault(frames):
        for frame in frames:
            if frame.type == core.G3FrameType.Map:
                change(frame)

    return fault


def without(*keys):
    return odd(lambda frame: [frame.pop(key) for key in keys])


def with_attribute(keys, **attributes):
    def change(frame):
        for key in keys:
            value = frame.pop(key)
            parts = [value] if key != "Wpol" else [*skies.maps_by_plane({key: value}).values()]
            for part in parts:
                for name, attribute in attributes.items():
                    setattr(part, name, attribute)
            frame[key] = value

    return odd(change)


ALL = ("T", "Q", "U", "Wpol")
MISFITS = {
    "units": (with_attribute("TQU", units=core.G3TimestreamUnits.Power), "Power, the other 2 Tcmb"),
    "sky": (
        with_attribute(ALL, coord_ref=maps.MapCoordReference.Local),
        "has Local, the other 2 Equatorial (coordinate system)",
    ),
    "resolution": (with_attribute(ALL, x_res=0.5), "(x_res)"),
    "convention": (
        with_attribute(ALL, pol_conv=maps.MapPolConv.COSMO),
        "has COSMO, the other 2 IAU (convention of polarization of ",
    ),
    "weights": (without("Wpol"), "has no Wpol.QQ, the other 2 Wpol.QQ"),
    "weighting": (with_attribute("TQU", weighted=False), ""),
    "none": (odd(lambda frame: None), ""),
}


@pytest.mark.parametrize("misfit", MISFITS)
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_odd_one_is_the_one_that_cannot_be_added(tmp_path, misfit, place, weighted):
    """Wherever it stands: what the survey says is what adding says."""
    files = skies.write_files(tmp_path, 3, "flat sparse", "polarized", map_ids=("90GHz",))
    change, fault = MISFITS[misfit]
    rewrite(files[place], change)
    options = {"weighted": weighted, "mpicomm": OneProcess()}
    checked = g3reduce.check_files(files, **options)
    try:
        g3reduce.coadd_files(files, **options)
    except g3reduce.MismatchError:
        assert [*checked.seen.bad] == [place]
        assert fault in checked.seen.bad[place].fault
    else:
        assert checked.is_fine


def test_only_what_goes_into_one_coadd_must_agree(tmp_path):
    files = skies.write_files(tmp_path, 3, "flat sparse", "polarized")
    rewrite(files[1], lambda frames: MISFITS["units"][0](frames[1:2]))  # the map of 90 GHz
    check = g3reduce.check_files
    assert [*check(files, mpicomm=OneProcess(), map_ids="90GHz").seen.bad] == [1]
    assert check(files, mpicomm=OneProcess(), map_ids="150GHz").is_fine
    assert [*check(files, mpicomm=OneProcess(), collate=True).seen.bad] == [1]


def test_an_observation_with_other_content_is_told(tmp_path):
    (tmp_path / "again").mkdir()
    files = skies.write_files(tmp_path, 2, "flat sparse", "polarized")
    (other,) = skies.write_files(tmp_path / "again", 1, "flat sparse", "polarized", seed=1, start=1)
    checked = g3reduce.check_files([*files, other], mpicomm=OneProcess(), collate=True)
    assert checked.is_fine
    fault = f"field/1001 is also in {files[1]}, with other content"
    assert [file.faults for file in checked.seen.files] == ["", "", fault]
    for choice, fine in (("sum", True), ("error", False)):
        options = {"collate": True, "same_observation": choice, "mpicomm": OneProcess()}
        assert g3reduce.check_files([*files, other], **options).is_fine == fine


def test_a_manifest_says_what_files_do_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = skies.write_files(".", 2, "flat sparse", "polarized")
    manifest = tmp_path / "MANIFEST"
    manifest.write_text("\n".join(lines_of_manifest([(f, 3) for f in files], with_sha256=True)))
    assert {*read_manifest(str(manifest))} == {os.path.normpath(file) for file in files}
    assert g3reduce.check_files(files, mpicomm=OneProcess(), manifest=manifest).is_fine
    with open(files[0], "ab") as stream:
        stream.write(bytes(1))
    rewrite(files[1], list.pop)
    checked = g3reduce.check_files(files, mpicomm=OneProcess(), manifest=manifest)
    assert [*checked.seen.bad] == [0, 1]
    assert checked.seen.bad[1].fault == "2 frames in place of 3"
    with pytest.raises(g3reduce.InputError, match="All 2 files cannot be used"):
        g3reduce.coadd_files(files, mpicomm=OneProcess(), manifest=manifest)
    for text in ("three obs.g3\n", "12\n", "ff obs.g3\n", "\0\1"):
        manifest.write_text(text)
        with pytest.raises(g3reduce.InputError, match=r"line 1: .* is no line of a manifest"):
            read_manifest(str(manifest))
    manifest.write_text(f"# all\n\n3  ./a b.g3\n{64 * 'A'} *c.g3\n")
    assert read_manifest(str(manifest)) == {
        "a b.g3": Expected(3),
        "c.g3": Expected(None, 64 * "a"),
    }
