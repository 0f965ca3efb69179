"""A set of checkpoints as its manifest describes it: JSON that holds only data, checksummed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import google_crc32c

FORMAT = 1
_SEAL = b',\n"crc32c": "'
_END = b'"\n}\n'


class Unusable(Exception):
    """Why a set of checkpoints cannot be used."""


class Input(NamedTuple):
    """An input file as it was seen; sizes and times are -1 where there is no file."""

    name: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, name: str) -> Input:
        """The file as it is now."""
        try:
            status = os.stat(name)
        except OSError:  # it will be said when that file is read
            return cls(name, -1, -1)
        return cls(name, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Job:
    """What must be the same for a set to be of use.

    Attributes
    ----------
    options : dict
        The options that change what is in a sum. Functions stand in it by their names only.
    inputs : tuple of Input
        In their order.
    """

    options: dict[str, Any]
    inputs: tuple[Input, ...]

    def require_same(self, other: Job) -> None:
        """Refuse a set of another job.

        Raises
        ------
        Unusable
            With the first difference.
        """
        for name in {**self.options, **other.options}:
            was, now = other.options.get(name), self.options.get(name)
            if was != now:
                raise Unusable(f"it was made with other options: {name} was {was!r}, now {now!r}")
        if self.inputs != other.inputs:
            raise Unusable(f"it is of other input files: {_difference(other.inputs, self.inputs)}")


def _difference(were: Sequence[Input], are: Sequence[Input]) -> str:
    old, new = {one.name: one for one in were}, {one.name: one for one in are}
    for name in new:
        if name not in old:
            return f"{name} was not among them"
    for name in old:
        if name not in new:
            return f"{name} is not among them any more"
    for name, now in new.items():
        was = old[name]
        if was.size != now.size:
            return f"{name} had {was.size} bytes, and has {now.size} now"
        if was.mtime_ns != now.mtime_ns:
            return f"{name} was changed since (modified {_when(now.mtime_ns)})"
    return "they come in another order, or another number of times"


def _when(mtime_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(mtime_ns / 1e9))


# What a manifest says of a rank: types, lists and pairs of them, and objects by their values.
_KINDS: dict[str, Any] = {
    **{"rank": int, "name": str, "size": int, "crc32c": int, "coadds": [str], "frames": int},
    **{"done": [({str: int}, [int])]},
}
_NOTES: dict[str, Any] = {"mixed": [(str, str)], "lasting": [(int, int, str)]}
_NO_NOTES: dict[str, list[Any]] = {name: [] for name in _NOTES}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of a kind."""
    if isinstance(kind, dict):
        (of_values,) = kind.values()
        return isinstance(value, dict) and all(_fits(one, of_values) for one in value.values())
    if isinstance(kind, tuple):
        return isinstance(value, list) and len(value) == len(kind) and all(map(_fits, value, kind))
    if isinstance(kind, list):
        return isinstance(value, list) and all(_fits(one, kind[0]) for one in value)
    return type(value) is kind


class Member(NamedTuple):
    """What one rank has in a set.

    Attributes
    ----------
    rank : int
    name : str
        Its file; empty if it had no sum yet.
    size, crc32c : int
        Of the file.
    coadds : list of str
        The names of the coadds in it, in their order.
    frames : int
        How many frames were counted.
    done : list of [dict of str to int, list of int]
        The input files that were read to their ends, by their positions; each time those in which
        there are as many Map frames of the same Ids.
    notes : dict
        What else the coadder has to know of what was read.
    """

    rank: int
    name: str = ""
    size: int = 0
    crc32c: int = 0
    coadds: Sequence[str] = ()
    frames: int = 0
    done: Sequence[Sequence[Any]] = ()
    notes: Mapping[str, Any] = _NO_NOTES

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Member:
        """What a manifest says of a rank.

        Raises
        ------
        KeyError, TypeError
            If something is not there, or is of another kind.
        """
        notes = fields["notes"]
        for given, kinds in ((fields, _KINDS), (notes, _NOTES)):
            for name, kind in kinds.items():
                if not _fits(given[name], kind):
                    raise TypeError(f"{name} of a rank is {given[name]!r}")
        return cls(**fields)

    @property
    def done_files(self) -> dict[int, Counter[str]]:
        """Of each input file that was read to its end, how many Map frames of each Id it has."""
        return {
            int(position): Counter(counts)
            for counts, positions in self.done
            for position in positions
        }


