"""A coadd on its way out: as a frame of spt3g, or straight into a file."""

from __future__ import annotations

from typing import Any

from spt3g import core

from ..g3files.frames import Sink, Unrecognised
from ..maps import mapframe
from ..maps.mapfile import write_map_frame
from ..maps.mapsum import MapSum
from ..pipeline.ledger import Ledger


class CoaddFrame:
    """The Map frame that a coadd makes.

    Parameters
    ----------
    frame_id : str
        Its Id.
    total : MapSum
        The sums.
    ledger : Ledger
        What went into them.
    """

    def __init__(self, frame_id: str, total: MapSum, ledger: Ledger):
        self._id = frame_id
        self._total = total
        self._ledger = ledger

    def outline(self) -> Any:
        """The frame with empty maps."""
        return self._with_inputs(mapframe.to_frame(self._id, self._total.outlines()))

    def to_frame(self) -> Any:
        """The frame."""
        return self._with_inputs(mapframe.to_frame(self._id, self._total.to_maps()))

    def write(self, file: Sink) -> None:
        """Write the frame to a file."""
        if self._total.storable:
            try:
                write_map_frame(file, self.outline(), self._total.contents())
            except Unrecognised:  # by a newer spt3g; nothing is written yet
                pass
            else:
                return
        file.write(self.to_frame().__getstate__()[1])

    def _with_inputs(self, frame: Any) -> Any:
        if skipped := self._total.summary.skipped:
            frame["SkippedPixels"] = skipped
        if grids := self._total.summary.grids:
            frame["ExactLimbs"] = _by_plane({name: grid.limbs for name, grid in grids.items()})
            frame["ExactGrid"] = _by_plane({name: grid.top for name, grid in grids.items()})
            frame["ExactAddends"] = _by_plane({name: grid.addends for name, grid in grids.items()})
        for key, values in (
            ("InputMapIds", self._ledger.map_ids()),
            ("InputFiles", self._ledger.files()),
        ):
            if values:
                frame[key] = core.G3VectorString(values)
        return frame


def _by_plane(numbers: dict[str, int]) -> Any:
    return core.G3MapInt(dict(sorted(numbers.items())))
