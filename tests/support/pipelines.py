"""Real pipelines, in one process."""

from spt3g import core

from g3reduce import MPIFileReader


def run(source, *modules):
    """Run a pipeline and return all frames that come out of it.

    Its source are frames, names of files for MPIFileReader, or arguments of G3Reader.
    """
    pipe = core.G3Pipeline()
    if isinstance(source, dict):
        pipe.Add(core.G3Reader, **source)
    elif source and isinstance(source[0], str):
        pipe.Add(MPIFileReader, mpicomm=None, files=[source])
    else:
        waiting = list(source)
        pipe.Add(lambda _: waiting.pop(0) if waiting else [])
    for module in modules:
        pipe.Add(module)
    came = []
    pipe.Add(lambda frame: came.append(frame))
    pipe.Run()
    return came


def maps_from(source, *modules):
    """Run a pipeline and return the Map frames that come out of it."""
    return [frame for frame in run(source, *modules) if frame.type == core.G3FrameType.Map]
