"""The rules of the house: which file may import which, and what importing the package costs."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import g3reduce

PACKAGE = Path(g3reduce.__file__).parent
PICTURE = Path(__file__).parents[1] / "docs" / "design.md"

# From the roof down: a folder, or a file that is in none, imports only from rows below its own.
ROWS = (
    {"__main__.py"},
    {"cli"},
    {"toast3", "simulate", "report"},
    {"jobs", "analysis"},
    {"coadd", "reductions", "stitching", "splits", "formats", "model"},
    {"strategies", "maps", "pipeline"},
    {"progress"},
    {"mpi", "arrays", "g3files"},
    {"kernels"},
    {
        *{"errors.py", "buffers.py", "temporary.py", "choices.py", "limits.py"},
        *{"spt3gtypes.py", "spt3glog.py", "spt3gmarks.py"},
    },
)

# The only way from inside to the package root.
ROOT_IMPORTS = {("cli/__init__.py", "__version__")}

FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
INSIDE = [file for file in FILES if file != "__init__.py"]


def room_of(file):
    """The folder at the top of the package in which a file is, or the file itself."""
    return file.split("/")[0]


def row_of(file):
    return next(number for number, row in enumerate(ROWS) if room_of(file) in row)


def tree_of(file):
    return ast.parse((PACKAGE / file).read_text(), file)


def file_of(parts):
    """The file in which a module of the package is; None if there is no such module."""
    for candidate in ("/".join(parts) + ".py", "/".join([*parts, "__init__.py"])):
        if candidate in FILES:
            return candidate
    return None


def imports_of(file, tree=None):
    """(file, name) of all that a file imports from the package, wherever in the file it stands,
    also under TYPE_CHECKING and inside functions."""
    package = file.split("/")[:-1]
    for node in ast.walk(tree or tree_of(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "g3reduce":
                    yield file_of(parts[1:]) or "__init__.py", None
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
            elif (node.module or "").split(".")[0] == "g3reduce":
                base, node.module = [], ".".join(node.module.split(".")[1:])
            else:
                continue
            parts = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                submodule = file_of([*parts, alias.name])
                yield (submodule, None) if submodule else (file_of(parts), alias.name)


def test_every_room_has_its_row():
    rooms = [room for row in ROWS for room in row]
    assert sorted(rooms) == sorted({room_of(file) for file in INSIDE})


def test_the_picture_of_the_house_has_the_rows_of_its_rule():
    picture = PICTURE.read_text().split("```text\n")[1].split("```")[0]
    rows = [re.split(r"\s{2,}", line.rstrip())[1:] for line in picture.splitlines()]
    assert [set(rooms) for rooms in rows] == [row - {"__main__.py"} for row in ROWS[1:]]


@pytest.mark.parametrize("file", INSIDE)
def test_a_file_imports_only_from_its_own_folder_and_from_lower_rows(file):
    for imported, name in imports_of(file):
        assert imported is not None, f"{file} imports {name} from nowhere"
        if imported != "__init__.py":  # told by the test of the package root
            at_home = "/" in file and room_of(imported) == room_of(file)
            assert at_home or row_of(imported) > row_of(file), f"{file} imports {imported}"


def test_no_file_inside_imports_the_package_root():
    imports = [(file, other, name) for file in INSIDE for other, name in imports_of(file)]
    from_root = {(file, name) for file, other, name in imports if other == "__init__.py"}
    assert from_root == ROOT_IMPORTS


def test_the_version_is_imported_inside_a_function_only():
    run = next(
        node
        for node in tree_of("cli/__init__.py").body
        if isinstance(node, ast.FunctionDef) and node.name == "_run"
    )
    assert ("__init__.py", "__version__") in set(imports_of("cli/__init__.py", run))


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_validated_by_assert(file):
    asserts = [node.lineno for node in ast.walk(tree_of(file)) if isinstance(node, ast.Assert)]
    assert not asserts


@pytest.mark.parametrize("file", FILES)
def test_mpi_is_never_imported_with_a_module(file):
    """Functions import it when they need it; so one process never initialises MPI."""

    def run_at_import(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            yield child
            yield from run_at_import(child)

    for node in run_at_import(tree_of(file)):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("mpi4py") for alias in node.names), node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("mpi4py"), node.lineno


def modules_after(statement):
    """The top-level packages that a fresh Python has loaded after a statement, mpi4py.MPI too."""
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not {"mpi4py", "numpy", "spt3g"} & modules_after("import g3reduce")


def test_the_public_names_do_not_start_mpi():
    loaded = modules_after("from g3reduce import *; MPIMapCoadder(); MPIFileReader(None, [])")
    assert "spt3g" in loaded
    assert "mpi4py.MPI" not in loaded


def test_small_exact_sums_do_not_wait_for_numba():
    loaded = modules_after("from g3reduce import *; MPIMapCoadder(reproducible=True)")
    assert "spt3g" in loaded
    assert "numba" not in loaded


# What `import g3reduce` offers: its own names, and folders with names of their own.
FACES = {"g3reduce": g3reduce}
FACES |= {
    thing.__name__: thing
    for thing in (getattr(g3reduce, name) for name in g3reduce.__all__)
    if inspect.ismodule(thing)
}
OWN = [name for name in g3reduce.__all__ if f"g3reduce.{name}" not in FACES]
OF_FOLDERS = [(face, name) for face in list(FACES)[1:] for name in FACES[face].__all__]

PAGES = [*sorted((PACKAGE.parent / "docs").glob("*.md")), PACKAGE.parent / "README.md"]


@pytest.mark.parametrize("face", FACES)
def test_a_misspelt_public_name_is_an_attribute_error(face):
    names = FACES[face].__all__
    assert names
    assert len(names) == len(set(names))
    assert set(names) <= set(dir(FACES[face]))
    with pytest.raises(AttributeError, match="MPIMapCoader"):
        FACES[face].MPIMapCoader  # noqa: B018


def test_the_public_names_have_types():
    """They stand in stubs, which go with the package, as its py.typed does."""
    assert (PACKAGE / "py.typed").exists()
    for face in FACES.values():
        assert Path(face.__file__).with_suffix(".pyi").exists() or face.__name__.endswith(
            "simulate"
        )


def test_a_public_name_has_one_address():
    names = [*OWN, *(name for _, name in OF_FOLDERS)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("face", "name"), OF_FOLDERS)
def test_the_names_of_a_folder_are_documented(face, name):
    thing = getattr(FACES[face], name)
    assert inspect.getdoc(thing).split("\n")[0].endswith("."), name
    text = "".join(page.read_text() for page in PAGES if page.name.startswith("api"))
    assert re.search(rf"(auto(class|function)|\bdata):: ({face}\.)?{name}\b", text), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_public_addresses_only(page):
    """Only a traceback, which has the full name of an error in front of its text, names files."""
    modules = {file[:-3].replace("/", ".") for file in INSIDE if "/" in file}
    for address in re.findall(r"\bg3reduce\.([a-z0-9_]+\.[a-z0-9_]+)(?![.\w]*:)", page.read_text()):
        face, name = address.split(".")
        assert address not in modules or name in FACES[f"g3reduce.{face}"].__all__, address


@pytest.mark.parametrize("name", OWN)
def test_every_public_name_exists_and_is_documented(name):
    """As numpydoc has it: one line that ends in a full stop, an empty one, and sections; those
    that take arguments explain each of them."""
    thing = getattr(g3reduce, name)
    assert thing.__name__ == name
    documentation = inspect.getdoc(thing)
    first, *rest = documentation.splitlines()
    assert first.endswith("."), first
    assert not rest or not rest[0]
    if isinstance(thing, type) and issubclass(thing, Exception) and "__init__" not in vars(thing):
        return
    section = "Attributes" if dataclasses.is_dataclass(thing) else "Parameters"
    assert f"\n{section}\n----------\n" in documentation
    listed = documentation.split(f"\n{section}\n----------\n")[1].split("\n\n")[0]
    for argument in inspect.signature(thing).parameters:
        assert re.search(rf"\b{argument}\b[^\n]* : |\b{argument}\b(?=[,\s])", listed), argument
    collective = ("MPIMapCoadder", "MPIReducer", "TOASTFiller", "MPIFileReader", "MPIIODistributor")
    if name in (*collective, "coadd_files"):
        assert re.search(r"^Raises\n-{6}$", documentation, re.MULTILINE)
        assert re.search(r"^Examples\n-{8}$", documentation, re.MULTILINE)
        assert "Collective over `mpicomm`" in documentation
