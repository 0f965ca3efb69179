"""Work on files as its steps see it: what need not be read, and when to write checkpoints.

Here is the work that has none. Work with checkpoints, in `checkpointedwork`, is loaded only where
a folder is named for them: each file that is loaded costs at the start of many ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..g3files.pieces import Piece
from ..pipeline.ledger import LeftOut
from ..pipeline.units import unit_of
from ..spt3gtypes import Frame
from .tally import Tally

if TYPE_CHECKING:
    from .completion import Complete


@dataclass
class Earlier:
    """What earlier runs have read, so that it need not be read again.

    Attributes
    ----------
    done : set of int
        The files that were read to their ends, by positions.
    mine : dict of int to Counter
        Of those that this rank has taken up, how many Map frames of each Id there are.
    units : set of (int, int)
        The frames of other files that are in the sums: position of the file, index.
    """

    done: set[int] = field(default_factory=set)
    mine: dict[int, Counter[str]] = field(default_factory=dict)
    units: set[tuple[int, int]] = field(default_factory=set)

    @property
    def counted(self) -> set[int]:
        """The files of which there is anything in the sums, by positions."""
        return self.done | {position for position, _ in self.units}

    def left_of(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces of files that were not read to their ends."""
        return [piece for piece in pieces if piece.file not in self.done]

    def has(self, frame: Frame) -> bool:
        """Whether a frame is in the sums."""
        unit = unit_of(frame) if self.units else None
        return unit is not None and (unit.position, unit.index) in self.units


class NoCheckpoints:
    """The interface of `Checkpoints`, for work that has none."""

    @property
    def due(self) -> bool:
        """Whether this rank is to come to a border between two frames soon."""
        return False

    def begin(self, tally: Tally) -> None:
        """Begin to read, with the tally of this rank."""

    def at_border(self) -> bool:
        """Do what there is to do between two frames; return whether the work is to stop."""
        return False

    def end(self, failure: Exception | None) -> None:
        """Come to the end of reading, with all ranks. Collective."""


@dataclass
class Work:
    """Work without checkpoints; those with have the subclass below.

    Attributes
    ----------
    earlier : Earlier
        What need not be read again.
    checkpoints : NoCheckpoints
        For the time of reading.
    complete : Complete or None
        If there is nothing to do, what an earlier run has done.
    """

    earlier: Earlier
    checkpoints: NoCheckpoints
    complete: Complete | None = None

    def finish(self, left_out: Sequence[LeftOut]) -> None:
        """Take note, once the output is there, that all is done. Collective."""

    def start_over(self) -> None:
        """Forget all that was kept: there are frames in it that must not be counted. Collective."""
