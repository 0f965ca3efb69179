"""The bar in a notebook, in a real kernel."""

import pytest
import skies
from choices import among_all
from patience import HANGS_S

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

CODE = """
import time
import g3reduce
from g3reduce.jobs.mapopener import MapOpener

original = MapOpener.frames


def frames(self, file, piece):
    time.sleep(0.1)
    return original(self, file, piece)


MapOpener.frames = frames
coadds = g3reduce.coadd_files("*.g3", collate=True, progress=True)
"""


@among_all
def test_a_bar_is_drawn_under_the_cell(tmp_path):
    skies.write_files(tmp_path, 12, "flat sparse", "hits")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=HANGS_S, resources=resources).execute()
    told = str(notebook.cells[0].outputs) + str(notebook.metadata.get("widgets", ""))
    assert "/12 files" in told
    assert "Warning" not in told
