"""What notebooks show of coadds, ledgers and errors."""

import os
from html.parser import HTMLParser

import pytest
import skies
from choices import among_all

import g3reduce
from g3reduce import InputError, UsageError, coadd_files
from g3reduce.pipeline.ledger import Ledger

KERNEL = """
from g3reduce import coadd_files
coadds = coadd_files("obs_*.g3", collate=True)
coadds
---
coadd_files("nowhere.g3")
---
len(coadds.ledger)
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


def test_a_ledger_has_a_length_and_its_entries(tmp_path):
    files = skies.write_files(tmp_path, 2, "healpix ring", "hits")
    ledger = coadd_files(files).ledger
    assert len(ledger) == len(ledger.entries) == 4
    assert list(ledger) == ledger.entries
    assert bool(Ledger())


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


@among_all
def test_in_a_real_kernel(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    skies.write_files(tmp_path, 2, "healpix ring", "hits")
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in KERNEL.split("---")]
    client = nbclient.NotebookClient(book, allow_errors=True, timeout=60)
    client.execute(cwd=str(tmp_path))
    shown, failed, after = (cell.outputs[-1] for cell in book.cells)
    assert shown["data"]["text/html"].startswith("<table>")
    traceback = "\n".join(failed["traceback"])
    assert 'coadd_files("nowhere.g3")' in traceback
    assert len(traceback.splitlines()) < 6
    assert after["data"]["text/plain"] == "4"
