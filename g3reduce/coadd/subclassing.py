"""The interface for subclasses of the coadder: all that those of spt3g's ``CoaddMaps`` may use.

A subclass that cannot work on many ranks is refused when it is made, and so is setting an
attribute on which the ranks have agreed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spt3g import maps

from ..errors import InputError, UsageError
from ..pipeline.endmodule import at_the_end
from ..spt3gtypes import Frame
from .coadds import Coadds
from .intake import Intake
from .membership import Membership, as_list_of_ids
from .settings import Settings

# Names that a subclass may override, besides Python's own such as ``__call__``.
_TO_OVERRIDE = ("get_map_id", "reset")

_JOINED_AT_THE_END = (
    "Sums are no frames before all ranks have joined theirs; get_map_id or assign says to which "
    "coadd a frame goes"
)
_INSTEAD = {"coadd_frame": _JOINED_AT_THE_END, "coadd_frames": _JOINED_AT_THE_END} | dict.fromkeys(
    (
        *("map_ids", "collate", "output_map_id", "weighted", "ignore_missing_weights"),
        *("drop_input_frames", "keep_outputs"),
    ),
    "Give it to the constructor: super().__init__(...)",
)


class Agreed:
    """An attribute that cannot be changed, since all ranks have agreed on it."""

    def __init__(self, part: str):
        self._part = part

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, coadder: Any, owner: type) -> Any:
        return self if coadder is None else getattr(getattr(coadder, self._part), self._name)

    def __set__(self, coadder: Any, value: object) -> None:
        instead = _INSTEAD.get(self._name, "It follows the frames that come")
        raise UsageError(
            f"{type(coadder).__name__}.{self._name} cannot be set to {value!r}, since all ranks "
            f"have agreed on it. {instead}."
        )


class LikeCoaddMaps:
    """The attributes and methods of spt3g's ``CoaddMaps``.

    Attributes
    ----------
    collate, output_map_id, weighted, ignore_missing_weights
        What the constructor was given.
    obs_id : str, None or False
        With `record_obs_id`, ``SourceName/ObservationID`` of the latest frame, or None if it is
        not known; otherwise False.
    """

    _members: Membership
    _intake: Intake
    _settings: Settings
    _drop_input_frames: bool
    _keep_outputs: bool
    _coadds: Coadds
    _ended: bool

    collate = Agreed("_members")
    output_map_id = Agreed("_members")
    weighted = Agreed("_settings")
    ignore_missing_weights = Agreed("_settings")
    obs_id = Agreed("_intake")

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Refuse a subclass that takes for itself what is needed here.

        Raises
        ------
        UsageError
        """
        super().__init_subclass__(**arguments)
        if issubclass(cls, maps.CoaddMaps):
            raise UsageError(
                f"The class {cls.__name__} is derived from spt3g's CoaddMaps, too, whose sums are "
                "not joined over ranks. Derive it from MPIMapCoadder alone."
            )
        package = __package__.split(".")[0]
        ours = [base for base in cls.__mro__ if base.__module__.startswith(f"{package}.")]
        for name in sorted({name for base in ours for name in vars(base)}):
            free = name in _TO_OVERRIDE or (name.startswith("__") and name.endswith("__"))
            if free or next(base for base in cls.__mro__ if name in vars(base)) in ours:
                continue
            raise UsageError(
                f"The class {cls.__name__} has a {name} of its own, which MPIMapCoadder needs "
                f"itself. {_INSTEAD.get(name, 'Choose another name')}."
            )

    @property
    def map_ids(self) -> list[str] | None:
        """Ids of maps to include; None for all. It may be set at any time."""
        return self._members.map_ids

    @map_ids.setter
    def map_ids(self, map_ids: str | Sequence[str] | None) -> None:
        ids = as_list_of_ids(map_ids)
        if ids is not None and self._members.assign is not None:
            raise UsageError("assign says which coadd a frame goes to: there are no map_ids.")
        self._members.map_ids = ids

    @property
    def drop_input_frames(self) -> bool:
        """Whether frames are taken out of the pipeline. It may be set at any time."""
        return self._drop_input_frames

    @drop_input_frames.setter
    def drop_input_frames(self, drop_input_frames: bool) -> None:
        self._drop_input_frames = drop_input_frames

    @property
    def keep_outputs(self) -> bool:
        """Whether coadds are kept after the end of processing. It may be set before."""
        return self._keep_outputs

    @keep_outputs.setter
    def keep_outputs(self, keep_outputs: bool) -> None:
        self._keep_outputs = keep_outputs

    @property
    def coadd_frame(self) -> Frame | None:
        """The coadd, after the end of processing; None on ranks that do not hold it.

        spt3g's name for ``result.frame``.

        Raises
        ------
        UsageError
            With `collate` or `assign`, because there may be several: see `coadd_frames`. Before
            the end of processing, because there is none yet.
        """
        self._members.require_one("coadd_frames")
        return self.coadd_frames.frame

    @property
    def coadd_frames(self) -> Coadds:
        """The coadds, after the end of processing; spt3g's name for `result`.

        Raises
        ------
        UsageError
            Before the end of processing.
        """
        return at_the_end(self._ended, self._coadds, "coadd")

    def reset(self) -> None:
        """Let go of the coadds that were kept, after the end of processing.

        This is also what happens at the end if they are not to be kept.

        Raises
        ------
        UsageError
            Before it.
        """
        coadds = self.coadd_frames
        self._coadds = Coadds(here=coadds.here, statistics=coadds.statistics, ledger=coadds.ledger)

    def get_map_id(self, frame: Frame) -> Any:
        """Under which Id a Map frame counts; for subclasses, as in spt3g.

        It is called once for each frame, before anything else is done with it.

        Returns
        -------
        str, None or False
            None for a frame that is to be passed on without being counted, False for one that is
            to be dropped from the pipeline.
        """
        map_id = frame.get("Id", None)
        if map_id is not None and not isinstance(map_id, str):
            where = self._intake.describe(frame)
            raise InputError(f"{where}: the Id is a {type(map_id).__name__}; expected a string.")
        return map_id
