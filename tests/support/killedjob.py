"""The command ``g3reduce``, on one rank, that is killed when it comes to a place of a plan.

    python killedjob.py NOTES STAGE PLACE NUMBER RANK VICTIM coadd ...

Of what is called at a place of a stage, the call with this number on this rank kills the victim:
this rank, all ranks, or the launcher, whose process number stands in the file ``launcher`` of the
folder NOTES.
Nothing of this is in the package: this script puts itself around its functions.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from g3reduce import cli
from g3reduce.coadd import coadder, joining
from g3reduce.g3files import outputfile
from g3reduce.jobs import (
    checkpointcommit,
    checkpointfile,
    checkpointfolder,
    checkpoints,
    mapopener,
)
from g3reduce.limits import LIMITS
from g3reduce.maps.mapsum import MapSum
from g3reduce.mpi.agreement import world_rank

# By stage: functions, whether the kill comes before the call or after it, and about how often they
# are called on a rank.
STAGES = {
    "reading": [(mapopener.MapOpener, "frames", True, 14)],
    "adding": [(MapSum, "add_chunk", False, 99), (coadder.MPIMapCoadder, "add_taken", False, 9)],
    "checkpointing": [
        (checkpoints, "write_member", True, 9),
        (checkpointfile._Covered, "write", False, 99),
        (checkpointfile.TemporaryFile, "complete", False, 9),
        (checkpoints, "write_member", False, 9),
        (checkpointcommit.Reporter, "send", False, 9),
    ],
    "committing": [
        (checkpointfolder.CheckpointFolder, "commit", True, 5),
        (checkpointfolder.CheckpointFolder, "write", True, 5),
        (checkpointfolder.CheckpointFolder, "write", False, 5),
        (checkpointfolder.CheckpointFolder, "_remove", False, 12),
        (checkpointfolder.CheckpointFolder, "remove", True, 5),
    ],
    "joining": [
        (coadder.MPIMapCoadder, "join", True, 1),
        (joining.strategies, "reduce", True, 2),
        (MapSum, "prepare", True, 2),
        (MapSum, "to_numbers", True, 2),
    ],
    "writing": [
        (outputfile.OutputFile, "write", False, 2),
        (outputfile.OutputFile, "complete", False, 1),
        (outputfile.OutputFile, "publish", True, 1),
        (outputfile.OutputFile, "publish", False, 1),
        (checkpointfolder.CheckpointFolder, "clear", True, 1),
        (checkpointfolder.CheckpointFolder, "clear", False, 1),
    ],
}


class Killer:
    """Counts what is called, and kills."""

    def __init__(self, notes, number, victim):
        self.notes = Path(notes)
        self.left = number
        self.victim = victim

    def around(self, owner, name, before):
        original = getattr(owner, name)

        def called(*arguments, **options):
            if before:
                self.come()
            result = original(*arguments, **options)
            if not before:
                self.come()
            return result

        setattr(owner, name, called)

    def come(self):
        self.left -= 1
        if self.left == 0:
            (self.notes / "killed").touch()
            self.kill()

    def kill(self):
        ranks = [int(path.name[4:]) for path in self.notes.glob("pid-*")]
        if self.victim == "launcher":
            while not (text := (self.notes / "launcher").read_text()):
                time.sleep(0.001)
            os.kill(int(text), signal.SIGKILL)
        elif self.victim == "all":
            for pid in [pid for pid in ranks if pid != os.getpid()]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def make_slow():
    """Let small files take some time, and checkpoints follow each other as fast as they can."""
    checkpoints._COST = checkpointcommit._LOOK_S = 0
    LIMITS.smallest_piece = 2**12  # files are cut, too
    original = mapopener.MapOpener.frames

    def frames(self, file, piece):
        time.sleep(0.01)
        return original(self, file, piece)

    mapopener.MapOpener.frames = frames


def main():
    notes, stage, place, number, rank, victim = sys.argv[1:7]
    del sys.argv[1:7]
    Path(notes, f"pid-{os.getpid()}").touch()
    make_slow()
    if stage in STAGES and int(rank) == world_rank():
        killer = Killer(notes, int(number), victim)
        killer.around(*STAGES[stage][int(place)][:3])
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
