"""The result of a coaddition, as `coadd_files` and `MPIMapCoadder` return it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TypeVar

from ..errors import UsageError
from ..g3files.maps import MAP_KEYS
from ..maps.coverage import Coverage
from ..maps.shard import Shard
from ..pipeline.ledger import Ledger, LeftOut
from ..progress.htmltables import table_of
from ..progress.timing import Timing
from ..spt3gmarks import useful
from ..spt3gtypes import Frame
from ..strategies.traffic import Statistics
from .notebook import table_of_coadds
from .preview import Preview

T = TypeVar("T")


def _only(things: Mapping[str, T], what: str) -> T | None:
    if len(things) > 1:
        raise UsageError(
            f"There are {len(things)} {what}, so there is no only one; name one by its Id: "
            f"{', '.join(map(repr, things))}."
        )
    return next(iter(things.values()), None)


@useful
class Coadds(Mapping[str, Frame]):
    """Coadds by their Ids: a mapping of Id to Map frame, in the order of the input.

    The Ids are those of the output: `output_map_id`, or those that `assign` gives; with `collate`
    they are the Ids of the input. The mapping is empty on ranks that do not hold the result, and
    with ``result="sharded"``, where each rank holds `shards` in place of frames.

    Parameters
    ----------
    frames : mapping of str to G3Frame
        The frames, by Id. The other parameters are attributes, too.
    here : bool
        Whether this rank holds the result: all of it, or with ``result="sharded"`` its shards.
    shards : dict of str to Shard
        With ``result="sharded"``, the part of each coadd that this rank owns, by Id.
    statistics : Statistics
        What this rank did to join its sums with those of the other ranks.
    ledger : Ledger
        The frames of all ranks that are in any of the coadds, in the order of the input; empty on
        ranks that do not hold the result.
    from_earlier : bool
        Whether they were read from the output of an earlier run, which had done all: see the
        argument `resume` of `coadd_files`.
    left_out : list of LeftOut
        The files that were left out, on all ranks: ``file``, ``frame`` (-1: all of it), ``reason``.
    n_given : int
        How many files there were; 0 if it was not `coadd_files` that read them.

    Attributes
    ----------
    without_maps : list of str
        The files that `coadd_files` has read in which there is no Map frame, where the result is.
    written : list of str
        The files that `coadd_files` has written.
    coverage : dict of str to Coverage
        What each coadd that `coadd_files` has made covers, by Id, where the result is: pixels,
        area, hits and depth. Not of shards, nor of sign flips, which cover what their coadd does.
    timing : Timing
        What `coadd_files` took on each rank, stage by stage, with its memory. All ranks have it.
    preview : Preview or None
        With ``dry_run=True`` what `coadd_files` would do.

    Examples
    --------
    >>> coadds = coadd_files("obs/*.g3", collate=True)  # doctest: +SKIP
    >>> coadds  # doctest: +SKIP
    <Coadds of 24 frames: '95GHz' (T, Q, U, Wpol), '150GHz' (T, Q, U, Wpol)>
    >>> coadds["95GHz"]["T"]  # doctest: +SKIP
    >>> [unit.file for unit in coadds.ledger.units()]  # doctest: +SKIP

    Without `collate` and `assign` there is one frame:

    >>> coadd_files("obs/*.g3", map_ids="95GHz").frame["T"]  # doctest: +SKIP
    """

    def __init__(
        self,
        frames: Mapping[str, Frame] | None = None,
        *,
        here: bool,
        shards: Mapping[str, Shard] | None = None,
        statistics: Statistics | None = None,
        ledger: Ledger | None = None,
        from_earlier: bool = False,
        left_out: Sequence[LeftOut] = (),
        n_given: int = 0,
    ):
        self._frames = dict(frames or {})
        self.here = here
        self.shards = dict(shards or {})
        self.statistics = statistics or Statistics()
        self.ledger = ledger or Ledger()
        self.from_earlier = from_earlier
        self.left_out = list(left_out)
        self.n_given = n_given
        self.without_maps: list[str] = []
        self.written: list[str] = []
        self.coverage: dict[str, Coverage] = {}
        self.timing = Timing()
        self.preview: Preview | None = None

    def with_frames(self, frames: Mapping[str, Frame]) -> Coadds:
        """The same result with these frames."""
        return Coadds(
            frames,
            here=self.here,
            shards=self.shards,
            statistics=self.statistics,
            ledger=self.ledger,
        )

    @property
    def frame(self) -> Frame | None:
        """The only frame; None if this rank holds none.

        Raises
        ------
        UsageError
            If there are several, of which one has to be named: ``coadds[Id]``.
        """
        return _only(self._frames, "coadds")

    @property
    def shard(self) -> Shard | None:
        """The only shard; None without ``result="sharded"``.

        Raises
        ------
        UsageError
            If there are several: see `shards`.
        """
        return _only(self.shards, "shards")

    def __getitem__(self, map_id: str) -> Frame:
        try:
            return self._frames[map_id]
        except KeyError:
            raise KeyError(f"{map_id!r}; {self._what_is_there()}") from None

    def _what_is_there(self) -> str:
        """Why an Id is not among the frames, without double quotes: KeyError shows its repr."""
        if not self.here:
            return (
                "the result is on another rank: ask coadds.here first, or let all ranks have it "
                "with result='all'"
            )
        if self.shards:
            return (
                "with result='sharded' each rank has shards in place of frames: see coadds.shards, "
                f"which has {', '.join(map(repr, self.shards))}"
            )
        if self.preview is not None:
            return "dry_run=True has added nothing"
        return f"there are {', '.join(map(repr, self)) or 'none'}"

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __repr__(self) -> str:
        if not self.here:
            return "<Coadds: the result is on another rank>"
        maps = {name: [key for key in MAP_KEYS if key in frame] for name, frame in self.items()}
        listed = [f"{name!r} ({', '.join(keys)})" for name, keys in maps.items()]
        listed += [
            f"shard of {name!r} ({', '.join(shard.planes)})" for name, shard in self.shards.items()
        ]
        number = len(self.ledger.entries)
        frames = f"{number} frame{'s' if number != 1 else ''}"
        return f"<Coadds of {frames}: {', '.join(listed) or 'none'}>"

    def _repr_html_(self) -> str:
        """The same as a small table, for notebooks; depths are in uK arcmin."""
        if not self.here or self.shards:
            return escape(repr(self))
        number = len(self.ledger.entries)
        caption = f"{number} frame{'s' if number != 1 else ''}; depths in uK arcmin"
        return table_of(*table_of_coadds(self, self.coverage), caption)
