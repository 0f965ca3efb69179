"""A look at files without adding them: what `g3reduce check` does, and its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..choices import InputCoord, Nonfinite, OnDuplicate, PolConv, SameObservation
from ..coadd.coadder import MPIMapCoadder
from ..coadd.membership import Assign
from ..coadd.settings import Terms
from ..g3files.maps import MAP_KEYS
from ..maps.assumed import Assumed
from ..maps.framekind import FrameKind
from ..maps.pixels import is_flat
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, from_rank
from ..progress.events import Observer
from ..progress.watching import Watch, require_progress
from ..spt3gmarks import useful
from .choosing import Choice, look_at
from .estimating import Estimate, estimate
from .examining import examine
from .inputs import Atomic, as_names, names_of
from .survey import Survey

# One file up to this size is read as a whole to find the rate.
_READ_FOR_RATE = 2**28

# So many files that do not end a coadd are listed.
_SHOWN = 30


class Checked(NamedTuple):
    """What a look at files has found; the same on all ranks.

    Attributes
    ----------
    seen : Survey
        Each file, with its frames and problems.
    estimate : Estimate
        About what a coadd of them takes.
    """

    seen: Survey
    estimate: Estimate

    @property
    def is_fine(self) -> bool:
        """Whether a coadd of all these files would not end with an error of one of them."""
        return not (self.seen.bad or self.seen.undecided)

    def lines(self) -> list[str]:
        """The report: what most files are like, what is wrong, what else is to be known."""
        seen, bad = self.seen, self.seen.bad
        lines = _majority(seen)
        if bad:
            lines.append("A coadd ends with an error because of")
            lines += [f"  {seen.files[at].name}: {seen.files[at].faults}" for at in bad]
        lines += [seen.undecided] if seen.undecided else []
        notes = [
            f"  {file.name}: {file.faults}"
            for at, file in enumerate(seen.files)
            if file.problems and at not in bad
        ]
        notes += [f"  {seen.files[at].name}: {fault}" for at, fault in seen.copies.items()]
        notes += [f"  {name}: listed in the manifest, but not given" for name in seen.missing]
        notes += [
            f"  {file.name}: a stream, of which nothing is known before"
            for file in seen.files
            if not file.known
        ]
        if notes:
            lines.append("To be known, though a coadd does not end because of it:")
            lines += notes[:_SHOWN]
        if len(notes) > _SHOWN:
            lines.append(f"  ... and {len(notes) - _SHOWN} more (--json lists all)")
        lines += self.estimate.lines()
        lines.append(_verdict(self))
        return lines

    def as_data(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        seen = self.seen
        return {
            "fine": self.is_fine,
            "files": [
                {
                    "name": file.name,
                    "bytes": file.n_bytes,
                    "frames": file.n_frames,
                    "maps": file.n_maps,
                    "problems": [one._asdict() for one in file.problems],
                    "copy": seen.copies.get(at),
                }
                for at, file in enumerate(seen.files)
            ],
            "undecided": seen.undecided,
            "missing": seen.missing,
            "estimate": self.estimate._asdict(),
        }


@useful
def check_files(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    mpicomm: communicators.Comm | None = None,
    deep: bool = False,
    map_ids: str | Sequence[str] | None = None,
    collate: bool = False,
    weighted: bool = True,
    ignore_missing_weights: bool = False,
    assign: Assign | None = None,
    pol_conv: Any = None,
    input_pol_conv: PolConv | None = None,
    input_coord: InputCoord | None = None,
    input_units: str | None = None,
    nonfinite: Nonfinite = "keep",
    reproducible: bool = False,
    on_duplicate: OnDuplicate = "error",
    same_observation: SameObservation = "warn",
    like: str | os.PathLike[str] | None = None,
    manifest: str | os.PathLike[str] | None = None,
    atomic: str | os.PathLike[str] | None = None,
    where: str | None = None,
    progress: bool | Observer | None = None,
) -> Checked:
    """Look at the files of a coadd without adding them. Collective over `mpicomm`.

    Nothing that is wrong with a file is an error here: all is in what is returned.

    Parameters
    ----------
    files, mpicomm
        As in `coadd_files`.
    deep : bool
        Read all pixels, too: checksums are compared, and NaN, infinities, and negative or singular
        weights are found. Else only headers and attributes are read, and all of small frames.
    map_ids, collate, weighted, ignore_missing_weights, assign, pol_conv, input_pol_conv, \
