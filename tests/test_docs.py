"""The documentation is true: its examples run, and what it shows is what comes out.

The examples of a page are run from top to bottom in one folder, as a reader would do it, with the
files of ``g3reduce demo --data-only --output-dir season``. By default smaller files of these names
stand in for them, because they take seconds to make. By the kind of fence:

* ``python``: run in this process, the fences of a page one after another in one namespace. If the
  first line is ``# mpirun -n N python NAME.py ARGUMENTS``, it is a script, run like that; if it is
  ``# NAME.py``, it is a script for a command further down. A test on ranks is run by pytest.
* ``pycon``: a doctest.
* ``console``: the lines that begin with ``$`` are commands; what stands below is their output, with
  ``...`` for anything. White space does not count, and no more do durations. Under mpirun there
  may be more output around it, because launchers add their own.
"""

import atexit
import doctest
import functools
import glob
import importlib.util
import itertools
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
import season
import skies
import toastscans
from choices import ALL, among_all
from patience import HANGS_S
from spt3g import core, maps

import g3reduce
from g3reduce import cli
from g3reduce.mpi.launch import mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))
NEED_TOAST = ("toast.md", "mapmaking.md", "recipes_others.md")
# Those that take longest run with all combinations only.
TAKE_LONG = (
    "pictures.md",
    "guard.md",
    "recipes.md",
    "report.md",
    "coadding.md",
    "config.md",
    "cli_coadds.md",
    "nulls.md",
    "formats_flat.md",
    "CONTRIBUTING.md",
    "first_steps.md",
    "season.md",
    "mapbinner.md",
    "coming_from.md",
    "splits.md",
    "reproducibility.md",
    "reductions.md",
    "stitching.md",
    "checkpoints.md",
    "ledger.md",
    "threads.md",
    "checking.md",
    "growing.md",
    "distribution.md",
    "agreeing.md",
    "ranks.md",
)
EXAMPLES_SOON = [page for page in PAGES if page.name not in (*NEED_TOAST, *TAKE_LONG)]
MAX_RANKS = 3  # whatever an example says

