"""Files of frames that are named by letters, which are metadata, and by digits, which are data."""

import contextlib

from spt3g import core

import g3reduce
from g3reduce.pipeline.ledger import unit_of

KINDS = (
    core.G3FrameType.Calibration,
    core.G3FrameType.Observation,
    core.G3FrameType.Wiring,
    core.G3FrameType.GcpSlow,
)
KIND_OF = {"M": 0, "N": 0, "P": 0, "Q": 0, "A": 0, "B": 1, "C": 2, "D": 3}


def write(folder, name, whats):
    """A file of frames. Each is named by what is in it: a digit at the beginning makes it data,
    a letter metadata of the type of that letter."""
    path = str(folder / f"{name}.g3")
    with core.G3Writer(path) as writer:
        for what in whats:
            data = what[0].isdigit()
            kind = core.G3FrameType.Scan if data else KINDS[KIND_OF[what[0]]]
            frame = core.G3Frame(kind)
            frame["What"] = what
            writer(frame)
    return path


def write_all(folder, structure):
    """Files of a structure: an entry that is a list of names makes a shared file, a list of such
    lists a parallel block."""
    files, number = [], 0
    for entry in structure:
        if entry and isinstance(entry[0], list):
            files.append([write(folder, f"{number}-{i}", w) for i, w in enumerate(entry)])
        else:
            files.append(write(folder, str(number), entry) if entry else [])
        number += bool(entry)
    return files


def distribute(comm, files, n_io=1, module=None, *, guarded=False, **options):
    """What this rank sees: names and units, and the progress that it told of."""
    seen, units, told = [], [], []
    on_progress = options.pop("on_progress", lambda progress: None)

    def tell(progress):
        told.append((progress.read, progress.sent, progress.received, progress.done))
        on_progress(progress)

    def look(frame):
        if "What" in frame:
            seen.append(frame["What"])
            units.append(unit_of(frame))
            if module:
                module(frame)

    pipe = core.G3Pipeline()
    pipe.Add(
        g3reduce.MPIIODistributor,
        mpicomm=comm,
        n_io=n_io,
        files=files,
        on_progress=tell,
        **options,
    )
    pipe.Add(look)
    with g3reduce.guard(comm) if guarded else contextlib.nullcontext():
        pipe.Run()
    return seen, units, told


def is_data(what):
    return what[0].isdigit()
