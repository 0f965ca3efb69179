"""The file of one rank in a set of checkpoints: its running sums, one frame for each."""

from __future__ import annotations

from collections.abc import Mapping

import google_crc32c
import numpy as np

from ..coadd.joining import Coadd
from ..coadd.state import states_in, write_state
from ..errors import InputError
from ..temporary import TemporaryFile
from .checkpointfolder import CheckpointFolder
from .checkpointset import Member, Unusable

# A file is read in parts of this size to find its checksum.
_PART = 4 * 2**20


class _Covered:
    """A file to which bytes are written, with the checksum of all of them."""

    def __init__(self, file: TemporaryFile):
        self._file = file
        self.crc32c = 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.crc32c = google_crc32c.extend(self.crc32c, np.frombuffer(data, np.uint8))


def write_member(
    folder: CheckpointFolder, name: str, rank: int, coadds: Mapping[str, Coadd]
) -> Member:
    """Write the sums of a rank; the file has its name once it is on the disk.

    Raises
    ------
    OSError
    """
    frames = len({entry.read for coadd in coadds.values() for entry in coadd.ledger.entries})
    file = TemporaryFile(folder.file(name))
    try:
        covered = _Covered(file)
        for coadd in coadds.values():
            write_state(covered, coadd)
        file.complete()
        file.publish()
        return Member(rank, name, file.written, covered.crc32c, list(coadds), frames)
    finally:
        file.discard()


def read_member(folder: CheckpointFolder, member: Member) -> dict[str, Coadd]:
    """The sums in a file of a set, by name.

    Raises
    ------
    Unusable
        If it is not the file that the manifest describes.
    """
    if not member.name:
        return {}
    path = folder.file(member.name)
    state = 0
    try:
        with open(path, "rb") as file:
            while part := file.read(_PART):
                state = google_crc32c.extend(state, part)
        if state != member.crc32c:
            raise Unusable(f"its file {member.name} is corrupted: the checksum is wrong")
        return dict(zip(member.coadds, states_in(path), strict=True))
    except (OSError, InputError, ValueError) as error:
        raise Unusable(f"its file {member.name} cannot be read ({error})") from error
