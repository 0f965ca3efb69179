"""The coadder: an end-of-pipeline module that sums map frames over all ranks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, TypeAlias

from spt3g import core

from . import comm as communicators
from . import skymaps, strategies, waiting
from .endmodule import PipelinePlace
from .errors import InputError, UsageError
from .jobend import must_end
from .joining import Coadd, join_coadds
from .ledger import Entry, Ledger, unit_of
from .mapsum import MapSum
from .provenance import Provenance

logger = logging.getLogger(__name__)

Assign: TypeAlias = "Callable[[Any], Mapping[str, int] | None]"

ON_DUPLICATE = ("error", "sum")


class MPIMapCoadder:
    """Coadd map frames over all ranks; an end-of-pipeline G3 module.

    The arguments and results are those of `spt3g.maps.CoaddMaps`, with the sum taken over the
    communicator. Each rank adds the frames that its pipeline brings. At the end of processing
    the ranks join their sums: afterwards `coadd_frame` and `coadd_frames` hold the result, and on
    `root` the frames also go down the pipeline, so that one writer there just works.

    T, Q, U, the weights (Wpol or Wunpol) and the hits (H) are summed. Maps that do not agree in
    geometry, units, coordinate system, weighting or polarization are refused before anything
    wrong is summed. Frames of input are never changed. The coadd is stored as the input was
    (dense, sparse, ring-sparse, indexed-sparse; where these mix, like the fullest).

    Each coadd frame has, besides the maps, its ``Id``; ``InputMapIds``, the Ids of all maps in
    it; and ``InputFiles``, their files (if the frames come from `MPIFileReader`, or from a
    ``G3Reader`` with ``track_filename=True``). Coadds of coadds list the original ones.

    As in spt3g, a subclass may override `get_map_id` to say under which Id a frame counts.

    Collective over `mpicomm`: the constructor, and the end of processing. The module cannot be
    the first of a pipeline, because spt3g does not tell that one of the end.

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
        Take frames that went into a coadd out of the pipeline.
    record_obs_id : bool
        Write ``SourceName/ObservationID/`` in front of the Ids in ``InputMapIds``.
    keep_outputs : bool
        Keep the coadds in `coadd_frame` and `coadd_frames` after the end of processing.
    assign : callable, optional
        ``assign(frame)`` returns ``{output Id: +1 or -1}``, or None for a frame that takes no
        part: any number of splits, bundles and sign-flip realisations in one pass. The sign goes
        to T, Q and U; weights and hits are always added. Excludes `map_ids` and `collate`,
        which are cases of it.
    strategy : {"auto", "gather", "tree", "allreduce"}
        How the ranks join their sums.
    result : {"root", "all"}
        Which ranks get the coadds.
    root : int
        The rank on which the coadds enter the pipeline, and the one that gets them with
        ``result="root"``.
    on_duplicate : {"error", "sum"}
        What to do with a frame of a file that comes a second time, on whatever rank.
    pol_conv : {"IAU", "COSMO"} or spt3g.maps.MapPolConv, optional
        Convert polarization to this convention (the sign of U, TU and QU). Default: conventions
        that differ are an error.

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
    >>> coadder.coadd_frames["150GHz"]["T"]  # on rank 0  # doctest: +SKIP

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
        strategy: str = "auto",
        result: str = "root",
        root: int = 0,
        on_duplicate: str = "error",
        pol_conv: Any = None,
    ):
        self._comm = communicators.private(mpicomm)
        self._map_ids = as_list_of_ids(map_ids)
        self._output_map_id = output_map_id
        self._collate = collate
        self._weighted = weighted
        self._ignore_missing_weights = ignore_missing_weights
        self._drop_input_frames = drop_input_frames
        self._keep_outputs = keep_outputs
        self._assign = assign
        self._result = result
        self._once = on_duplicate == "error"
        self._pol_conv, self._strategy, self._root = communicators.collectively(
            self._comm, lambda: self._check_arguments(strategy, on_duplicate, pol_conv, root)
        )
        communicators.same_everywhere(
            self._comm,
            "The arguments of MPIMapCoadder",
            {
                "map_ids": self._map_ids,
                "output_map_id": output_map_id,
                "collate": collate,
                "weighted": weighted,
                "ignore_missing_weights": ignore_missing_weights,
                "record_obs_id": record_obs_id,
                "assign": "given" if assign else None,
                "strategy": strategy,
                "result": result,
                "root": self._root,
                "on_duplicate": on_duplicate,
                "pol_conv": str(pol_conv),
            },
        )
        self._coadds: dict[str, Coadd] = {}
        self._provenance = Provenance(record_obs_id)
        self._place = PipelinePlace()
        self._outputs: dict[str, Any] = {}
        self._warned = False
        self._ended = False
        if self._comm.size > 1:
            must_end(self)

    @property
    def coadd_frame(self) -> Any:
        """The coadd, after the end of processing; None on ranks that do not hold it.

        Raises
        ------
        UsageError
            With `collate` or `assign`, because there may be several: see `coadd_frames`. Before
            the end of processing, because there is none yet.
        """
        if self._collate or self._assign is not None:
            raise UsageError("There may be several coadds: use .coadd_frames, a dictionary by Id.")
        return next(iter(self.coadd_frames.values()), None)

    @property
    def coadd_frames(self) -> dict[str, Any]:
        """The coadds, after the end of processing, on the ranks that hold them; else empty.

        With `collate` by the Id of the input, else by that of the output.

        Raises
        ------
        UsageError
            Before the end of processing.
        """
        if not self._ended:
            raise UsageError(
                "There is no coadd before the end of processing: run the pipeline to its end, or "
                "call finish() on all ranks."
            )
        return self._outputs

    @property
    def unfinished(self) -> bool:
        """Whether there are sums here that were not joined with those of the other ranks."""
        return (self._place.begun or bool(self._coadds)) and not self._ended

    def get_map_id(self, frame: Any) -> Any:
        """Under which Id a Map frame counts; for subclasses, as in spt3g.

        Returns
        -------
        str, None or False
            None for a frame that is to be passed on without being counted, False for one that is
            to be dropped from the pipeline.
        """
        map_id = frame.get("Id", None)
        if map_id is not None and not isinstance(map_id, str):
            raise InputError(
                f"{self._describe(frame)}: the Id is a {type(map_id).__name__}; expected a string."
            )
        return map_id

    def __call__(self, frame: Any) -> Any:
        """Take the next frame of the pipeline (spt3g calls this)."""
        if frame is None:
            raise UsageError(
                "MPIMapCoadder is the first module of this pipeline; it needs one before it that "
                "brings frames, such as MPIFileReader."
            )
        known = self._place.see(frame)
        waiting.check()
        if frame.type == core.G3FrameType.EndProcessing:
            outputs = self.finish()
            return [*outputs, frame] if self._comm.rank == self._root else None
        if known:
            return None
        self.observe(frame)
        if frame.type != core.G3FrameType.Map:
            return None
        if self._assign is None and self.get_map_id(frame) is False:
            return False
        return False if self.add(frame) and self._drop_input_frames else None

    def observe(self, frame: Any) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._provenance.look_at(frame)

    def add(self, frame: Any) -> bool:
        """Add a Map frame to the coadds to which it belongs, or to none of them if it is refused.

        Returns
        -------
        bool
            Whether it belongs to any.
        """
        if self._ended:
            raise UsageError("This coadder has ended its work; make a new one for more frames.")
        shares = self._shares_of(frame)
        if not shares:
            return False
        entry = self._provenance.entry_of(frame)
        where = self._describe(frame, entry)
        maps = skymaps.read(frame, where, weighted=self._weighted, pol_conv=self._pol_conv)
        self._warn_of_missing_weights(maps)
        if len(shares) > 1:
            maps = maps.decoded()
        for name in shares:
            if name in self._coadds:
                self._coadds[name].total.check(maps)
                if self._once:
                    self._coadds[name].ledger.refuse_duplicate(entry)
        for name, sign in shares.items():
            if name not in self._coadds:
                total = MapSum.of(maps, require_weights=not self._ignore_missing_weights)
                self._coadds[name] = Coadd(total, Ledger())
            self._coadds[name].total.add(maps, sign)
            self._coadds[name].ledger.record(entry)
        return True

    def finish(self) -> list[Any]:
        """Join the sums of all ranks; what happens at the end of processing. Collective.

        Returns
        -------
        list of spt3g.core.G3Frame
            The coadds, on the ranks that hold them.
        """
        if self._ended:
            raise UsageError("This coadder has ended its work already.")
        self._ended = True
        if waiting.open_guards:
            # The guard tells the others at once, where an agreement would take them to their end.
            self._place.require_whole_input()
            waiting.meet(self._comm, "the end of processing")
        communicators.collectively(self._comm, self._place.require_whole_input)
        names, joined = join_coadds(
            self._comm,
            self._coadds,
            self._strategy,
            result=self._result,
            root=self._root,
            once=self._once,
            require_weights=not self._ignore_missing_weights,
        )
        self._coadds.clear()
        if not names and self._comm.rank == self._root:
            logger.warning("MPIMapCoadder: no map came on any rank, so there is no coadd.")
        outputs = {name: self._to_frame(name, coadd) for name, coadd in joined.items()}
        self._place.leave(outputs.values())
        if self._keep_outputs:
            self._outputs = outputs
        return list(outputs.values())

    def discard(self) -> None:
        """Forget all that was added, after an error that all ranks know of."""
        self._coadds.clear()

    def _check_arguments(
        self, strategy: str, on_duplicate: str, pol_conv: Any, root: int
    ) -> tuple[Any, strategies.Strategy, int]:
        if self._assign is not None and (self._collate or self._map_ids is not None):
            raise UsageError(
                "assign says which coadd a frame goes to, and so do map_ids and collate: "
                "give one or the other."
            )
        if on_duplicate not in ON_DUPLICATE:
            raise UsageError(
                f"on_duplicate is {on_duplicate!r}; expected one of {', '.join(ON_DUPLICATE)}."
            )
        chosen = strategies.choose(strategy, self._result)
        return skymaps.as_pol_conv(pol_conv), chosen, communicators.rank_of(root, self._comm)

    def _shares_of(self, frame: Any) -> Mapping[str, int]:
        """The coadds to which a frame belongs, with its sign in each."""
        if self._assign is None:
            map_id = self.get_map_id(frame)
            known = self._map_ids is None or map_id in self._map_ids
            if not map_id or not known:
                return {}
            return {map_id if self._collate else self._output_map_id: 1}
        shares = self._assign(frame)
        if shares is None:
            return {}
        if not isinstance(shares, Mapping) or any(
            not isinstance(name, str) or sign not in (1, -1) for name, sign in shares.items()
        ):
            raise UsageError(
                f"assign() returned {shares!r} for {self._describe(frame)}; expected a dictionary "
                "of output Ids and signs, +1 or -1, or None."
            )
        return shares

    def _warn_of_missing_weights(self, maps: skymaps.MapFrame) -> None:
        if not (self._ignore_missing_weights or self._warned) and skymaps.missing_weights(maps):
            self._warned = True  # once: there may be thousands of them
            logger.warning("%s: the maps are weighted, but have no weights.", maps.where)

    def _to_frame(self, name: str, coadd: Coadd) -> Any:
        frame_id = self._output_map_id + name if self._collate else name
        frame = skymaps.to_frame(frame_id, coadd.total.to_maps())
        for key, values in (
            ("InputMapIds", coadd.ledger.map_ids()),
            ("InputFiles", coadd.ledger.files()),
        ):
            if values:
                frame[key] = core.G3VectorString(values)
        return frame

    def _describe(self, frame: Any, entry: Entry | None = None) -> str:
        unit = entry.unit if entry else unit_of(frame)
        where = str(unit) if unit else "a frame made in the pipeline"
        rank = communicators.describe_rank(self._comm)
        return f"{where} (Id {frame.get('Id', None)!r}){rank}"


def as_list_of_ids(map_ids: str | Sequence[str] | Set[str] | None) -> list[str] | None:
    """A list of Ids, in an order that is the same on all ranks, from what a user may give."""
    if map_ids is None:
        return None
    if isinstance(map_ids, str):
        return [map_ids]
    return sorted(map_ids) if isinstance(map_ids, Set) else list(map_ids)
