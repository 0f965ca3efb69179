"""A few of many files, added on this process alone: what a coadd of all of them will take."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from spt3g import core

from ..coadd.coadder import MPIMapCoadder
from ..coadd.joining import Coadd
from ..errors import InputError, UsageError, about_file
from ..formats.firstlook import check_file
from ..formats.kinds import ALL_ENDINGS
from ..g3files.maps import STOKES
from ..g3files.names import is_stream, refuse_folder
from ..g3files.pieces import Piece
from ..mpi import communicators
from ..mpi.counter import SharedCounter
from ..mpi.memory import available
from ..pipeline.reader import numbered_frames
from ..pipeline.units import Unit, fingerprint_of, set_unit
from ..progress.wording import in_words
from .feeding import Reader, feed
from .mapopener import MapOpener
from .presence import require_maps
from .sampledsplits import More, SampledSplits
from .tally import Tally
from .work import Earlier, NoCheckpoints, Work

# Sums and what is read may take this part of the memory that is there.
_PART_OF_MEMORY = 0.5


# Sums beside the ones of a sample, by which it is timed how long more of them take.
_MORE_SUMS, _MORE_FLIPS = 4, 32


@dataclass
class Grown:
    """How the sums of one coadd grew in a sample.

    Attributes
    ----------
    sums : list of int
        Their bytes after each of the files that were added to them.
    whole : int
        Bytes that they would have if all pixels were hit.
    n_maps : int
        How many maps these files had for it.
    n_planes : int
        How many arrays they are.
    stokes : float
        The part of the bytes that is that of T, Q and U.
    """

    sums: list[int] = field(default_factory=list)
    whole: int = 0
    n_maps: int = 0
    n_planes: int = 1
    stokes: float = 0.0

    @property
    def held(self) -> int:
        """Bytes of the sums of one file: of that which brought the most that is new."""
        return max(after - before for before, after in pairwise([0, *self.sums]))

    def union(self, n_files: float) -> float:
        """Bytes of the sums of so many files, of which these are some.

        The sums grow by a power of the number of files, as they did in the second half of the
        sample: not at all where footprints are the same, in proportion where none overlap. They
        never have more than all pixels. Footprints that fill a patch little by little end below
        this. Of one file it is not known how they grow: then none overlap.
        """
        n_seen = len(self.sums)
        if n_files <= n_seen:
            # Whichever these are: files that follow each other may be more alike than others.
            return float(min(self.sums[-1], max(1.0, n_files) * self.held))
        half, power = n_seen // 2, 1.0
        if half:
            grown = max(1.0, self.sums[-1] / max(1, self.sums[half - 1]))
            power = math.log(grown) / math.log(n_seen / half)
        most = max(self.whole, self.sums[-1])
        return float(min(most, self.sums[-1] * (n_files / n_seen) ** power))


@dataclass
class Sample:
    """What was seen while some files were added, one after another.

    Attributes
    ----------
    names : list of str
    n_bytes : list of int
        Their sizes.
    seconds : float
        How long all of them take together, once the memory of their sums is there.
    coadds : dict of str to Grown
        The sums of each coadd, by its name.
    went : list of list of str
        The coadds to which each of the files went: of those with maps that are added.
    frame : int
        Bytes of the largest frame in its file; 0 if no file tells.
    """

    names: list[str] = field(default_factory=list)
    n_bytes: list[int] = field(default_factory=list)
    seconds: float = 0.0
    coadds: dict[str, Grown] = field(default_factory=dict)
    went: list[list[str]] = field(default_factory=list)
    frame: int = 0

    @property
    def sums(self) -> int:
        """Bytes of the sums of all coadds, of all of these files."""
        return sum(grown.sums[-1] for grown in self.coadds.values())

    @property
    def held(self) -> int:
        """Bytes of the sums of the file that has the largest."""
        each = (sum(self.coadds[name].held for name in names) for names in self.went)
        return max(each, default=0)

    @property
    def rate(self) -> float:
        """Bytes that are read and added in a second."""
        return sum(self.n_bytes) / max(self.seconds, 1e-6)

    def note(self, states: Mapping[str, Coadd], *, limbs: int) -> None:
        """Note how large the sums are after one more file, as far as it has added to them."""
        went = []
        for name, coadd in states.items():
            grown = self.coadds.setdefault(name, Grown())
            if (n_maps := len(coadd.ledger.entries)) == grown.n_maps:
                continue
            blocks, stubs = coadd.total.blocks, coadd.total.summary.stubs.values()
            grown.n_maps = n_maps
            grown.sums.append(blocks.nbytes)
            grown.n_planes = len(blocks.planes)
            grown.whole = 8 * limbs * sum(stub.size for stub in stubs)
            stokes = sum(plane.nbytes for key, plane in blocks.planes.items() if key in STOKES)
            grown.stokes = stokes / max(1, blocks.nbytes)
            went.append(name)
        self.went.append(went)


def spread(names: Sequence[str], number: int) -> list[str]:
    """So many of the names at most, evenly spread, the first one among them."""
    number = min(number, len(names))
    return [names[at * len(names) // number] for at in range(number)]


def stretch(n_names: int, number: int, n_files: int) -> float:
    """How many times as far from the first file as the last one of a spread is the last of all.

    Of names that are those of all files, or of the first ones of so many.
    """
    number = min(number, n_names)
    return max(1.0, (n_files - 1) / max(1, (number - 1) * n_names // number))


def sizes_of(names: Sequence[str]) -> list[int]:
    """The sizes of files, which are looked up and not opened.

    Raises
    ------
    InputError
        If one is not there, or is a folder or a stream.
    """
    sizes = []
    for name in names:
        if is_stream(name):
            raise InputError(f"{name}: a stream has no size, so that nothing can be planned.")
        refuse_folder(name, ALL_ENDINGS)
        try:
            sizes.append(os.stat(name).st_size)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error.strerror}).") from error
    return sizes


def add_some(
    names: Sequence[str], coadder: MPIMapCoadder, sizes: Mapping[str, int], *, limbs: int
) -> Sample:
    """Add files on this process, and note how large their sums are after each.

    Then they are added once more, as a coadd does it, and that is timed. Not more are added than
    fit well into the memory that is there. The sums stay.

    Parameters
    ----------
    names : list of str
    coadder : MPIMapCoadder
        Of one process, without anything in it.
    sizes : dict of str to int
        Bytes of each file.
    limbs : int
        How many numbers a sum has for each pixel.

    Raises
    ------
    InputError
        If a file cannot be added, or none has a map, or none of an Id that is asked for.
    UsageError
        If there is not the memory for a single one.
    """
    sample = Sample()
    opener = MapOpener(coadder.terms.assumed)
    read = Counter[str]()
    for name in names:
        if not _fits(sample, sizes[name]):
            break
        check_file(name)
        with about_file(name):
            added = _add(name, len(sample.names), opener, coadder, sample, read)
        sample.names.append(name)
        sample.n_bytes.append(sizes[name])
        if added:  # else it is calibration, or has maps of other Ids
            sample.note(coadder.states(), limbs=limbs)
    if not sample.names:
        raise UsageError(
            f"{names[0]}: {in_words(available() or 0)} of memory are not enough to add this file "
            f"of {in_words(sizes[names[0]])} here. Plan on a node with more."
        )
    maps_wanted, sampled = coadder.terms.members.map_ids, len(sample.names) < len(sizes)
    require_maps(len(sample.names), maps_wanted, read, bool(sample.went), sampled=sampled)
    sample.seconds = _seconds(sample.names, coadder)
    return sample


def time_more_sums(
    sample: Sample, coadder: MPIMapCoadder, splits: SampledSplits, more: More
) -> None:
    """Let the time of a sample be that with more sums than one of each split.

    Some of them are added, if there is the memory for one; else each is taken to need as long as
    reading and adding did.

    Parameters
    ----------
    sample : Sample
    coadder : MPIMapCoadder
        That has added it.
    splits : SampledSplits
    more : More
        How many sums there are beside that of each split.
    """
    plain = sample.seconds
    for kind, most in (("sums", _MORE_SUMS), ("flips", _MORE_FLIPS)):
        if (wanted := getattr(more, kind)) <= 0:
            continue
        there = available()
        if there is not None:
            most = min(most, int(_PART_OF_MEMORY * there / max(1, sample.sums)))
        number, each = min(math.ceil(wanted), most), plain
        if number:
            coadder.start_over()
            coadder.follow(splits.plan(**{kind: number}), "", flips_at_once=True)
            _seconds(sample.names, coadder)  # the memory of their sums is new
            each = max(0.0, _seconds(sample.names, coadder) - plain) / number
        sample.seconds += wanted * each


def _seconds(names: list[str], coadder: MPIMapCoadder) -> float:
    """How long it takes to add files as `coadd_files` does."""
    comm = communicators.OneProcess()
    pieces = list(map(Piece, range(len(names))))
    reader = Reader(
        *(comm, names, pieces, SharedCounter(comm), "static"), assumed=coadder.terms.assumed
    )
    begin = time.perf_counter()
    fed = feed(coadder, reader, len(names), 1, Tally(pieces), Work(Earlier(), NoCheckpoints()))
    if fed.failure is not None:
        raise fed.failure
    for coadd in coadder.states().values():
        if flips := coadd.total.sums.flips:
            flips.settle(coadd.total.blocks)
    return time.perf_counter() - begin


def _fits(sample: Sample, n_bytes: int) -> bool:
    """Whether there is memory for another file: its sums, if they are all new, and its bytes."""
    there = available()
    return there is None or max(n_bytes, sample.held) <= _PART_OF_MEMORY * there


def _add(
    name: str,
    position: int,
    opener: MapOpener,
    coadder: MPIMapCoadder,
    sample: Sample,
    read: Counter[str],
) -> bool:
    """Add a file; return whether there was a map in it that is asked for."""
    added = False
    for index, frame in numbered_frames(opener, name, Piece(0)):
        fingerprint = fingerprint_of(frame)
        set_unit(frame, Unit(name, index, position, fingerprint=fingerprint))
        coadder.observe(frame)
        if frame.type == core.G3FrameType.Map:
            read[str(frame.get("Id", None))] += 1
            added |= coadder.add(frame)
            sample.frame = max(sample.frame, fingerprint.length if fingerprint else 0)
    return added
