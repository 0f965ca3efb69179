"""Which coadds a map frame belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

from .errors import UsageError

Assign: TypeAlias = "Callable[[Any], Mapping[str, int] | None]"


@dataclass(frozen=True)
class Membership:
    """The rule by which frames are shared out to coadds.

    Attributes
    ----------
    map_ids : list of str or None
        Ids of maps to include; None for all.
    output_map_id : str
        Id of the coadd, or with `collate` a prefix to the input's Id.
    collate : bool
        Whether maps of each Id are coadded separately.
    assign : callable or None
        Says of each frame which coadds it goes to, with which sign, in place of the others.
    """

    map_ids: list[str] | None
    output_map_id: str
    collate: bool
    assign: Assign | None

    @property
    def several(self) -> bool:
        """Whether there may be several coadds."""
        return self.collate or self.assign is not None

    def check(self) -> None:
        """Refuse rules that contradict each other.

        Raises
        ------
        UsageError
            If there are two of them.
        """
        if self.assign is not None and (self.collate or self.map_ids is not None):
            raise UsageError(
                "assign says which coadd a frame goes to, and so do map_ids and collate: "
                "give one or the other."
            )

    def shares(self, frame: Any, map_id: Callable[[], Any], where: Callable[[], str]) -> Any:
        """The coadds to which a frame belongs, with its sign in each.

        Parameters
        ----------
        frame : G3Frame or StoredFrame
        map_id : callable
            Returns the Id under which the frame counts; asked only if need be.
        where : callable
            Returns how messages name the frame.

        Returns
        -------
        dict of str to int
        """
        if self.assign is None:
            found = map_id()
            known = self.map_ids is None or found in self.map_ids
            if not found or not known:
                return {}
            return {found if self.collate else self.output_map_id: 1}
        shares = self.assign(frame)
        if shares is None:
            return {}
        if not isinstance(shares, Mapping) or any(
            not isinstance(name, str) or sign not in (1, -1) for name, sign in shares.items()
        ):
            raise UsageError(
                f"assign() returned {shares!r} for {where()}; expected a dictionary of output Ids "
                "and signs, +1 or -1, or None."
            )
        return shares

    def frame_id(self, name: str) -> str:
        """The Id of the frame that a coadd becomes."""
        return self.output_map_id + name if self.collate else name


def as_list_of_ids(map_ids: str | Sequence[str] | Set[str] | None) -> list[str] | None:
    """A list of Ids, in an order that is the same on all ranks, from what a user may give."""
    if map_ids is None:
        return None
    if isinstance(map_ids, str):
        return [map_ids]
    return sorted(map_ids) if isinstance(map_ids, Set) else list(map_ids)