def grouped(done: Mapping[int, Mapping[str, int]]) -> list[list[Any]]:
    """The `done` of a `Member`: most files have the same maps."""
    groups: dict[str, list[Any]] = {}
    for position, counts in done.items():
        key = json.dumps(counts, sort_keys=True)
        groups.setdefault(key, [dict(counts), []])[1].append(position)
    return list(groups.values())


@dataclass(frozen=True)
class Manifest:
    """A set: the files that hold the sums of all ranks.

    Attributes
    ----------
    number : int
        Later sets have higher ones.
    job : Job
    members : tuple of Member
    written : str
        When, if it was read.
    """

    number: int
    job: Job
    members: tuple[Member, ...]
    written: str = ""

    @property
    def n_files(self) -> int:
        """How many input files are in it."""
        return sum(len(positions) for member in self.members for _, positions in member.done)

    @property
    def names(self) -> set[str]:
        """The files that belong to it."""
        return {member.name for member in self.members if member.name}

    def __str__(self) -> str:
        frames = sum(member.frames for member in self.members)
        return (
            f"set {self.number} of {self.written} ({self.n_files} of {len(self.job.inputs)} files, "
            f"{frames} frame{'s' if frames != 1 else ''})"
        )

    def to_bytes(self) -> bytes:
        """The content of its file."""
        files = [member._asdict() for member in self.members]
        return sealed(to_body(self.job, set=self.number, files=files))

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """The set that a file describes.

        Raises
        ------
        Unusable
            If it is of another format, half-written or corrupted.
        """
        body = unsealed(content)
        try:
            return cls(
                number=int(body["set"]),
                job=job_in(body),
                members=tuple(Member.of(one) for one in body["files"]),
                written=str(body["written"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Unusable(f"its manifest cannot be understood ({error!r})") from error


def to_body(job: Job, **more: Any) -> dict[str, Any]:
    """What a manifest and the marker of a complete job both say."""
    return {
        "format": FORMAT,
        "package": _package(),
        "written": time.strftime("%Y-%m-%d %H:%M:%S"),
        **more,
        "options": job.options,
        "inputs": [list(one) for one in job.inputs],
    }


def job_in(body: Mapping[str, Any]) -> Job:
    """The job of which a manifest, or a marker, speaks."""
    return Job(dict(body["options"]), tuple(Input(*one) for one in body["inputs"]))


def sealed(body: dict[str, Any]) -> bytes:
    """A JSON object, whose last member is the checksum of all bytes before it."""
    content = json.dumps(body, indent=1).removesuffix("\n}").encode("ascii")
    return content + _SEAL + b"%08x" % google_crc32c.value(content) + _END


def unsealed(content: bytes) -> dict[str, Any]:
    """The object that `sealed` made bytes of.

    Raises
    ------
    Unusable
    """
    try:
        body = json.loads(content)
        known = body["format"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unusable("its manifest is half-written or corrupted") from error
    if known != FORMAT:
        raise Unusable(
            f"it is written in format {known!r} (by {body.get('package')}); this version reads "
            f"format {FORMAT}"
        )
    covered = content.rpartition(_SEAL)[0]
    if content != covered + _SEAL + b"%08x" % google_crc32c.value(covered) + _END:
        raise Unusable("its manifest is corrupted: the checksum is wrong")
    return dict(body)


def _package() -> str:
    root = __name__.partition(".")[0]
    return f"{root} {sys.modules[root].__version__}"
