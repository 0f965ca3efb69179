"""Every end module has a result, which `finish` returns, too."""

import pytest
from skies import map_frame
from spt3g import core

import g3reduce
from g3reduce import UsageError, reductions

MODULES = {
    "MPIMapCoadder": lambda comm: g3reduce.MPIMapCoadder(comm),
    "MPIReducer": lambda comm: g3reduce.MPIReducer(reductions.count("T"), comm),
    "MPIAccumulator": lambda comm: g3reduce.MPIAccumulator(comm, lambda frame: ("maps", 1, 2)),
}


@pytest.mark.ranks(1, 2)
@pytest.mark.parametrize("name", MODULES)
def test_the_result_is_there_after_the_end_and_is_what_finish_returns(comm, name):
    module = MODULES[name](comm)
    with pytest.raises(UsageError, match="before the end of processing"):
        module.result  # noqa: B018
    module.add(map_frame("flat sparse", "hits", seed=comm.rank))
    found = module.finish()
    assert found is module.result
    with pytest.raises(UsageError, match="has ended its work already"):
        module.finish()


@pytest.mark.ranks(1, 2)
@pytest.mark.parametrize("name", MODULES)
def test_a_pipeline_leaves_the_same_result(comm, name):
    module = MODULES[name](comm)
    frames = iter([map_frame("flat sparse", "hits", seed=comm.rank)])
    pipe = core.G3Pipeline()
    pipe.Add(lambda _: next(frames, []))
    pipe.Add(lambda frame: frame.type != core.G3FrameType.PipelineInfo)
    pipe.Add(module)
    pipe.Run()
    if name == "MPIMapCoadder":
        assert len(module.result) == (comm.rank == 0)
    elif name == "MPIReducer":
        assert module.result == (comm.size if comm.rank == 0 else None)
    else:
        mine = [2 if rank == comm.rank else None for rank in range(comm.size)]
        assert module.result == {
            "maps": [(1, rank, data) for rank, data in zip(range(comm.size), mine, strict=True)]
        }
        assert module.fullobs is module.result
