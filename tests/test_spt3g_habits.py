"""What users of spt3g expect of modules: its documentation tool, its log, a pipeline's graph."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from spt3g import core

import g3reduce
from g3reduce.spt3glog import unit_logger

MODULES = {
    "MPIMapCoadder",
    "MPIAccumulator",
    "MPIReducer",
    "MPIFileReader",
    "MPIFrameParallelizer",
    "TOASTFiller",
}


def python(code, **environment):
    """Standard error of a fresh Python, where nobody has set up logging."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_documentation_tool_of_spt3g_lists_modules_and_functions():
    tool = Path(sys.executable).with_name("spt3g-inspect")
    done = subprocess.run(
        [sys.executable, str(tool), "g3reduce"], capture_output=True, text=True, check=True
    )
    sections = re.split(r"\n(.+)\n-{5,}\n", done.stdout)[1:]
    listed = {
        title: set(re.findall(r"^\.\. auto\w+:: g3reduce\..*?(\w+)$", text, re.MULTILINE))
        for title, text in zip(sections[::2], sections[1::2], strict=True)
    }
    assert listed["Class-like Pipeline Modules"] >= MODULES
    assert listed["Pipeline Segments"] == {"MPIIODistributor"}
    functions = {
        name
        for name in g3reduce.__all__
        if re.fullmatch("[a-z_0-9]+", name) and not hasattr(getattr(g3reduce, name), "__path__")
    }
    assert functions - {"register_strategy"} <= listed["Useful Functions"]
    assert {"Coadds", "Reduction"} <= listed["Useful Classes"]


LOG = """
import logging
from spt3g import core
from g3reduce.spt3glog import unit_logger
logger = unit_logger("g3reduce.coadd.somewhere", "MPIMapCoadder")
{before}
logger.info("of %d", 3)
logger.warning("of %d", 4)
"""


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", r"WARN \(MPIMapCoadder\).*: of 4 \(.*<string>:8 in <module>\)\n"),
        (
            "core.set_log_level(core.G3LogLevel.LOG_INFO, 'MPIMapCoadder')",
            r"INFO \(MPIMapCoadder\).*: of 3 .*\nWARN \(MPIMapCoadder\).*: of 4 .*\n",
        ),
        ("core.set_log_level(core.G3LogLevel.LOG_ERROR, 'MPIMapCoadder')", ""),
        ("logging.getLogger('g3reduce').setLevel('ERROR')", ""),
        ("logging.disable()", ""),
        ("logging.basicConfig()", r"WARNING:g3reduce.coadd.somewhere:of 4\n"),
        (
            "logging.getLogger('g3reduce').addHandler(logging.StreamHandler())\n"
            "core.set_log_level(core.G3LogLevel.LOG_TRACE)",
            r"of 4\n",
        ),
    ],
    ids=["as it is", "more", "less", "less in Python", "none", "logging", "own handler"],
)
def test_messages_come_with_a_unit_unless_python_has_handlers(before, expected):
    said = python(LOG.replace("{before}", before.replace("\n", "; ")))
    assert re.fullmatch(expected, said)


def test_a_program_without_spt3g_logs_as_ever():
    code = LOG.replace("from spt3g import core", "").replace("{before}", "")
    assert python(code) == "of 4\n"


def test_every_file_logs_under_a_unit():
    package = Path(g3reduce.__file__).parent
    own = {"cli/__init__.py", "spt3glog.py"}
    plain = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "getLogger(" in path.read_text()
    ]
    assert set(plain) <= own
    assert unit_logger("g3reduce.x").unit == "g3reduce"


def test_the_graph_and_the_listing_of_a_pipeline_show_the_modules(tmp_path):
    file = str(tmp_path / "in.g3")
    with core.G3Writer(file) as writer:
        writer(core.G3Frame(core.G3FrameType.Scan))
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIIODistributor, files=[[file]])
    pipe.Add(g3reduce.MPIAccumulator, extractfunc=lambda frame: None)
    pipe.Add(g3reduce.MPIMapCoadder())
    pipe.Run(graph=True)
    graph = json.loads(pipe.GetGraphInfo())
    names = [name for _, name in graph["Module List"]]
    for expected in ("MPIIODistributor", "MPIFileReader", "MPIAccumulator", "MPIMapCoadder"):
        assert any(expected in name for name in names), names
    seen = {(names[number], kind) for _, number, _, kind in graph["Processing List"]}
    assert any("MPIMapCoadder" in name and kind == "Scan" for name, kind in seen)
    assert "MPIIODistributor" in repr(pipe)
    assert "MPIMapCoadder" in repr(pipe)
