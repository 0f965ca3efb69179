"""The accumulator: an end-of-pipeline module that keeps frames, and lists them on all ranks."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple, TypeAlias

from spt3g import core

from ..choices import OnDuplicate
from ..errors import ReductionError, text_of
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, collectively, describe_rank, gather_packed
from ..spt3gmarks import g3module
from ..spt3gtypes import Frame
from .arguments import check_functions, frame_types
from .endmodule import EndModule, at_the_end
from .ledger import (
    Entry,
    Ledger,
    check_on_duplicate,
    merge,
    set_unit,
    unit_of,
    where_of,
)
from .observations import ObservationNames
from .originals import KnownFiles
from .userfunctions import UserFunctions

Item: TypeAlias = "tuple[Any, int, Any]"

_SCANS = (core.G3FrameType.Scan, core.G3FrameType.Timepoint)

# Frames of these types belong to one rank; others are metadata, which all ranks get.
_DATA = (*_SCANS, core.G3FrameType.Map)


class _KeptFrame(NamedTuple):
    """Metadata and data that this rank keeps of a frame."""

    metadata: Any
    data: Any
    where: str
    entry: Entry
    once: bool


class _Reported(NamedTuple):
    """The report about a kept frame to the other ranks.

    Attributes
    ----------
    metadata : object
    key : object
        The key that the sorter returned.
    entry : Entry
    once : bool
        Whether no other rank may have the same frame, because it is no metadata.
    """

    metadata: Any
    key: Any
    entry: Entry
    once: bool


@g3module
class MPIAccumulator(EndModule):
    """Keep frames, or parts of them, and list them on all ranks; an end-of-pipeline G3 module.

    Data stay on the rank whose pipeline brought the frame. At the end of processing the ranks
    exchange the metadata: afterwards `result` has the same groups, in the same order and with the
    same metadata on every rank; `fullobs` is spt3g's name for it. Frames go down the pipeline as
    they came.

    A module behind may take keys from a frame and add others: the accumulator has its own copy of
    the frame. But the objects are the same, so that what is changed in place is changed in both.

    Collective over `mpicomm`: the constructor, and the end of processing. The module cannot be the
    first of a pipeline, which spt3g does not call at the end.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    extractfunc : callable, optional
        ``extractfunc(frame)`` is called with each frame, of any type, and returns what to keep as
        ``(group, metadata, data)``, or None. The group may be anything hashable. Metadata are sent
        to all ranks; data stay. Default: frames of the types `dataframes`, as ``(name, None,
        frame)``, where the name is ``"SourceName-ObservationID"``, of the frame or of the last
        Observation frame. `ScanExtractor` keeps only the timestreams.
    sorter : callable, optional
        Puts each group in order: ``sorter((metadata, rank, data))`` returns a key for `sorted`. It
        is called where the data are. Default: by rank, and on a rank as they came.
    dataframes : sequence of G3FrameType
        For the default `extractfunc`.
    on_duplicate : {"error", "sum"}
        What to do about a frame of input that was kept twice, on one rank or on two: an error, or
        keep both. Metadata frames, such as Calibration, reach all ranks anyway: of what is
        extracted from one there is an entry for each rank.

    Raises
    ------
    UsageError
        If an argument cannot be used or differs between ranks.
    ReductionError
        If `extractfunc` or `sorter` fails or returns what cannot be used, if keys cannot be
        compared, or if groups or metadata cannot be sent.
    InputError, DuplicateError
        If the pipeline was halted, or if a frame came twice.

    Examples
    --------
    >>> scans = MPIAccumulator(comm, sorter=lambda item: item[0])  # doctest: +SKIP
    >>> pipe.Add(scans)  # doctest: +SKIP
    >>> pipe.Run()  # doctest: +SKIP
    >>> for metadata, rank, frame in scans.result["ra0hdec-50-4142"]:  # doctest: +SKIP
    ...     print(metadata, rank, frame is None)
    """

    def __init__(
        self,
        mpicomm: communicators.Comm | None = None,
        extractfunc: Callable[[Frame], tuple[Hashable, Any, Any] | None] | None = None,
        sorter: Callable[[Item], Any] | None = None,
        dataframes: Iterable[Any] = _SCANS,
        *,
        on_duplicate: OnDuplicate = "error",
    ):
        comm = communicators.private(mpicomm)

        def check() -> tuple[tuple[Any, ...], dict[str, object]]:
            check_functions(extractfunc=extractfunc, sorter=sorter)
            check_on_duplicate(on_duplicate)
            types = frame_types("dataframes", dataframes)
            return types, {
                "extractfunc": "given" if extractfunc else None,
                "sorter": "given" if sorter else None,
                "dataframes": sorted(map(str, types)),
                "on_duplicate": on_duplicate,
            }

        types = agreed_arguments(comm, "The arguments of MPIAccumulator", check)
        super().__init__(comm)
        self._sorter = sorter
        self._once = on_duplicate == "error"
        self._extract = extractfunc or _FrameExtractor(types)
        self._functions = UserFunctions("MPIAccumulator", describe_rank(comm))
        self._groups: dict[Hashable, list[_KeptFrame]] = {}
        self._ledger = Ledger()
        self._known = KnownFiles()
        self._result: dict[Hashable, list[Item]] = {}

    @property
    def result(self) -> dict[Hashable, list[Item]]:
        """The kept frames of all ranks, by group, after the end of processing.

        Groups are in the order of the input. Each is a list of ``(metadata, rank, data)``, where
        the data are None on all ranks but the one that is named. All ranks have the same groups,
        orders and metadata.

        Raises
        ------
        UsageError
            Before the end of processing.
        """
        return at_the_end(self._ended, self._result, "result")

    @property
    def comm(self) -> communicators.Comm:
        """The communicator of its own on which it works."""
        return self._comm

    @property
    def fullobs(self) -> dict[Hashable, list[Item]]:
        """The kept frames of all ranks: spt3g's name for `result`."""
        return self.result

    def drop(self, group: Hashable) -> None:
        """Let go of the data of a group, whose metadata stay.

        Parameters
        ----------
        group : hashable
        """
        self.result[group][:] = [(metadata, rank, None) for metadata, rank, _ in self.result[group]]

    def discard(self) -> None:
        """Forget all that was kept, after an error that all ranks know of."""
        self._groups.clear()

    def add(self, frame: Frame) -> bool:
        """Keep what is extracted from a frame.

        Returns
        -------
        bool
            Whether there was anything.
        """
        self._require_open()
        where = where_of(frame)
        extracted = self._functions.call("extractfunc", self._extract, where, frame)
        if extracted is None:
            return False
        group, metadata, data = self._checked(extracted, where)
        entry = Entry.of(unit_of(frame), known=self._known)
        if self._once:
            self._ledger.refuse_duplicate(entry)
        self._ledger.record(entry)
        self._groups.setdefault(group, []).append(
            _KeptFrame(metadata, data, where, entry, self._once and frame.type in _DATA)
        )
        return True

    def finish(self) -> dict[Hashable, list[Item]]:
        """Tell all ranks what this one has; what happens at the end of processing. Collective.

        Returns
        -------
        dict
            The `result`.
        """
        self._end()
        mine = collectively(self._comm, self._report)
        everywhere = gather_packed(self._comm, mine, _packed)
        self._result = collectively(self._comm, lambda: self._join(everywhere))
        self._groups.clear()
        self._watch.leave([])
        return self._result

    def _checked(self, extracted: Any, where: str) -> tuple[Hashable, Any, Any]:
        if not isinstance(extracted, tuple) or len(extracted) != 3:
            self._functions.fail(
                "extractfunc",
                where,
                f"returned {extracted!r:.200}; expected (group, metadata, data), or None",
            )
        try:
            hash(extracted[0])
        except TypeError as error:
            kind = type(extracted[0]).__name__
            text = f"gives the group {extracted[0]!r} ({kind}); expected one that is hashable"
            self._functions.fail("extractfunc", where, text, error)
        return extracted

    def _has_frames(self) -> bool:
        return bool(self._groups)

    def _report(self) -> dict[Hashable, list[_Reported]]:
        """The report to the other ranks: all but the data, with the keys of the sorter."""
        rank = self._comm.rank
        return {
            group: [
                _Reported(
                    kept.metadata,
                    self._sorter
                    and self._functions.call(
                        "sorter", self._sorter, kept.where, (kept.metadata, rank, kept.data)
                    ),
                    kept.entry,
                    kept.once,
                )
                for kept in items
            ]
            for group, items in self._groups.items()
        }

    def _join(
        self, everywhere: list[dict[Hashable, list[_Reported]]]
    ) -> dict[Hashable, list[Item]]:
        """The groups of all ranks, in order; the same on all ranks."""
        entries = [
            [reported.entry for group in groups.values() for reported in group if reported.once]
            for groups in everywhere
        ]
        merge([Ledger(some) for some in entries], once=True)
        joined: dict[Hashable, list[tuple[_Reported, Item]]] = {}
        for rank, groups in enumerate(everywhere):
            for group, items in groups.items():
                mine = self._groups[group] if rank == self._comm.rank else [None] * len(items)
                joined.setdefault(group, []).extend(
                    (reported, (reported.metadata, rank, kept.data if kept else None))
                    for reported, kept in zip(items, mine, strict=True)
                )
        # Groups of equal order stay in the order of ranks.
        orders = {
            group: min(reported.entry.input_order for reported, _ in items)
            for group, items in joined.items()
        }
        return {
            group: [item for _, item in self._sorted(group, joined[group])]
            for group in sorted(orders, key=orders.__getitem__)
        }

    def _sorted(
        self, group: Hashable, items: list[tuple[_Reported, Item]]
    ) -> list[tuple[_Reported, Item]]:
        if self._sorter is None:
            return items
        try:
            return sorted(items, key=lambda both: both[0].key)
        except Exception as error:
            raise ReductionError(
                f"The group {group!r} cannot be put in order: what the sorter returns cannot be "
                f"compared ({text_of(error)}). It should be of one kind for all frames of a group, "
                "such as the time of the first sample."
            ) from error