FENCE = re.compile(r"^(```+)([^\n]*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
AS_SCRIPT = re.compile(r"# (?:mpirun -n (\d+) python )?(\w+\.py)\b(.*)")


def fences(page):
    """(language, code, number of its first line) of all fences of a page."""
    text = page.read_text()
    for match in FENCE.finditer(text):
        yield match[2].strip(), match[3], text[: match.start(3)].count("\n") + 1


def by_name(path):
    return path.name


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder with the files that the examples name."""
    if ALL:
        shutil.copytree(data_of_the_demo()[0], tmp_path / "season")
    else:
        season.write_season(tmp_path / "season" / "flat")
    (tmp_path / "cosmo").mkdir()
    shutil.copy(tmp_path / "season/flat/obs_0008.g3", tmp_path / "cosmo/obs_0009.g3")
    call_it_cosmo(tmp_path / "cosmo/obs_0009.g3")
    (tmp_path / "scans").mkdir()
    for number in (1, 2):
        with core.G3Writer(str(tmp_path / "scans" / f"obs_{number}.g3")) as writer:
            for frame in toastscans.observation(number, ["w1.a", "w1.b", "w2.a"]):
                writer(frame)
    with core.G3Writer(str(tmp_path / "calibration.g3")) as writer:
        writer(core.G3Frame(core.G3FrameType.Calibration))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call_it_cosmo(file):
    frames = list(core.G3File(str(file)))
    with core.G3Writer(str(file)) as writer:
        for frame in frames:
            for key in ("T", "Q", "U", "Wpol"):
                if key in frame:
                    value = frame.pop(key)
                    parts = [value] if key != "Wpol" else skies.maps_by_plane({key: value}).values()
                    for part in parts:
                        part.pol_conv = maps.MapPolConv.COSMO
                    frame[key] = value
            writer(frame)


@pytest.mark.parametrize("page", PAGES if ALL else EXAMPLES_SOON, ids=by_name)
def test_the_examples_of_a_page_work(page, reader):
    if page.name in NEED_TOAST and not importlib.util.find_spec("toast"):
        pytest.skip("TOAST is not installed")
    namespace = {"__name__": "__main__"}
    for language, code, line in fences(page):
        where = f"{page.name}, line {line}"
        if language == "python":
            run_python(code, where, line, page, namespace, reader)
        elif language == "pycon":
            run_session(code, where, line, namespace)
        elif language == "console":
            run_commands(code, where)


@among_all
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=by_name)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient runs notebooks")
    pytest.importorskip("ipykernel", reason="ipykernel is what notebooks run on")
    monkeypatch.setenv("PATH", SCRIPTS + os.pathsep + os.environ["PATH"])  # for its shell commands
    monkeypatch.setenv("MPLBACKEND", "agg")
    read = importlib.import_module("nbformat").read(notebook, as_version=4)
    shown = [output for cell in read.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)  # readers see it
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(read, timeout=HANGS_S, resources=where).execute()


def run_python(code, where, line, page, namespace, folder):
    script = AS_SCRIPT.fullmatch(code.split("\n")[0])
    if script:
        ranks, name, arguments = script.groups()
        (folder / name).write_text(code)
        if ranks:
            done = run(f"mpirun -n {ranks} python {name} {arguments}")
            assert done.returncode == 0, f"{where}:\n{done.stdout}"
    elif "pytest.mark.ranks" in code:
        run_test_on_ranks(code, where, folder)
    else:
        # As many empty lines as stand above it: then a traceback shows the line of the page.
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


def run_test_on_ranks(code, where, folder):
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_on_ranks.py").write_text(code)
    # On two ranks only: each number of ranks is a job of its own.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "ranks2"]
    paths = [str(ROOT / "tests" / name) for name in ("plugins", "support")]
    path = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=HANGS_S, env=environment
    )
    assert done.returncode == 0, f"{where}:\n{done.stdout}{done.stderr}"


def run_session(code, where, line, namespace):
    test = doctest.DocTestParser().get_doctest(code, {}, where, where, line - 1)
    test.globs = namespace
    said = []
    doctest.DocTestRunner().run(test, out=said.append, clear_globs=False)
    assert not said, "".join(said)


def run_commands(code, where):
    for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        done = run(command)
        pieces = [re.escape(piece.strip()) for piece in comparable(expected).split("...")]
        pattern = " ?.*? ?".join(pieces)
        match = re.search if "mpirun" in command else re.fullmatch
        assert match(pattern, comparable(done.stdout)), f"{where}: {command}\n{done.stdout}"


def comparable(text):
    return " ".join(re.sub(r"\d+\.\d+ s\b", "S s", text).split())


SCRIPTS = sysconfig.get_path("scripts")
DATA = "g3reduce demo --data-only --output-dir season"  # the same names on all pages


@functools.cache
def data_of_the_demo():
    """A folder with the data that pages begin with, made once."""
    folder = Path(tempfile.mkdtemp(prefix="g3reduce-docs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, "-m", "g3reduce", *DATA.split()[1:]]
    return folder / "season", subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANGS_S,
    )


def run(command):
    """Run a command of the documentation, on a few ranks at most."""
    if command == DATA:
        folder, done = data_of_the_demo()
        shutil.copytree(folder, folder.name, dirs_exist_ok=True)
        return done
    words = shlex.split(command)
    assignments = list(itertools.takewhile(lambda word: re.match(r"\w+=", word), words))
    words = words[len(assignments) :]
    ranks = None
    if words[:2] == ["mpirun", "-n"]:
        ranks, words = min(int(words[2]), MAX_RANKS), words[3:]
    start = {
        "python": [sys.executable],
        "g3reduce": [sys.executable, "-m", "g3reduce"],
        "spt3g-coadd-maps": [sys.executable, shutil.which("spt3g-coadd-maps", path=SCRIPTS)],
    }
    # The patterns of g3reduce's own commands are quoted, or could be.
    rest = [name for word in words[1:] for name in (sorted(glob.glob(word)) or [word])]
    words = [*start[words[0]], *(words[1:] if words[0] == "g3reduce" else rest)]
    return subprocess.run(
        mpirun_command(ranks, words) if ranks else words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANGS_S,
        env=mpirun_environment() | dict(word.split("=", 1) for word in assignments),
    )


def commands(page):
    """(line, arguments) of ``g3reduce coadd``, ``stitch`` and ``demo`` in the fences of a page."""
    for _, code, line in fences(page):
        for text in code.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|[\s/])g3reduce ((?:coadd|stitch|demo)\b(?!:).*)", text)
            if found and "..." not in text and "--config" not in text:  # a synopsis, or a file
                yield line, found[1]


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_the_commands_of_a_page_are_understood(page):
    parser = cli.command_line()
    for line, command in commands(page):
        words = shlex.split(command, comments=True)
        try:
            parser.parse_args(words)
        except SystemExit:
            pytest.fail(f"{page.name}, line {line}: g3reduce {command}")


def test_there_are_commands_and_examples_to_look_at():
    found = [command for page in PAGES for _, command in commands(page)]
    assert len(found) > 10
    assert "coadd 'season/flat/*.g3' -o coadd.g3 --collate" in found
    languages = [language for page in PAGES for language, _, _ in fences(page)]
    assert {"python", "pycon", "console"} <= set(languages)


HELPFUL = ("cli.md", "cli_coadds.md", "plan.md")


def test_the_help_of_every_command_is_shown():
    text = "".join((DOCS / name).read_text() for name in HELPFUL)
    shown = re.findall(r"^```\{command-help\} ?(\w*)\n```$", text, re.M)
    assert sorted(shown) == sorted(["", *cli.COMMANDS])


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_the_help_that_is_shown_is_the_real_one(command, monkeypatch, capsys):
    pytest.importorskip("sphinx", reason="the site is built with the extra docs")
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    real = capsys.readouterr().out
    assert len(real) > 100
    assert conf.help_text(*command.split()) == real


GROUPS = ("start", "howto", "concepts", "reference", "performance", "contribute")


def toctree(page):
    """Names of the pages that the tables of contents of a page list."""
    listed = re.findall(r"```\{toctree\}\n.*?```", page.read_text(), re.DOTALL)
    return re.findall(r"<([\w/]+)>$", "\n".join(listed), re.MULTILINE)


def test_every_page_is_in_one_of_the_six_groups():
    assert toctree(DOCS / "index.md") == list(GROUPS)
    names = [name for group in GROUPS for name in toctree(DOCS / f"{group}.md")]
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index", *GROUPS}
    pages |= {f"notebooks/{notebook.stem}" for notebook in NOTEBOOKS}
    assert sorted(names) == sorted(pages)


@pytest.mark.parametrize("group", ["index", *GROUPS])
def test_a_group_links_to_its_pages_also_where_there_is_no_sidebar(group):
    page = DOCS / f"{group}.md"
    links = re.findall(r"\]\(([\w/]+)\.(?:md|ipynb)\)", page.read_text())
    assert [name for name in dict.fromkeys(links) if name in toctree(page)] == toctree(page)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        if "://" not in target:
            file, _, section = target.partition("#")
            path = (page.parent / file) if file else page
            assert path.exists(), target
            assert not section or section in sections(path), target


def sections(page):
    """Anchors of the headings of a page, as Sphinx and GitHub make them."""
    for title in re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE):
        yield re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_pages_are_short_enough_to_read(page):
    lines = [line for line in page.read_text().splitlines() if not line.startswith("|")]
    assert len(lines) <= 200 or page.name == "changelog.md"  # which grows by its nature
    assert all(len(line) <= 120 for line in lines)
    assert not any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in lines)


MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(g3reduce.__path__, "g3reduce.")
    if not module.name.endswith("__main__")
)


def test_the_examples_in_docstrings_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner, said, tried = doctest.DocTestRunner(), [], 0
    for name in ["g3reduce", *MODULES]:
        for test in doctest.DocTestFinder().find(importlib.import_module(name)):
            tried += runner.run(test, out=said.append).attempted
    assert not said, "".join(said)
    assert tried > 5


@among_all
def test_the_pictures_of_the_page_of_pictures_can_be_drawn(tmp_path):
    script = [sys.executable, str(DOCS / "pictures.py"), str(tmp_path)]
    subprocess.run(script, check=True, timeout=HANGS_S)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {path.name for path in DOCS.glob("pictures_*.png")}


@among_all
@pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="there are no chromium and chromedriver here",
)
def test_the_picture_of_the_page_about_reports_can_be_drawn(tmp_path):
    pytest.importorskip("selenium", reason="selenium drives the browser")
    script = [sys.executable, str(DOCS / "report.py"), str(tmp_path)]
    subprocess.run(script, check=True, timeout=HANGS_S)
    assert [path.name for path in tmp_path.glob("*.png")] == ["report_page.png"]


@among_all
def test_the_pictures_of_the_recipes_can_be_drawn(tmp_path):
    pytest.importorskip("toast")
    script = [sys.executable, str(DOCS / "recipes.py"), str(tmp_path)]
    subprocess.run(script, check=True, timeout=HANGS_S)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {path.name for path in DOCS.glob("recipes_*.png")}


def test_the_changelog_and_the_citation_are_of_this_version():
    assert f"version = {{{g3reduce.__version__}}}" in (DOCS / "citing.md").read_text()
    assert f"coadded with g3reduce {g3reduce.__version__} " in (DOCS / "citing.md").read_text()
    assert f"\n## {g3reduce.__version__}" in (DOCS / "changelog.md").read_text()
    assert f"\nversion: {g3reduce.__version__}\n" in (ROOT / "CITATION.cff").read_text()


# Words in quotes that name a variable of the environment, by whose it is or by how it is used.
OURS = re.compile(r"\bG3REDUCE_[A-Z_]*[A-Z]\b")
OF_OTHERS = re.compile(
    r'"((?:OMPI|PMI|PMIX|MV2|PALS|FLUX|SLURM|MPI|TOAST|OMP|NUMBA|MPI4PY)_[A-Z]\w+)"'
    r'|environ(?:ment)?(?:\.\w+\(|\[)"(\w+)"'
)


def test_the_table_of_environment_variables_is_what_the_code_reads():
    page = (DOCS / "environment.md").read_text()
    tables = dict(re.findall(r"^## (.*)\n\n((?:.+\n|\n(?!#))*)", page, re.MULTILINE))
    cells = {title: re.findall(r"^\| (`[^|]*)\|", text, re.M) for title, text in tables.items()}
    named = {title: set(re.findall(r"`(\w+)`", " ".join(rows))) for title, rows in cells.items()}
    package = "".join(path.read_text() for path in (ROOT / "g3reduce").rglob("*.py"))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert named["Of g3reduce"] == set(OURS.findall(package))
    assert named["Of g3reduce"] | named["Of the tests"] == set(OURS.findall(package + tests))
    read = {name for names in OF_OTHERS.findall(package) for name in names if name}
    assert read <= named["Of launchers"] | named["Of other packages"]
    assert named["Of launchers"] <= read
    mentioned = "".join(path.read_text() for path in PAGES if path.name != "environment.md")
    assert named["Of other packages"] - read <= set(re.findall(r"\b[A-Z]\w+\b", mentioned))
