"""Fixtures of all tests, beside those of tests on ranks, which ``ranks_plugin`` has."""

import pytest
import skies
from choices import some_of

from g3reduce import UsageError
from g3reduce.kernels import choice as kernels
from g3reduce.limits import LIMITS
from g3reduce.strategies import nodes


@pytest.fixture
def survey(request):
    """Write files of maps, ``survey(n_files, kind, weighting, ...)`` as `skies.write_files` has it.

    They are in the folder of the test. In a test on ranks the first rank writes them for all.
    """
    if request.node.get_closest_marker("ranks"):
        folder = request.getfixturevalue("shared_folder")
        on_first = request.getfixturevalue("on_first")
        return lambda *what, **more: on_first(lambda: skies.write_files(folder, *what, **more))
    folder = request.getfixturevalue("tmp_path")
    return lambda *what, **more: skies.write_files(folder, *what, **more)


@pytest.fixture
def ways_of_memory(comm, monkeypatch, limits):
    """Make a communicator whose ranks see each other in one of the ways of `ways.MEMORY`."""
    made = []

    def make(how):
        monkeypatch.setenv(nodes.DIRECT_MEMORY, "0" if how == "messages" else "1")
        monkeypatch.setenv(nodes.RANKS_PER_NODE, "2" if how == "two per node" else "0")
        limits(smallest_direct=1)
        made.append(comm.Dup())
        return made[-1]

    yield make
    comm.Barrier()
    for mine in made:
        mine.Free()


@pytest.fixture(scope="module", params=["numpy", "numba"])
def each_kernels(request):
    """All tests of a module run with numpy, and with numba."""
    yield from _with_kernels(request.param)


@pytest.fixture(scope="module", params=["numba", *some_of(["numpy"], fewer=[])])
def compiled_kernels(request):
    """All tests of a module run with numba. With numpy they do in all checks, as most others do."""
    yield from _with_kernels(request.param)


def _with_kernels(name):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(kernels.KERNELS, name)
        try:
            kernels.check()
        except UsageError as error:
            pytest.skip(str(error))
        yield


@pytest.fixture
def limits(monkeypatch):
    """Set limits for one test, as in ``limits(step=16)``."""

    def set_limits(**values):
        for name, value in values.items():
            monkeypatch.setattr(LIMITS, name, value)

    return set_limits