input_coord, input_units, nonfinite, reproducible, on_duplicate, same_observation, like, manifest, \
atomic, where
        As in `coadd_files`, for the coadd that is meant.
    progress
        As in `coadd_files`.

    Returns
    -------
    Checked
        Its `is_fine` is the verdict, its `lines()` are the report.

    Raises
    ------
    InputError
        On all ranks, if a pattern matches nothing, or `like` or the manifest cannot be read.
    UsageError
        If an argument cannot be used.

    Examples
    --------
    >>> checked = check_files("obs*.g3", deep=True)  # doctest: +SKIP
    >>> print(*checked.lines(), sep="\\n")  # doctest: +SKIP
    >>> checked.is_fine  # doctest: +SKIP
    True
    """
    comm = communicators.private(mpicomm)
    choice = Choice(
        check=True,
        on_duplicate=on_duplicate,
        same_observation=same_observation,
        like=like,
        manifest=manifest,
    )

    rows, assumed = Atomic(atomic, where), Assumed(input_pol_conv, input_coord, input_units)

    def check() -> tuple[list[str | os.PathLike[str]], dict[str, object]]:
        choice.verify()
        require_progress(progress)
        names = as_names(files)
        same = {"deep": deep, "input": assumed.checked("input_")[:3], **choice._asdict()}
        return names, {"files": list(map(str, names)), **same, **rows.verify()}

    given = agreed_arguments(comm, "The arguments of check_files", check)
    coadder = MPIMapCoadder(
        comm,
        map_ids=map_ids,
        collate=collate,
        weighted=weighted,
        ignore_missing_weights=ignore_missing_weights,
        assign=assign,
        pol_conv=pol_conv,
        nonfinite=nonfinite,
        reproducible=reproducible,
        on_duplicate=on_duplicate,
        same_observation=same_observation,
    )
    names, named = from_rank(comm, 0, lambda: names_of(given, rows))
    coadder.assume(assumed.checked()._replace(named=named))
    terms = coadder.terms
    with Watch(comm, "check", progress) as watch:
        watch.expect_files(names)
        seen = look_at(comm, names, terms, choice, lambda seen: seen, deep=deep, watch=watch)
    rate = from_rank(comm, 0, lambda: rate_of(seen, terms, deep=deep))
    limbs = 3 if reproducible else 1
    return Checked(seen, estimate(seen, limbs=limbs, rate=rate, n_ranks=comm.size))


def rate_of(seen: Survey, terms: Terms, *, deep: bool) -> float | None:
    """Bytes that a rank reads in a second, from one of the files; None if there is none."""
    fine = [at for at in range(len(seen.files)) if at not in seen.bad and seen.files[at].frames]
    files = [seen.files[at] for at in fine if seen.files[at].n_bytes <= _READ_FOR_RATE]
    if not files:
        return None
    one = sorted(files, key=lambda file: file.n_bytes)[len(files) // 2]
    if not deep:
        one = examine(one.name, terms, deep=True)
    return one.n_bytes / max(one.seconds, 1e-6)


def _majority(seen: Survey) -> list[str]:
    """What most files are like, by coadd."""
    left_out = seen.bad.keys() | seen.copies.keys()
    kinds: dict[str, dict[int, set[int]]] = {}
    for at, file in enumerate(seen.files):
        for frame in file.frames if at not in left_out else ():
            for name in frame.coadds:
                kinds.setdefault(name, {}).setdefault(frame.kind, set()).add(at)
    lines = []
    for name, files_of in kinds.items():
        most = max(files_of, key=lambda kind: len(files_of[kind]))
        n_files = len(set().union(*files_of.values()))
        lines.append(
            f"{name or 'Coadd'}: {n_files} of {len(seen.files)} files have "
            f"{_describe(seen.kinds[most])}"
        )
    return lines


def _describe(kind: FrameKind) -> str:
    there = {name.split(".")[0] for name in kind.stubs}
    keys = [key for key in MAP_KEYS if key in there]
    first = kind.stubs["T" if "T" in kind.stubs else next(iter(kind.stubs))]
    if is_flat(first):
        n_y, n_x = first.shape
        geometry = f"flat-sky maps of {n_x} x {n_y} pixels, {first.proj}"
    else:
        geometry = f"HEALPix maps, nside {first.nside}"
    attributes = [str(first.coord_ref), str(first.units)]
    if "U" in kind.stubs:
        attributes.append(str(kind.stubs["U"].pol_conv))
    return f"{geometry}, {', '.join(attributes)}: {', '.join(keys)}"


def _verdict(checked: Checked) -> str:
    seen = checked.seen
    n_files, n_bad = len(seen.files), len(seen.bad)
    n_maps = sum(len(file.frames) for file in seen.files)
    files = "1 file" if n_files == 1 else f"{n_files} files"
    if checked.is_fine:
        return f"Fine: {files}, {n_maps} maps to be added."
    if not n_bad:
        return f"Not fine: {files}, which do not agree."
    return f"Not fine: {n_bad} of {files} cannot be used."
