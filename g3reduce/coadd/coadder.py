"""The coadder: an end-of-pipeline module that sums map frames over all ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal

from spt3g import core

from ..choices import Nonfinite, OnDuplicate, ReadyStrategy, Result, SameObservation
from ..errors import UsageError
from ..mpi import communicators
from ..pipeline.arguments import check_flags
from ..pipeline.endmodule import EndModule, at_the_end
from ..pipeline.ledger import union, unit_of
from ..spt3glog import unit_logger
from ..spt3gmarks import g3module
from ..spt3gtypes import Frame
from .adding import Pending
from .coadds import Coadds
from .driven import Driven
from .flipped import with_realisations
from .joining import Coadd, join_coadds
from .membership import Assign
from .reports import Note, Rules
from .settings import agreed_settings
from .subclassing import LikeCoaddMaps

logger = unit_logger(__name__, "MPIMapCoadder")


@g3module
class MPIMapCoadder(Driven, LikeCoaddMaps, EndModule):
    """Coadd map frames over all ranks; an end-of-pipeline G3 module.

    The arguments and results are those of `spt3g.maps.CoaddMaps`, with the sum taken over the
    communicator. Each rank adds the frames that its pipeline brings. At the end of processing
    the ranks join their sums: afterwards `result` holds the coadds, and on `root` the frames also
    go down the pipeline, so that one writer there just works. `coadd_frame` and `coadd_frames` are
    spt3g's names for ``result.frame`` and `result`.

    T, Q, U, the weights (Wpol or Wunpol) and the hits (H) are summed. Maps that do not agree in
    geometry, units, coordinate system, weighting or polarization are refused before anything
    wrong is summed. Frames of input are never changed. The coadd is stored as the input was
    (dense, sparse, ring-sparse, indexed-sparse; where these mix, like the fullest).

    Each coadd frame has, besides the maps, its ``Id``; ``InputMapIds``, the Ids of all maps in
    it; and ``InputFiles``, their files (if the frames come from `MPIFileReader`, or from a
    ``G3Reader`` with ``track_filename=True``). Coadds of coadds list the original ones.

    As in spt3g, a subclass may override `get_map_id` to say under which Id a frame counts. It is
    called once for each Map frame, before anything else is done with it.

    Collective over `mpicomm`: the constructor, and the end of processing. The module cannot be
    the first of a pipeline, which spt3g does not call at the end.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    map_ids : str or list of str, optional
        Ids of maps to include. Default: all.
    output_map_id : str
        Id of the coadd. With `collate`, a prefix to the input's Id.
    collate : bool
        Coadd maps of each Id separately.
    weighted : bool
        Make sure that weights have been applied: unweighted maps that come with weights are
        weighted in a copy. Otherwise maps are added as they are.
    ignore_missing_weights : bool
        Do not warn of weighted maps without weights, and let frames with and without weights go
        into one coadd.
    drop_input_frames : bool
        Take frames that went into a coadd out of the pipeline; and those that did not, if
        a reader of g3reduce has shared them out, or a writer on one rank would get those that
        happened to come to this rank. (Not if another end module may stand behind this one.)
    record_obs_id : bool
        Write ``SourceName/ObservationID/`` in front of the Ids in ``InputMapIds``.
    keep_outputs : bool
        Keep the coadds in `result` after the end of processing.
    assign : callable, optional
        ``assign(frame)`` returns ``{output Id: +1 or -1}``, or None for a frame that takes no
        part: any number of splits, bundles and sign-flip realisations in one pass. The sign goes
        to T, Q and U; weights and hits are always added. Excludes `map_ids` and `collate`,
        which are cases of it.
    strategy : {"auto", "gather", "tree", "allreduce", "reduce_scatter", "owner"}
        How the ranks join their sums.
    result : {"root", "all", "sharded"}
        Which ranks get the coadds. Sharded: each rank gets a part of the pixels that were hit, in
        ``result.shards``, and there are no frames.
    root : int
        The rank on which the coadds enter the pipeline, and the one that gets them with
        ``result="root"``.
    on_duplicate : {"error", "sum"}
        What to do with a frame that comes a second time, on whatever rank: of the same file by any
        name, or of the same content.
    same_observation : {"error", "warn", "sum"}
        What to do with maps of one Id and one observation (`SourceName`, `ObservationID`) that come
        from several files and differ: raise; sum them, and say how many there are; or sum them.
    pol_conv : {"IAU", "COSMO"} or spt3g.maps.MapPolConv, optional
        Convert polarization to this convention (the sign of U, TU and QU). Default: conventions
        that differ are an error.
    reproducible : bool
        Sum in a way that does not depend on the order, so that the coadds are the same to the bit
        on any number of ranks. It takes two or three times the memory.
    absmax : float or dict of str to float, optional
        With `reproducible`, the largest absolute value of any pixel of the input, for all maps,
        or by plane (``"Wpol.TT"``) or key (``"T"``, ``"Wpol"``). Where it is given the sums take
        twice the memory, not three times.
    nonfinite : {"keep", "error", "skip"}
        What to do about NaN and infinite pixels, of maps or weights: sum them as spt3g does, so
        that the sum is not finite either; raise; or leave each out of all maps of its frame and
        count it, in `skipped_pixels` and in ``SkippedPixels`` of the coadd. What is not kept is
        looked for, which takes about as long as adding.
    metadata_lasts : bool
        With `record_obs_id`, let the observation of a file count for those after it without one.
    keep_exact : bool
        With `reproducible`, keep the exact sums in the coadd frames, beside the maps, which are
        rounded. Then reproducible coadds of these coadds are those of the original maps, to the
        bit. They take two or three times the size of dense maps; ``ExactBytes`` says how much.

    Raises
    ------
    UsageError
        If an argument cannot be used or differs between ranks.
    InputError, MismatchError, DuplicateError
        While frames are added, or, at the end, on all ranks; with file, frame and both values.

    Examples
    --------
    A script for ``mpirun -n 8 python coadd.py obs*.g3``:

    >>> coadder = MPIMapCoadder(comm, collate=True)  # doctest: +SKIP
    >>> pipe = core.G3Pipeline()  # doctest: +SKIP
    >>> pipe.Add(MPIFileReader, mpicomm=comm, files=[sys.argv[1:]])  # doctest: +SKIP
    >>> pipe.Add(coadder)  # doctest: +SKIP
    >>> pipe.Run()  # doctest: +SKIP
    >>> coadder.result["150GHz"]["T"]  # on rank 0  # doctest: +SKIP

    Two halves and their difference, in one pass:

    >>> def halves(frame):
    ...     first = unit_of(frame).file < "obs_0500.g3"
    ...     return {"first" if first else "second": 1, "difference": 1 if first else -1}
    """

    def __init__(
        self,
        mpicomm: communicators.Comm | None = None,
        map_ids: str | Sequence[str] | None = None,
        output_map_id: str = "Coadd",
        collate: bool = False,
        weighted: bool = True,
        ignore_missing_weights: bool = False,
        drop_input_frames: bool = False,
        record_obs_id: bool = False,
        keep_outputs: bool = True,
        *,
        assign: Assign | None = None,
        strategy: ReadyStrategy | str = "auto",
        result: Result = "root",
        root: int = 0,
        on_duplicate: OnDuplicate = "error",
        same_observation: SameObservation = "warn",
        pol_conv: Any = None,
        reproducible: bool = False,
        absmax: float | Mapping[str, float] | None = None,
        nonfinite: Nonfinite = "keep",
        metadata_lasts: bool = False,
        keep_exact: bool = False,
    ):
        comm = communicators.private(mpicomm)

        def check() -> None:
            check_flags(drop_input_frames=drop_input_frames, keep_outputs=keep_outputs)
            self._check_get_map_id(assign)

        self._settings = agreed_settings(
            comm,
            check,
            map_ids=map_ids,
            output_map_id=output_map_id,
            collate=collate,
            weighted=weighted,
            ignore_missing_weights=ignore_missing_weights,
            record_obs_id=record_obs_id,
            assign=assign,
            strategy=strategy,
            result=result,
            root=root,
            on_duplicate=on_duplicate,
            same_observation=same_observation,
            pol_conv=pol_conv,
            reproducible=reproducible,
            absmax=absmax,
            nonfinite=nonfinite,
            metadata_lasts=metadata_lasts,
            keep_exact=keep_exact,
        )
        self._members = self._settings.members
        self._drop_input_frames = drop_input_frames
        self._keep_outputs = keep_outputs
        self._intake = self._new_intake(comm)
        self._coadds = Coadds(here=False)
        self._skipped: dict[str, int] = {}
        self.with_maps: frozenset[int] = frozenset()
        super().__init__(comm)

    @property
    def result(self) -> Coadds:
        """The coadds of all ranks, on those that hold them, after the end of processing.

        Raises
        ------
        UsageError
            Before the end of processing.
        """
        return at_the_end(self._ended, self._coadds, "coadd")

    @property
    def skipped_pixels(self) -> dict[str, int]:
        """How many pixels were left out of the frames of each coadd, by name, on all ranks.

        With ``nonfinite="skip"``, after the end of processing.
        """
        return at_the_end(self._ended, self._skipped, "coadd")

    def __call__(self, frame: Frame) -> Any:
        """Take the next frame of the pipeline (spt3g calls this)."""
        known = self._watch.see(frame, self)
        if frame.type == core.G3FrameType.EndProcessing:
            coadds = self.finish()
            return [*coadds.values(), frame] if self._comm.rank == self._settings.root else None
        if known:
            return None
        self.observe(frame)
        if frame.type != core.G3FrameType.Map:
            return None
        pending = self.take(frame)
        if pending is False:
            return False
        if pending:
            self.add_taken([pending])
        dropped = self._drop_input_frames and (pending or self._is_of_this_rank(frame))
        return False if dropped else None

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._intake.observe(frame)

    def add(self, frame: Frame) -> bool:
        """Add a Map frame to the coadds to which it belongs, or to none of them if it is refused.

        Returns
        -------
        bool
            Whether it belongs to any.
        """
        pending = self.take(frame)
        if pending:
            self.add_taken([pending])
        return bool(pending)

    def take(self, frame: Frame) -> Pending | Literal[False] | None:
        """Count a Map frame that `add_taken` is to add: the first half of `add`.

        Returns
        -------
        Pending, None or False
            None if it belongs to no coadd, False if it is also to be dropped from the pipeline.
        """
        self._require_open()
        return self._intake.take(frame, self.get_map_id)

    def add_taken(self, taken: Sequence[Pending]) -> None:
        """Add frames that were taken, several at once, which is faster than one by one."""
        self._intake.add(taken)

    def finish(self) -> Coadds:
        """Join the sums of all ranks; what happens at the end of processing. Collective.

        Returns
        -------
        Coadds
            The `result`, also if it is not kept.
        """
        joined = self.join()
        if self._settings.result == "sharded":
            joined = {}
        return self.finish_with({name: coadd.to_frame() for name, coadd in joined.items()})

    def finish_with(self, frames: dict[str, Frame]) -> Coadds:
        """End with the frames that were made of what `join` has joined."""
        self._watch.leave(frames.values())
        coadds = self._coadds = self._coadds.with_frames(frames)
        if not self._keep_outputs:
            self.reset()
        return coadds

    def join(
        self,
        failure: Exception | None = None,
        n_seen: Counter[str] | None = None,
        with_maps: Set[int] = frozenset(),
        check: Callable[[Counter[str], bool], None] = lambda n_seen, any_added: None,
        when_met: Callable[[], object] = lambda: None,
    ) -> dict[str, Coadd]:
        """Join the sums of all ranks, without making frames of them. Collective.

        Parameters
        ----------
        failure : Exception, optional
            What has gone wrong on this rank before, of which all ranks are to hear.
        n_seen : Counter, optional
            How many Map frames of each Id this rank has read.
        with_maps : set of int
            The positions of files in which it has met Map frames.
        check : callable
            Called with the sum of `n_seen` over all ranks, and whether any frame was added on any,
            before the sums are joined; raises what there is against it.
        when_met : callable
            Called once all ranks have come.

        Returns
        -------
        dict of str to Coadd
            The coadds, on the ranks that hold them; of shards, what this rank owns.
        """
        self._end(self._intake.require_all_added, failure)
        when_met()
        settings = self._settings
        for coadd in self._intake.coadds.values():
            coadd.total.settle()
        rules = Rules(
            settings.once,
            settings.same_observation,
            not settings.ignore_missing_weights,
            self._members.frame_id,
            lambda note, any_added: check(note.n_seen, any_added),
        )
        names, joined, statistics, self._skipped, note = join_coadds(
            self._comm,
            self._intake.coadds,
            settings.strategy,
            result=settings.result,
            root=settings.root,
            rules=rules,
            keep_exact=settings.keep_exact,
            note=Note(
                self._members.mixed,
                self._members.records,
                n_seen or Counter(),
                with_maps,
                self._intake.provenance.ends(),
            ),
        )
        self._intake.coadds.clear()
        self._members.records.update(note.records)
        own = list(joined.values())  # what is beside them has the same frames
        joined = with_realisations(joined, self._members)
        self._skipped = {
            each: count
            for name, count in self._skipped.items()
            for each in (name, *self._members.flips_beside(name))
        }
        if self._comm.rank == 0:
            self._members.warn_of_mixed_ids(note.mixed)
        if not names and self._comm.rank == settings.root:
            logger.warning("MPIMapCoadder: no map came on any rank, so there is no coadd.")
        self.with_maps = frozenset(note.with_maps)
        sharded = settings.result == "sharded"
        self._coadds = Coadds(
            here=settings.result != "root" or self._comm.rank == settings.root,
            shards={name: coadd.total.shard() for name, coadd in joined.items() if sharded},
            statistics=statistics,
            ledger=union(coadd.ledger for coadd in own),
        )
        return joined

    def _has_frames(self) -> bool:
        return bool(self._intake.coadds)

    def _check_get_map_id(self, assign: Assign | None) -> None:
        if assign and type(self).get_map_id is not MPIMapCoadder.get_map_id:
            raise UsageError(
                "assign says which coadd a frame goes to, and so does get_map_id of "
                f"{type(self).__name__}: have one or the other."
            )

    def _is_of_this_rank(self, frame: Frame) -> bool:
        """Whether a frame is here because of the schedule, and no module behind may need it."""
        unit = unit_of(frame)
        return unit is not None and not unit.shared and self._watch.claim_last()
