"""Ids and names of files with characters that are not printed, on terminals and in pictures."""

import os
import pty
import subprocess
import sys
import warnings

import pytest
import skies
from spt3g import core

from g3reduce import cli
from g3reduce.cli.streams import printable
from g3reduce.report import plot_maps

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts processes")

ODD = "90\x1b[31mGHz\r\x9b2J\n\u202e中"


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A folder in which there is a map of an odd Id, in a file of an odd name."""
    monkeypatch.chdir(tmp_path)
    skies.write_files(tmp_path, 1, "flat sparse", "hits")
    frames = list(core.G3File("obs_000.g3"))
    os.remove("obs_000.g3")
    with core.G3Writer("obs\n\x1b.g3") as writer:
        for frame in frames:
            if frame.type == core.G3FrameType.Map:
                del frame["Id"]
                frame["Id"] = ODD
            writer(frame)
    return tmp_path


def test_what_is_said_cannot_change_the_terminal(odd, capsys):
    assert cli.main(["coadd", "obs*.g3", "-o", "out.g3", "--collate"]) == 0
    said = capsys.readouterr().out
    assert r"90\x1b[31mGHz\x0d\x9b2J\n" in said.splitlines()[0]
    assert r"\u202e中: " in said.splitlines()[0]
    assert set("\x1b\r\x9b\u202e").isdisjoint(said)
    assert cli.main(["coadd", "obs*.g3", "-o", "out.g3", "-m", "\x1b2J"]) == 1
    error = capsys.readouterr().err
    assert r"\x1b" in error
    assert set("\x1b\r\x9b").isdisjoint(error)


def test_lists_have_a_line_for_each_file(odd, capsys):
    assert cli.main(["coadd", "--list", "*.g3"]) == 0
    first, last = capsys.readouterr().out.split("\n")[:2]
    assert first.startswith("obs\\n")
    assert last.startswith("1 file, ")


def test_results_are_as_they_are_for_programs_and_printable_for_people(odd):
    words = [sys.executable, "-m", "g3reduce", "coadd", "--list", "obs\n\x1b.g3"]
    piped = subprocess.run(words, capture_output=True, check=True).stdout
    assert b"\x1b" in piped
    main, terminal = pty.openpty()
    subprocess.run(words, stdout=terminal, check=True)
    os.close(terminal)
    shown = os.read(main, 65536)
    os.close(main)
    assert b"\x1b" not in shown
    assert b"\\x1b" in shown


def test_what_can_be_printed_stays():
    text = "50 µK – 中文 é\tx\n  $HOME"
    assert printable(text) == text


def test_pictures_show_what_cannot_be_printed_without_a_warning(odd):
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph (27|13|8238|155) ")
        figure = plot_maps("obs\n\x1b.g3")
        figure.canvas.draw()
    texts = [ax.get_title() + ax.get_title("left") for ax in figure.axes]
    assert not any("\x1b" in text for text in texts)
