"""What notebooks show of coadds, ledgers and errors."""

import os
from html.parser import HTMLParser

import pytest
import skies
from choices import among_all
from patience import HANGS_S

import g3reduce
from g3reduce import InputError, UsageError, coadd_files
from g3reduce.pipeline.ledger import Ledger
from g3reduce.strategies import Statistics

KERNEL = """
from g3reduce import coadd_files
coadds = coadd_files("obs_*.g3", collate=True)
coadds
---
coadd_files("nowhere.g3")
---
len(coadds.ledger)
"""

INTERRUPTED = """
import contextlib, os, signal
from spt3g import core
from g3reduce import MPIFileReader, MPIMapCoadder, coadd_files, guard
from g3reduce.jobs.mapopener import MapOpener

frames = MapOpener.frames


def interrupt(*args):
    if getattr(args[0], "type", core.G3FrameType.Map) == core.G3FrameType.Map:
        os.kill(os.getpid(), signal.SIGINT)  # as a kernel is interrupted
    return frames(*args) if len(args) > 1 else None


def run(around=contextlib.nullcontext, *modules):
    with around():
        pipe = core.G3Pipeline()
        pipe.Add(MPIFileReader(None, ["obs_000.g3", "obs_001.g3"]))
        for module in modules:
            pipe.Add(module)
        pipe.Add(MPIMapCoadder())
        pipe.Run()
        return "whole"
---
run(contextlib.nullcontext, interrupt)
---
run(guard, interrupt)
---
MapOpener.frames = interrupt
coadd_files("obs_*.g3", collate=True)
---
MapOpener.frames = frames
run(), len(coadd_files("obs_*.g3", collate=True))
"""


class Cells(HTMLParser):
    """The texts of all cells."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_data(self, data):
        if data.strip():
            self.found.append(data)


def test_coadds_are_a_table_whose_text_is_escaped(tmp_path):
    files = skies.write_files(tmp_path, 2, "healpix ring", "hits", map_ids=("<b>90</b>", "150"))
    coadds = coadd_files(files, collate=True)
    shown = coadds._repr_html_()
    assert "<b>" not in shown
    cells = Cells(shown).found
    row = cells[cells.index("<b>90</b>") :]
    assert row[1:3] == ["T, Wunpol, H", "2"]
    assert row[3] == f"{coadds.coverage['<b>90</b>'].area_deg2:,.3g}"
    assert cells[0].startswith("4 frames")


def test_coadds_of_a_pipeline_have_no_columns_of_what_is_not_known(tmp_path):
    coadder = g3reduce.MPIMapCoadder(None)
    coadder(skies.map_frame("healpix ring", "hits", 1))
    coadder.finish()
    shown = coadder.result._repr_html_()
    assert Cells(shown).found[1:] == ["Id", "maps", "Coadd", "T, Wunpol, H"]


def test_a_ledger_has_a_length_and_its_entries(tmp_path):
    files = skies.write_files(tmp_path, 2, "healpix ring", "hits")
    ledger = coadd_files(files).ledger
    assert len(ledger) == len(ledger.entries) == 4
    assert list(ledger) == ledger.entries
    assert bool(Ledger())


def test_a_ledger_is_a_table_of_its_first_frames(tmp_path):
    files = skies.write_files(tmp_path, 13, "healpix ring", "hits", map_ids=("<b>90</b>", "150"))
    ledger = coadd_files(files, collate=True).ledger
    shown = ledger._repr_html_()
    cells = Cells(shown).found
    assert cells[0] == "26 frames counted"
    assert cells[-1] == "... and 6 more"
    assert shown.count("<tr>") == 22
    assert "<b>" not in shown
    first = cells[cells.index("weight") + 1 :]
    assert first[1:3] == [str(ledger.entries[0]), "<b>90</b>"]
    assert f"{ledger.entries[0].pixels:,}" in first[3:6]
    assert Cells(Ledger()._repr_html_()).found[0] == "0 frames counted"
    assert repr(Ledger()) == "<Ledger: 0 counted, 0 left out>"


def test_statistics_are_a_table_of_facts():
    cells = Cells(Statistics("tree", "<it> is best", 4, 2, seconds=1.5)._repr_html_()).found
    facts = dict(zip(cells[1::2], cells[2::2], strict=True))
    assert facts["strategy"] == "tree"
    assert facts["why"] == "<it> is best"
    assert (facts["ranks"], facts["nodes"], facts["seconds"]) == ("4", "2", "1.5")


@pytest.mark.parametrize("error", [UsageError, InputError])
def test_tracebacks_of_our_errors_show_the_users_lines_alone(error):
    def of_the_user():
        files = ["nowhere.g3"] if error is InputError else 3
        return coadd_files(files)

    with pytest.raises(error) as caught:
        of_the_user()
    lines = caught.value._render_traceback_()
    assert "coadd_files(files)" in "".join(lines)
    assert os.path.dirname(g3reduce.__file__) not in "".join(lines)
    assert lines[-1] == f"{error.__name__}: {str(caught.value).splitlines()[0]}"


def outputs_of(code, folder):
    """What each cell shows last, in a real kernel, without what was printed."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    skies.write_files(folder, 2, "healpix ring", "hits")
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in code.split("---")]
    client = nbclient.NotebookClient(book, allow_errors=True, timeout=HANGS_S)
    client.execute(cwd=str(folder))
    each = [[out for out in cell.outputs if out.output_type != "stream"] for cell in book.cells]
    return [outputs[-1] if outputs else None for outputs in each]


@among_all
def test_in_a_real_kernel(tmp_path):
    shown, failed, after = outputs_of(KERNEL, tmp_path)
    table = shown["data"]["text/html"]
    assert 'src="data:image/png;base64,' in table
    assert "<table><caption>4 frames" in table
    traceback = "\n".join(failed["traceback"])
    assert 'coadd_files("nowhere.g3")' in traceback
    assert len(traceback.splitlines()) < 6
    assert after["data"]["text/plain"] == "4"


@among_all
def test_cells_that_are_interrupted_say_so_and_leave_the_kernel_usable(tmp_path):
    _, alone, guarded, coadd, after = outputs_of(INTERRUPTED, tmp_path)
    assert (alone["ename"], guarded["ename"]) == ("InputError", "InterruptedByUser")
    assert "halted before all files were read (by Ctrl-C?)" in alone["evalue"]
    assert guarded["evalue"].startswith("SIGINT came")
    assert coadd["ename"] == "KeyboardInterrupt"
    traceback = "\n".join(coadd["traceback"])
    assert "1 of 2 files were begun" in traceback
    assert 'coadd_files("obs_*.g3", collate=True)' in traceback
    assert "passes.py" not in traceback
    assert after["data"]["text/plain"] == "('whole', 2)"
