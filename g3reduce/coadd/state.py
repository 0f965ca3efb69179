"""States of coadds: a running sum with its ledger as a frame, from which it can be taken up again.

A state is written between two frames of input, and what is read from it is the same sum, to the
bit. It is a frame of no type, so that whatever sums maps passes it over: its maps are empty, and
the sums stand beside them; see `g3reduce.maps.sumstate`. Nothing in it is ever executed.
"""

from __future__ import annotations

from collections.abc import Iterator

from spt3g import core

from ..errors import InputError
from ..g3files.compressed import open_bytes
from ..g3files.decoding import walked
from ..g3files.frames import RawFrame, Sink, Unrecognised
from ..maps import mapframe
from ..maps.mapfile import write_map_frame
from ..maps.storedframe import StoredFrame
from ..maps.sumstate import SumState, values_of
from ..pipeline.ledgerframe import ledger_as_read, put_ledger
from .joining import Coadd


def write_state(file: Sink, coadd: Coadd) -> None:
    """Write a running sum and its ledger as a frame. The sum stays as it is, and goes on.

    Parameters
    ----------
    file : Sink
    coadd : Coadd
        Between two frames of input.
    """
    outline = core.G3Frame(core.G3FrameType.none)
    empty = mapframe.to_frame(coadd.frame_id, coadd.total.outlines())
    for key in empty:
        outline[key] = empty[key]
    put_ledger(outline, coadd.ledger, as_read=True)
    write_map_frame(file, outline, {}, values_of(coadd.total))


def states_in(file: str) -> Iterator[Coadd]:
    """The sums that were written to a file, each with its ledger.

    Raises
    ------
    InputError
        If the file is broken, or has something else, or what a newer version wrote.
    """
    yield from walked(open_bytes(file), _state_of)


def _state_of(raw: RawFrame) -> Coadd:
    where = str(raw)
    try:
        if not raw.native:
            raise Unrecognised("a frame in another byte order or version")
        frame = StoredFrame(raw)
    except Unrecognised as reason:
        raise InputError(f"{where}: this is no state of a sum of maps ({reason}).") from reason
    frame.verify()
    total = SumState(frame, where).load()
    frame_id = frame.get("Id", None)
    if not isinstance(frame_id, str):
        raise InputError(f"{where}: this is no state of a sum of maps (its Id is {frame_id!r}).")
    return Coadd(frame_id, total, ledger_as_read(frame, where))
