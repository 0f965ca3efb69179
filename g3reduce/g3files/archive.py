"""Reading the archives into which spt3g serializes its objects.

An archive begins with its byte order. An object is led by its class, which is named where it comes
for the first time, and has a number from then on; the version of each class stands where the first
object of it begins.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from ..errors import InputError
from .frames import Unrecognised
from .lines import Lines
from .runs import KNOWN, RunLayout, learn
from .source import Bytes

DENSE, SPARSE, RING, INDEXED, EMPTY = "dense", "sparse", "ring-sparse", "indexed-sparse", "empty"

FLAT, HEALPIX, WEIGHTS = "FlatSkyMap", "HealpixSkyMap", "G3SkyMapWeights"

# Codes of the storage.
STORAGE = {
    FLAT: {0: EMPTY, 1: SPARSE, 2: DENSE},
    HEALPIX: {0: EMPTY, 1: INDEXED, 2: RING, 3: DENSE},
}

# The class versions that are known here.
VERSIONS = {
    "G3FrameObject": 1,
    "G3SkyMap": 3,
    "FlatSkyMap": 4,
    "FlatSkyProjection": 4,
    "HealpixSkyMap": 3,
    "HealpixSkyMapInfo": 1,
    "G3SkyMapWeights": 3,
    "DenseMapData": 1,
    "SparseMapData": 1,
}

NEW = 0x80000000  # marks the first time that a name or an object comes

U8, U32, U64 = struct.Struct("<B"), struct.Struct("<I"), struct.Struct("<Q")
F64 = struct.Struct("<d")


def head_of(name: str, version: int = 1) -> bytes:
    """How the archive of an object begins: its byte order, the class, the object, the versions.

    Parameters
    ----------
    name : str
        The class. It is derived from G3FrameObject.
    version : int
        Of the class.
    """
    return struct.pack(
        f"<BIQ{len(name)}sIII", 1, NEW | 1, len(name), name.encode(), NEW | 1, version, 1
    )


class Archive:
    """Reads an archive from its beginning, and remembers what was named there."""

    def __init__(self, source: Bytes, begin: int, end: int):
        self.position = begin
        self._source = source
        self._end = end
        self._start, self._held = begin, b""
        self._names: dict[int, str] = {}
        self._versions: set[str] = set()

    def take(self, number: struct.Struct) -> int:
        """The next number."""
        (value,) = number.unpack(self._bytes(number.size))
        return int(value)

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        self.position += size

    def expect(self, number: struct.Struct, value: int, what: str) -> None:
        """Take a number that can only have one value."""
        found = self.take(number)
        if found != value:
            raise InputError(f"{what} {found} instead of {value}")

    def version(self, name: str) -> None:
        """Take the version of a class, which stands where it comes for the first time."""
        if name not in self._versions:
            found = self.take(U32)
            if found != VERSIONS[name]:
                raise Unrecognised(f"class version {found} of {name}")
            self._versions.add(name)

    def pointer(self) -> str | None:
        """The class of the object that follows; None if there is none."""
        number = self.take(U32)
        if number == 0:
            return None
        if number & NEW:
            length = self.take(U64)
            if length > 64:
                raise InputError("a class with a long name")
            name = self._bytes(length).decode("ascii", "replace")
            self._names[number & ~NEW] = name
        elif number in self._names:
            name = self._names[number]
        else:
            raise InputError("a class that was not named")
        if not self.take(U32) & NEW:
            raise Unrecognised("a map that is there twice")
        return name

    def storage(self, kind: str) -> tuple[int, str]:
        """Where the code of the storage stands, and what it says."""
        code_at = self.position
        code = self.take(U32)
        if code not in STORAGE[kind]:
            raise InputError(f"code {code} of the storage")
        return code_at, STORAGE[kind][code]

    def vector(self, itemsize: int, count: int | None = None) -> tuple[int, int]:
        """Pass over a vector: where its items begin, and how many there are."""
        found = self.take(U64)
        if count is not None and found != count:
            raise InputError(f"{found} pixels instead of {count}")
        if found * itemsize > self._end - self.position:
            raise InputError("more pixels than the archive has room for")
        begin = self.position
        self.position += found * itemsize
        return begin, found

    def runs(self, lines: Lines, fits: Callable[[], bool]) -> tuple[int, RunLayout]:
        """Pass over runs: where their first header stands, and their layout; see `runs_at`."""
        self.version("SparseMapData")

        def fits_behind(stop: int) -> bool:
            self.position = stop
            return fits()

        layout, begin = runs_at(self._source, lines, self.position, self._end, fits_behind)
        self.position = begin + layout.nbytes
        return begin, layout

    def may_go_on(self, pointers: int) -> bool:
        """Whether this is where an archive of so many more pointers can go on."""
        rest = self._end - self.position
        if not pointers:
            return rest == 0
        if rest < U32.size:
            return False
        following = int.from_bytes(self._source.read(self.position, U32.size), "little")
        if following == 0:
            return rest == pointers * U32.size
        marked = int.from_bytes(self._source.read(self.position + 4, U32.size), "little")
        return following in self._names and bool(marked & NEW)

    def _bytes(self, size: int) -> bytes:
        if not 0 <= size <= self._end - self.position:
            raise InputError("an archive that ends too early")
        begin = self.position - self._start
        if begin < 0 or begin + size > len(self._held):
            self._start, begin = self.position, 0
            self._held = self._source.read(self.position, min(512, self._end - self.position))
        self.position += size
        return self._held[begin : begin + size]


def runs_at(
    source: Bytes, lines: Lines, at: int, end: int, fits: Callable[[int], bool]
) -> tuple[RunLayout, int]:
    """The layout of runs, and where their first header stands.

    A layout that was met before is taken if the archive can go on where it ends: that is, if `fits`
    says so, and its last header stands there. All are compared when the values are read.

    Parameters
    ----------
    source : Bytes
    lines : Columns or Rings
    at, end : int
        Where the range of lines stands, before the first run, and where the archive ends.
    fits : callable
        Called with where the runs would end.

    Raises
    ------
    InputError
        If these are no runs of such a map.
    """
    for known in KNOWN:
        if known.lines == lines and source.read(at, len(known.head)) == known.head:
            begin = at + len(known.head)
            stop = begin + known.nbytes
            if stop > end or not fits(stop):
                continue
            # Of short runs, some have the same length altogether.
            last, header = known.last_header
            if source.peek(begin + last, len(header)) == header:
                return KNOWN.intern(known), begin
    return learn(source, lines, at, end)