class _FrameExtractor:
    """The default: whole frames of some types, by observation."""

    def __init__(self, dataframes: tuple[Any, ...]):
        self._dataframes = dataframes
        self._names = ObservationNames()

    def __call__(self, frame: Frame) -> tuple[str, None, Any] | None:
        self._names.observe(frame)
        if frame.type not in self._dataframes:
            return None
        copy = core.G3Frame(frame)  # which modules downstream do not change
        unit = unit_of(frame)
        if unit is not None:
            set_unit(copy, unit)
        return self._names.name_of(frame, where_of(frame)), None, copy


def _packed(reported: dict[Hashable, list[_Reported]]) -> bytes:
    """A report as bytes, or an error that names the group that cannot be sent."""
    for group, items in reported.items():
        try:
            copy, _ = pickle.loads(pickle.dumps((group, items)))
            same = copy == group
        except Exception as error:
            raise ReductionError(
                f"The group {group!r}, its metadata, or the keys of its sorter cannot be sent to "
                f"other ranks: {text_of(error)}"
            ) from error
        if not same:
            raise ReductionError(
                f"The group {group!r} ({type(group).__name__}) is not equal to a copy of itself, "
                "so that ranks would not find their parts of it. Expected a group that is known by "
                "its value, such as a string, a number or a tuple of these."
            )
    return pickle.dumps(reported)
