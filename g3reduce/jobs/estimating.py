"""About how much memory and time a coadd of some files takes, from what a survey has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..kernels import choice as kernels
from ..progress.wording import in_words

if TYPE_CHECKING:  # else it is loaded where files are looked at before
    from .survey import Survey

# What Python, numpy, spt3g and MPI take on each rank, and what is at work while it reads, joins and
# writes. Measured with both MPIs: 68 to 75 MiB before there are maps, 169 to 176 MiB where numba is
# loaded; and up to 35 MiB beside the sums.
_BASE, _BASE_WITH_LOOPS = 110 * 2**20, 210 * 2**20


class Estimate(NamedTuple):
    """What a coadd is expected to take.

    Attributes
    ----------
    sums, most : int
        Bytes of the sums on each rank: if all footprints are the same, and if none overlap.
    frame : int
        Bytes of the largest frame.
    base : int
        Bytes that each rank takes anyhow.
    n_bytes : int
        Bytes that are to be read.
    seconds : float or None
        How long it takes on so many ranks, if all can read at once; None if it is not known.
    n_ranks : int
    """

    sums: int
    most: int
    frame: int
    base: int
    n_bytes: int
    seconds: float | None
    n_ranks: int

    @property
    def memory(self) -> int:
        """Bytes on each rank, if all footprints are the same."""
        return self.sums + self.frame + self.base

    def lines(self) -> list[str]:
        """The estimate in words."""
        lines = [
            f"Estimate: {in_words(self.memory)} of memory on each rank (sums "
            f"{in_words(self.sums)}, a frame {in_words(self.frame)}, the rest Python)"
        ]
        if self.most > 1.2 * self.sums:
            most = in_words(self.most)
            lines.append(f"Estimate: sums of up to {most} if footprints do not overlap")
        lines.append("Estimate: the first rank holds the output, too")
        if self.seconds is not None:
            ranks = f"{self.n_ranks} ranks" if self.n_ranks > 1 else "1 rank"
            lines.append(
                f"Estimate: {duration(self.seconds)} for {in_words(self.n_bytes)} on {ranks}, at "
                "the rate of a file that was read just now"
            )
        return lines


def estimate(seen: Survey, *, limbs: int, rate: float | None, n_ranks: int) -> Estimate:
    """What a coadd of the files that are not bad is expected to take.

    Parameters
    ----------
    seen : Survey
    limbs : int
        How many numbers a sum has for each pixel: 1, and more if it is reproducible.
    rate : float or None
        Bytes that a rank reads and adds in a second.
    n_ranks : int
    """
    largest: dict[str, int] = {}
    together: dict[str, int] = {}
    whole: dict[str, int] = {}
    bad, n_bytes, frame_bytes = seen.bad, 0, 0
    for number, file in enumerate(seen.files):
        if number in bad or number in seen.copies:
            continue
        n_bytes += file.n_bytes
        for frame in file.frames:
            frame_bytes = max(frame_bytes, frame.n_bytes)
            size = sum(8 * stub.size for stub in seen.kinds[frame.kind].stubs.values())
            for name in frame.coadds:
                largest[name] = max(largest.get(name, 0), min(frame.n_bytes, size))
                together[name] = together.get(name, 0) + frame.n_bytes
                whole[name] = max(whole.get(name, 0), size)
    most = sum(min(together[name], whole[name]) for name in largest)
    seconds = None if not rate else n_bytes / rate / n_ranks
    sums = limbs * sum(largest.values())
    base = base_of(n_bytes / n_ranks)
    return Estimate(sums, max(sums, limbs * most), frame_bytes, base, n_bytes, seconds, n_ranks)


def base_of(n_bytes: float) -> int:
    """Bytes that a rank takes before any map is there, if it is to read so many bytes."""
    return _BASE_WITH_LOOPS if kernels.would_load(n_bytes) else _BASE


def duration(seconds: float) -> str:
    """A time, in the unit that suits it."""
    if seconds < 119.5:
        return f"{max(seconds, 0.1):.2g} s" if seconds < 99.5 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
