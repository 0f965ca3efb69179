"""What the functions of this folder take: frames, coadds, or names of files of any format."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from spt3g import core

from ..errors import OutputError, UsageError
from ..formats.kinds import format_of
from ..formats.reading import map_frames_in
from ..pipeline.units import unit_of
from ..spt3gtypes import Frame

Source: TypeAlias = "str | os.PathLike[str] | Frame | Mapping[str, Frame] | Iterable[Source]"
"""A file, a Map frame, a `Coadds` or other mapping to frames, or a list of any of these."""

_REALISATION = re.compile(r"(?:(.*)_)?signflip(\d+)", re.DOTALL)


class Given(NamedTuple):
    """A Map frame that was given.

    Attributes
    ----------
    frame_id : str
        Its Id; empty if it has none.
    frame : G3Frame
    where : str
        How messages name it.
    """

    frame_id: str
    frame: Frame
    where: str


class Headers(NamedTuple):
    """What holds where a file does not say it; see `g3reduce.formats.map_frames_in`.

    Attributes
    ----------
    pol_conv, coord, units : str or None
    """

    pol_conv: str | None = None
    coord: str | None = None
    units: str | None = None


def frames_of(source: Source, headers: Headers = Headers()) -> Iterator[Given]:  # noqa: B008
    """The Map frames of a source, one after another, in its order.

    Raises
    ------
    UsageError
        If it is none, or a frame is of another type.
    InputError
        If a file cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        for frame in map_frames_in(source, **headers._asdict()):
            yield _given(frame)
    elif hasattr(source, "type") and hasattr(source, "keys"):
        yield _given(source)
    elif isinstance(source, Mapping):
        for frame in source.values():
            yield _given(frame)
    elif isinstance(source, Iterable):
        for one in source:
            yield from frames_of(one, headers)
    else:
        raise UsageError(
            f"A {type(source).__name__} was given; expected the name of a file, a Map frame, "
            "coadds, or a list of these."
        )


def _given(frame: Frame) -> Given:
    if getattr(frame, "type", None) != core.G3FrameType.Map:
        kind = getattr(frame, "type", type(frame).__name__)
        raise UsageError(f"A frame of type {kind} was given; expected a Map frame.")
    found = frame.get("Id", "")
    frame_id = found if isinstance(found, str) else ""
    unit = unit_of(frame)
    named = f"Id {frame_id!r}" if frame_id else "without an Id"
    return Given(frame_id, frame, f"{unit} ({named})" if unit else f"the map with {named}")


def described(source: Source) -> str:
    """How messages name a source: by its files, if it has some."""
    one = isinstance(source, str | os.PathLike)
    names = [source] if one else source if isinstance(source, list | tuple) else []
    files = [os.fspath(name) for name in names if isinstance(name, str | os.PathLike)]
    return ", ".join(files) or "what was given"


def check_output(output_file: str | os.PathLike[str], *sources: Source | None) -> None:
    """Refuse a name that means no format, or a file that is read, before the work begins.

    Raises
    ------
    UsageError, OutputError
    """
    format_of(output_file)
    refuse_same_file(output_file, *sources)


def refuse_same_file(output_file: str | os.PathLike[str], *sources: Source | None) -> None:
    """Refuse to write over what is read.

    Raises
    ------
    OutputError
    """
    for source in sources:
        if isinstance(source, list | tuple):
            refuse_same_file(output_file, *source)
        elif isinstance(source, str | os.PathLike) and _is_same(source, output_file):
            raise OutputError(
                f"{os.fspath(output_file)}: the output is also an input; name another one."
            )


def _is_same(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


class Realisation(NamedTuple):
    """Which sign-flip realisation a map is.

    Attributes
    ----------
    base : str
        The Id of the coadd that it is of; may be empty.
    number : int
    """

    base: str
    number: int

    @classmethod
    def of(cls, given: Given) -> Realisation | None:
        """What the record ``Split`` of a frame says, or else its Id; None if it is none."""
        record = given.frame.get("Split", None)
        if isinstance(record, core.G3MapString) and "realisation" in record and "base" in record:
            return cls(record["base"], int(record["realisation"]))
        return cls.named(given.frame_id)

    @classmethod
    def named(cls, frame_id: str) -> Realisation | None:
        """What an Id says, as ``150GHz_early_signflip007`` does."""
        match = _REALISATION.fullmatch(frame_id)
        return cls(match[1] or "", int(match[2])) if match else None
