"""``g3reduce plot``: what is drawn where, and what is refused."""

import pytest
import skies
from choices import some_of

from g3reduce.cli import main

pytest.importorskip("matplotlib")


@pytest.fixture
def coadd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (file,) = skies.write_files(tmp_path, 1, "flat dense", "polarized")
    return str(file)


def test_a_picture_is_named_after_the_file(coadd, tmp_path, capsys):
    assert main(["plot", coadd, "--dpi", "40", "--vmax", "T=3", "--planes", "T", "weights"]) == 0
    (picture,) = tmp_path.glob("*.png")
    assert picture.stat().st_size > 1000
    assert f"Wrote {picture.name}." in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", some_of([["--planes", "T", "Q"], ["--vmax", "T=3"]], fewer=[["--planes", "T", "Q"]])
)
def test_files_may_stand_behind_options_of_several_words(coadd, tmp_path, words):
    assert main(["plot", *words, coadd, "--dpi", "20"]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "a.jpg"], "must end in .png, .pdf or .svg"),
        (["--hist", "-o", "a.jpg"], "must end in .png, .pdf or .svg"),
        (["--vmax", "many"], "--vmax has 'many'; expected a number"),
        (["--hist", "--smooth", "3"], "--smooth cannot be used with --hist"),
        (["--band", "1GHz"], "There is no map of band '1GHz'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(coadd, capsys, words, message):
    assert main(["plot", coadd, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["--hist", "--spectrum"])
def test_values_and_spectra_are_drawn(coadd, tmp_path, kind):
    assert main(["plot", coadd, kind, "--band", "150GHz", "-o", "a.svg"]) == 0
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
