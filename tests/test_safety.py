"""No file that is read can make the reader run code."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from choices import ALL, among_all

import g3reduce

PACKAGE = Path(g3reduce.__file__).parent
HOSTILE = Path(__file__).parent / "support" / "hostile.py"

# What can make code of data, and the files that may use it: for what is in memory of a rank, or
# comes from another one, and not for what is in a file.
BETWEEN_RANKS = {
    *("mpi/agreement.py", "pipeline/dispatch.py", "reductions/wholes.py", "reductions/groups.py"),
    *("pipeline/accumulator.py", "stitching/accumulated.py", "maps/summary.py"),
    *("mpi/deciding.py", "coadd/reports.py", "pipeline/packedledgers.py"),
}
MAY_USE = {
    "pickle.loads": BETWEEN_RANKS | {"kernels/keeping.py"},  # whose files nobody else can write
    "import_module": {  # of names that stand in the source
        *("cli/__init__.py", "toast3/importing.py", "toast3/volume.py", "reductions/counts.py"),
    },
    "ctypes": {"strategies/peers.py"},  # a function of the C library
    "yaml": {"splits/tableformats.py", "cli/config.py"},  # its loaders of plain values only
    "subprocess": {"mpi/launch.py", "cli/demoruns.py", "cli/retrying.py"},  # mpirun
}
NEVER = {
    "modules": {"marshal", "shelve", "dill", "cloudpickle", "joblib", "runpy", "code"},
    "builtins": {"eval", "exec", "compile", "__import__"},
    "attributes": {"system", "popen", "execv", "execve", "execvp", "posix_spawn", "allow_pickle"}
    | {"pickle.load", "Unpickler", "pickle.Unpickler"}
    | {"unsafe_load", "unsafe_load_all", "UnsafeLoader", "FullLoader", "full_load", "yaml.Loader"},
}


def names_used(tree: ast.AST) -> tuple[set[str], set[str], set[str]]:
    """The modules, the names and the attributes that code names."""
    modules, names, attributes = set(), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add((node.module or "").split(".")[0])
            attributes.update(alias.name for alias in node.names)
            attributes.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            attributes.add(node.attr)
            if isinstance(node.value, ast.Name):
                attributes.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.keyword) and node.arg:
            attributes.add(node.arg)
    return modules, names, attributes


def test_nothing_in_the_source_makes_code_of_files():
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        modules, names, attributes = names_used(ast.parse(path.read_text()))
        assert not modules & NEVER["modules"], file
        assert not names & NEVER["builtins"], file
        assert not attributes & NEVER["attributes"], file
        for what, files in MAY_USE.items():
            assert file in files or what not in modules | attributes, (file, what)


@pytest.mark.parametrize(
    "line",
    [
        *(
            "eval(text)",
            "exec(text)",
            "__import__(name)",
            "yaml.load(text, Loader=yaml.Loader)",
            "from yaml import unsafe_load",
            "from marshal import loads",
        ),
        *(
            "os.system(text)",
            "numpy.load(file, allow_pickle=True)",
            "pickle.load(file)",
            "from os import popen",
        ),
    ],
)
def test_the_search_finds_what_it_is_for(line):
    found = zip(names_used(ast.parse(line)), NEVER.values(), strict=True)
    assert any(used & never for used, never in found)


@among_all
@pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts a process itself")
def test_no_hostile_file_runs_code(tmp_path):
    """Python tells of all code that it runs, loads or looks up: none of it comes from these."""
    done = subprocess.run(
        [sys.executable, str(HOSTILE), str(tmp_path), *["all"] * ALL],
        capture_output=True,
        text=True,
        timeout=900,  # only to end a hang
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4, "\n".join(lines[:20])
    resumed, ran, read, control = lines
    assert re.fullmatch(r"went on from \d+ checkpoints", resumed)
    assert ran.startswith("ran False in ")
    n_read, n_refused = map(int, re.findall(r"\d+", read))
    assert n_read > n_refused > 50, "most are to be read to their end, others refused"
    assert control == "control: ['compile', 'exec', 'pickle.find_class'], ran True"
