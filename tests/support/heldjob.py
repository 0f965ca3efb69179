"""The command ``g3reduce``, which can be held in the midst of its work by a file.

    python heldjob.py FILE ...

As long as FILE is there, each rank takes its time until a set of checkpoints is committed, and then
waits, for the end of FILE or for a signal that asks it to stop. So a test knows that there is a
checkpoint, and that the work is not done.
"""

import sys
import time
from pathlib import Path

from g3reduce import cli
from g3reduce.jobs import checkpointcommit, checkpoints, mapopener
from g3reduce.limits import LIMITS
from g3reduce.mpi import stopping


def hold(file, folder):
    time.sleep(0.3)
    while file.exists() and any(folder.glob("set-*.json")):
        if any(request.came for request in stopping._open):
            break
        time.sleep(0.05)


def main():
    file = Path(sys.argv.pop(1))
    if "--checkpoint" in sys.argv:
        folder = Path(sys.argv[sys.argv.index("--checkpoint") + 1])
        sys.argv += ["--checkpoint-every", "1e-9"]
        checkpoints._COST = checkpointcommit._LOOK_S = 0
        LIMITS.smallest_piece = 2**15  # one for each frame, so that each rank soon has some
        original = mapopener.MapOpener.frames

        def frames(self, name, piece):
            if file.exists():
                hold(file, folder)
            return original(self, name, piece)

        mapopener.MapOpener.frames = frames
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
