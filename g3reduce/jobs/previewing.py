"""A coadd of files up to where the first map would be added: ``dry_run=True``."""

from __future__ import annotations

import functools
from collections import Counter

from ..coadd.coadds import Coadds
from ..coadd.preview import Preview as Preview
from ..coadd.settings import Terms
from ..formats.writing import names_of_outputs
from ..mpi import communicators
from ..mpi.agreement import collectively, from_rank
from ..mpi.memory import available_for_each
from ..pipeline.units import Unit
from .checking import rate_of
from .estimating import estimate
from .listing import list_files
from .parts import costs_of
from .passes import Passes
from .presence import require_maps
from .survey import Survey


def preview(comm: communicators.Comm, passes: Passes, seen: Survey, terms: Terms) -> Coadds:
    """What would be made, in a result without frames. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    passes : Passes
        Before they have begun.
    seen : Survey
        Of all files.
    terms : Terms
        On which they would be added.

    Raises
    ------
    InputError
        On all ranks, if nothing would be added, or an Id that was asked for is not there.
    """
    job, chosen, base = passes.job, passes.chosen, passes.base
    read = [at for at in range(len(chosen.names)) if at not in chosen.left_out]
    added = [at for at in read if chosen.names[at] != base]
    frames = [(at, frame) for at in added for frame in seen.files[at].frames]
    entries = [entry for _, frame in frames for entry in frame.counted]
    ids = Counter(one for entry in entries for one in entry.map_ids)
    if not frames or not set(job.map_ids or ()) <= set(ids):
        there = list_files(comm, [chosen.names[at] for at in added], terms.assumed)
        counts: Counter[str] = sum((one.map_ids for one in there), Counter())
        check = functools.partial(require_maps, len(added), job.map_ids, counts, bool(frames))
        collectively(comm, check)
    rate = from_rank(comm, 0, lambda: rate_of(seen, terms, deep=False))
    about = estimate(seen, limbs=passes.limbs, rate=rate, n_ranks=comm.size)
    id_of = terms.members.frame_id
    maps = Counter(id_of(name) for _, frame in frames for name in frame.coadds)
    sums, names = about.sums, list(maps)
    flips: Counter[str] = Counter()
    planner, n_passes = passes.planner, max(1, len(passes.parts))
    if planner is not None:
        plan, _ = planner.plan(chosen)
        flips, names = Counter(plan.base_of.values()), plan.names
        maps = Counter(
            name
            for (file, index), size in planner.sizes.items()
            for name in plan.bases_of(Unit(file, index, fingerprint=size.fingerprint))
        )
        maps = Counter({name: maps[name] for name in names if name in maps})
        costs = costs_of(plan, planner.sizes, limbs=passes.limbs, at_once=passes.at_once)
        sums = max(
            sum(
                cost.own * (cost.name in part.part.bases)
                + cost.each * len(part.part.names.intersection(cost.flips))
                for cost in costs
            )
            for part in passes.parts
        )
    output = job.found.output
    result = Coadds(here=comm.rank == job.root, left_out=chosen.listed)
    result.n_given = len(chosen.names) - (base is not None)
    result.preview = Preview(
        files=[chosen.names[at] for at in added],
        n_bytes=sum(seen.files[at].n_bytes for at in read),
        maps=dict(maps),
        flips=dict(flips),
        map_ids=dict(ids),
        observations=list(dict.fromkeys(one.observation for one in entries if one.observation)),
        passes=n_passes,
        memory=about.memory - about.sums + sums,
        available=available_for_each(comm),
        seconds=None if about.seconds is None else about.seconds * n_passes,
        written=[]
        if output is None
        else names_of_outputs(output, names, companions=job.options.companions),
    )
    return result
