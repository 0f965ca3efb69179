"""``g3reduce coadd --add`` and ``--subtract``."""

import os

import pytest
import skies
from spt3g import core

from g3reduce import coadd_files, digest
from g3reduce.cli import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = skies.write_files(tmp_path, 4, "flat sparse", "hits")
    return [os.path.basename(file) for file in made]


def run(*words):
    return main(["coadd", *words])


def test_a_season_on_the_command_line(files, capsys):
    season = ["-o", "season.g3", "--collate"]
    assert run(*files[:2], *season, "--reproducible", "--keep-exact") == 0
    assert "Exact sums beside the maps: " in capsys.readouterr().out
    assert run(*season, "--add", *files[2:]) == 0
    assert run("--subtract", files[0], "--add", "again.g3", *season) == 1
    assert "again.g3" in capsys.readouterr().err
    assert run("--subtract", files[0], files[1], *season) == 0
    direct = coadd_files(files[2:], collate=True, output_map_id="Coadd")
    for frame in core.G3File("season.g3"):
        assert digest(frame) == digest(direct[frame["Id"].removeprefix("Coadd")])
    assert run("--add", files[2], *season) == 1
    assert "season.g3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["obs_000.g3", "--add", "obs_001.g3"], "name files behind these flags only"),
        (["obs_000.g3", "--keep-exact"], "--keep-exact is of use with --reproducible only"),
        (["--add"], "expected at least one argument"),
        (["--add", "obs_001.g3", "-i", "x"], "Make the first coadd without --add."),
    ],
)
def test_words_that_make_no_sense(files, capsys, words, text):
    try:
        code = run(*words, "-o", "season.g3")
    except SystemExit as end:
        code = end.code
    assert code in (1, 2)
    assert text in capsys.readouterr().err
