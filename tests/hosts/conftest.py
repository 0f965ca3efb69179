"""Tests on several hosts, which are namespaces of this machine: see ``tests/support/hostrig.py``.

They run by their own command, as root::

    G3REDUCE_TEST_HOSTS=1 python -m pytest tests/hosts
"""

import pytest
from hostmpi import why_no_hosts
from hostrig import Rig
from slurmrig import Slurm, why_no_slurm


@pytest.fixture(scope="session")
def _rig_of_all():
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    with Rig() as rig:
        yield rig


@pytest.fixture
def hosts(_rig_of_all):
    """Three hosts of two slots each, whose links are whole and as fast as they are."""
    yield _rig_of_all
    _rig_of_all.kill_all()
    _rig_of_all.mend()
    _rig_of_all.slow(None)


@pytest.fixture(scope="session")
def _slurm_of_all(tmp_path_factory):
    reason = why_no_hosts() or why_no_slurm()
    if reason:
        pytest.skip(reason)
    with Rig() as rig, Slurm(rig, tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def slurm(_slurm_of_all):
    """A Slurm with three nodes of two cores each, on hosts of its own."""
    yield _slurm_of_all
    _slurm_of_all.mend()
