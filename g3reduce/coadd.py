"""The coadder: an end-of-pipeline module that sums map frames over all ranks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from spt3g import core

from . import comm as communicators
from . import skymaps, strategies
from .endmodule import PipelinePlace
from .errors import UsageError
from .ledger import UNPLACED, Entry, Ledger, ObservationId, Unit, merge, unit_of
from .mapsum import MapSum, Summary, join
from .reductions import SUM

logger = logging.getLogger(__name__)

Assign: TypeAlias = "Callable[[Any], Mapping[str, int] | None]"

ON_DUPLICATE = ("error", "sum")


class _Coadd(NamedTuple):
    """One coadd on this rank."""

    total: MapSum
    ledger: Ledger


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
        self._comm = communicators.duplicate(mpicomm)
        self._map_ids = [map_ids] if isinstance(map_ids, str) else map_ids
        self._output_map_id = output_map_id
        self._collate = collate
        self._weighted = weighted
        self._ignore_missing_weights = ignore_missing_weights
        self._drop_input_frames = drop_input_frames
        self._record_obs_id = record_obs_id
        self._keep_outputs = keep_outputs
        self._assign = assign
        self._result = result
        self._root = root
        self._on_root = self._comm.rank == root
        self._once = on_duplicate == "error"
        self._pol_conv, self._strategy = communicators.collectively(
            self._comm, lambda: self._check_arguments(strategy, on_duplicate, pol_conv)
        )
        communicators.same_everywhere(
            self._comm,
            "The arguments of MPIMapCoadder",
            {
                "map_ids": self._map_ids,
                "output_map_id": output_map_id,
                "collate": collate,
                "weighted": weighted,
                "strategy": strategy,
                "result": result,
                "root": root,
                "on_duplicate": on_duplicate,
                "pol_conv": str(pol_conv),
            },
        )
        self._coadds: dict[str, _Coadd] = {}
        self._observation = ObservationId()
        self._arrived: dict[str, int] = {}
        self._place = PipelinePlace()
        self._outputs: dict[str, Any] = {}
        self._warned = False
        self._ended = False

    @property
    def coadd_frame(self) -> Any:
        """The coadd, after the end of processing; None on ranks that do not hold it.

        Raises
        ------
        UsageError
            With `collate` or `assign`, because there may be several: see `coadd_frames`.
        """
        if self._several:
            raise UsageError("There may be several coadds: use .coadd_frames, a dictionary by Id.")
        return next(iter(self._outputs.values()), None)

    @property
    def coadd_frames(self) -> dict[str, Any]:
        """The coadds, after the end of processing, on the ranks that hold them; else empty.

        With `collate` by the Id of the input, else by that of the output.
        """
        return self._outputs

    def __call__(self, frame: Any) -> Any:
        """Take the next frame of the pipeline (spt3g calls this)."""
        known = self._place.see(frame)
        if frame.type == core.G3FrameType.EndProcessing:
            communicators.collectively(self._comm, self._place.require_whole_input)
            outputs = self.finish()
            return [*outputs, frame] if self._on_root else None
        if known:
            return None
        self.observe(frame)
        if frame.type != core.G3FrameType.Map:
            return None
        return False if self.add(frame) and self._drop_input_frames else None

    def observe(self, frame: Any) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._observation.look_at(frame)

    def add(self, frame: Any) -> bool:
        """Add a Map frame to the coadds to which it belongs.

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
        unit = self._unit_of(frame)
        where = _describe(frame, unit, self._comm)
        entry = self._entry(frame, unit)
        maps = skymaps.read(frame, where, weighted=self._weighted, pol_conv=self._pol_conv)
        self._warn_of_missing_weights(maps)
        for output, sign in shares.items():
            if output not in self._coadds:
                total = MapSum.of(maps, require_weights=not self._ignore_missing_weights)
                self._coadds[output] = _Coadd(total, Ledger())
            coadd = self._coadds[output]
            if self._once:
                coadd.ledger.refuse_duplicate(entry)
            coadd.total.add(maps, sign)
            coadd.ledger.record(entry)
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
        everywhere = self._comm.allgather(
            {
                name: (coadd.total.summary, coadd.ledger.entries)
                for name, coadd in self._coadds.items()
            }
        )
        plan = communicators.collectively(self._comm, lambda: self._plan(everywhere))
        outputs = {}
        for name, (summaries, ledger) in plan.items():
            frame = self._join(name, summaries, ledger)
            if frame is not None:
                outputs[name] = frame
        if not plan:
            logger.warning("MPIMapCoadder: no map came on any rank, so there is no coadd.")
        self._coadds.clear()
        self._comm.Free()
        self._place.leave(outputs.values())
        if self._keep_outputs:
            self._outputs = outputs
        return list(outputs.values())

    @property
    def _several(self) -> bool:
        return self._collate or self._assign is not None

    def _check_arguments(
        self, strategy: str, on_duplicate: str, pol_conv: Any
    ) -> tuple[Any, strategies.Strategy]:
        if self._assign is not None and (self._collate or self._map_ids is not None):
            raise UsageError(
                "assign says which coadd a frame goes to, and so do map_ids and collate: "
                "give one or the other."
            )
        if on_duplicate not in ON_DUPLICATE:
            raise UsageError(
                f"on_duplicate is {on_duplicate!r}; expected one of {', '.join(ON_DUPLICATE)}."
            )
        if not (isinstance(self._root, int) and 0 <= self._root < self._comm.size):
            raise UsageError(
                f"root is {self._root!r}; expected a rank, 0 to {self._comm.size - 1}."
            )
        return skymaps.as_pol_conv(pol_conv), strategies.choose(strategy, self._result)

    def _shares_of(self, frame: Any) -> Mapping[str, int]:
        """The coadds to which a frame belongs, with its sign in each."""
        if self._assign is None:
            map_id = frame.get("Id", None)
            if map_id is None or (self._map_ids is not None and map_id not in self._map_ids):
                return {}
            return {map_id if self._collate else self._output_map_id: 1}
        shares = self._assign(frame)
        if shares is None:
            return {}
        if not isinstance(shares, Mapping) or any(
            not isinstance(name, str) or sign not in (1, -1) for name, sign in shares.items()
        ):
            where = _describe(frame, unit_of(frame), self._comm)
            raise UsageError(
                f"assign() returned {shares!r} for {where}; expected a dictionary of output Ids "
                "and signs, +1 or -1, or None."
            )
        return shares

    def _unit_of(self, frame: Any) -> Unit | None:
        """The unit of a frame, also of one that comes from spt3g's own reader."""
        unit = unit_of(frame)
        file = getattr(frame, "_filename", None)
        if unit is not None or not file:
            return unit
        # That reader does not count frames; the order of arrival tells them apart.
        arrived = self._arrived.get(file, 0)
        self._arrived[file] = arrived + 1
        return Unit(file, -1 - arrived)

    def _entry(self, frame: Any, unit: Unit | None) -> Entry:
        if "InputMapIds" in frame:  # a coadd itself
            map_ids = tuple(frame["InputMapIds"])
        else:
            prefix = self._observation.prefix(unit) if self._record_obs_id else ""
            map_ids = (prefix + frame["Id"],) if frame.get("Id", None) else ()
        if "InputFiles" in frame:
            files = tuple(frame["InputFiles"])
        else:
            files = (unit.file,) if unit else ()
        return Entry.of(unit, map_ids, files)

    def _warn_of_missing_weights(self, maps: skymaps.MapFrame) -> None:
        if not (self._ignore_missing_weights or self._warned) and skymaps.missing_weights(maps):
            self._warned = True  # once: there may be thousands of them
            logger.warning("%s: the maps are weighted, but have no weights.", maps.where)

    def _plan(
        self, everywhere: list[dict[str, tuple[Summary, list[Entry]]]]
    ) -> dict[str, tuple[list[Summary], Ledger]]:
        """What there is to join, the same on all ranks, in the order of the input."""
        plan = {}
        # In one order: all ranks must come upon the same thing first, should something be wrong.
        for name in dict.fromkeys(name for held in everywhere for name in held):
            summaries = [held[name][0] for held in everywhere if name in held]
            ledgers = [Ledger(held[name][1] if name in held else []) for held in everywhere]
            plan[name] = (summaries, merge(ledgers, once=self._once))
            self._total(name, summaries).prepare(summaries)
        return dict(sorted(plan.items(), key=lambda item: _order(item[0], item[1][1])))

    def _total(self, name: str, summaries: list[Summary]) -> MapSum:
        if name not in self._coadds:  # a rank without any such map
            total = MapSum(join(summaries), require_weights=not self._ignore_missing_weights)
            self._coadds[name] = _Coadd(total, Ledger())
        return self._coadds[name].total

    def _join(self, name: str, summaries: list[Summary], ledger: Ledger) -> Any:
        total = self._coadds.pop(name).total
        blocks = strategies.reduce(
            self._comm, total.blocks, SUM, self._strategy, result=self._result, root=self._root
        )
        if blocks is None:
            return None
        total.blocks = blocks
        frame_id = self._output_map_id + name if self._collate else name
        frame = skymaps.to_frame(frame_id, total.to_maps())
        if ledger.map_ids():
            frame["InputMapIds"] = core.G3VectorString(ledger.map_ids())
        if ledger.files():
            frame["InputFiles"] = core.G3VectorString(ledger.files())
        return frame


def _order(name: str, ledger: Ledger) -> tuple[int, int, str]:
    """Coadds come in the order of their first input, then of their names."""
    position, index = ledger.first_place()
    # Where no reader of ours counted the input, they stay as they came.
    return position, index, name if position < UNPLACED else ""


def _describe(frame: Any, unit: Unit | None, comm: communicators.Comm) -> str:
    where = str(unit) if unit else "a frame made in the pipeline"
    return f"{where} (Id {frame.get('Id', None)!r}){communicators.describe_rank(comm)}"
