"""The marker of a job that is complete: what its output is like, and what was left out of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from spt3g import core

from ..coadd.coadds import Coadds
from ..g3files.maps import MAP_KEYS
from ..g3files.pieces import Piece
from ..pipeline.ledger import Ledger, LeftOut, union
from ..pipeline.ledgerframe import ledger_in
from ..pipeline.reader import WholeFiles, numbered_frames
from .checkpointfolder import COMPLETE, CheckpointFolder
from .checkpointset import Input, Job, Unusable, job_in, sealed, to_body, unsealed


def mark_complete(
    folder: CheckpointFolder, job: Job, output: str, left_out: Sequence[LeftOut]
) -> None:
    """Leave the marker, once the output is there.

    Raises
    ------
    OSError
    """
    body = to_body(_without(output, job), output=_seen(output), left_out=list(map(list, left_out)))
    folder.write(COMPLETE, sealed(body))


class Complete(NamedTuple):
    """A job that an earlier run has completed.

    Attributes
    ----------
    output : str
    left_out : list of LeftOut
    """

    output: str
    left_out: list[LeftOut]

    @classmethod
    def found(cls, folder: CheckpointFolder, job: Job, output: str | None) -> Complete:
        """The job of which there is a marker, if it is this one, and its output is as it was.

        Raises
        ------
        Unusable, OSError
            If not.
        """
        with open(folder.file(COMPLETE), "rb") as file:
            body = unsealed(file.read())
        if output is None:
            raise Unusable("this time no output file is named")
        try:
            _without(output, job).require_same(job_in(body))
            then, now = body["output"], _seen(output)
            name = then["name"]
            left_out = [LeftOut(str(f), int(at), str(why)) for f, at, why in body["left_out"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Unusable(f"its marker lacks something ({error!r})") from error
        if then != now:
            if name != now["name"]:
                raise Unusable(f"its output was {name}, and is to be {output} now")
            gone = now["size"] < 0
            raise Unusable(
                f"{output} is {'gone' if gone else 'not the file that was written then'}"
            )
        return cls(output, left_out)

    def coadds(self, *, here: bool, whole: bool, n_given: int) -> Coadds:
        """The coadds in the output.

        Parameters
        ----------
        here : bool
            Whether this rank is to have them.
        whole : bool
            With their maps, which are empty else.
        n_given : int
            How many input files there are.

        Raises
        ------
        InputError
            If they cannot be read.
        """
        frames, ledgers = {}, []
        found = numbered_frames(WholeFiles(), self.output, Piece(0)) if here else ()
        for _, frame in found:
            if frame.type != core.G3FrameType.Map:
                continue
            for key in MAP_KEYS if not whole else ():
                if key in frame:
                    frame[key] = frame.pop(key).clone(False)
            frames[str(frame["Id"])] = frame
            ledgers.append(ledger_in(frame, self.output) or Ledger())
        return Coadds(
            frames,
            here=here,
            ledger=union(ledgers),
            from_earlier=True,
            left_out=self.left_out,
            n_given=n_given,
        )


def _without(output: str, job: Job) -> Job:
    """The job without the coadd that it has added to, if the output has replaced that."""
    path = os.path.realpath(output)
    inputs = tuple(one for one in job.inputs if os.path.realpath(one.name) != path)
    return Job(job.options, inputs)


def _seen(output: str) -> dict[str, Any]:
    return Input.of(os.path.realpath(output))._asdict()
