"""Coadds that grow: files are added to a coadd that is there, or taken away from it again.

The old coadd is read like any other input, but for its Id, which says what it is a part of. What is
to be taken away is summed for itself, as a coadd of its own, and leaves the whole when all ranks
have joined their sums. So nothing is half done at any time, and nothing else need know of it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from spt3g import core

from ..choices import Result
from ..errors import InputError, OutputError, UsageError, about_file
from ..g3files.maps import MAP_KEYS
from ..g3files.names import SUFFIXES, check_file, expand
from ..g3files.source import Stamp
from ..maps.mapfile import frames_of
from ..maps.sumstate import has_sum
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, collectively
from ..pipeline.ledger import LeftOut
from ..pipeline.ledgerframe import DIFFERENCE
from ..pipeline.units import unit_of
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame

logger = unit_logger(__name__, "MPIMapCoadder")

T = TypeVar("T")
PathLike: TypeAlias = "str | os.PathLike[str]"

_NAMES = (str, bytes, os.PathLike)

# In front of the name of a coadd: what is to be taken away from it. No Id has this letter.
_REMOVED = "\x1f"


@dataclass(frozen=True)
class Base:
    """A file of coadds to which others are added, as it was found.

    Attributes
    ----------
    file : str
    ids : tuple of str
        The Ids of its frames.
    exact : bool
        Whether all of them have their exact sums.
    records : tuple of dict of str to str
        What each says of the splitting that chose its maps; empty if it says nothing.
    """

    file: str
    ids: tuple[str, ...]
    exact: bool
    records: tuple[dict[str, str], ...] = ()

    @classmethod
    def of(cls, file: str) -> Base:
        """Look at a file: its pixels are not read.

        Raises
        ------
        InputError
            If it cannot be added to.
        """
        if not file.endswith(SUFFIXES):
            raise InputError(
                f"{file}: only coadds in .g3 files can be added to, or subtracted from. Make a new "
                "coadd of this file and of those that are to be added: name all of them as input."
            )
        if not os.path.exists(file):
            raise InputError(
                f"{file}: there is no such file to add to, or to subtract from. Make the first "
                "coadd without add_to."
            )
        check_file(file)
        with about_file(file):
            found = [frame for frame in frames_of(file) if frame.type == core.G3FrameType.Map]
            if any(DIFFERENCE in frame for frame in found):
                raise InputError(
                    f"{file}: there is a half difference in it, to which no map can be added. Add "
                    "to the coadds that it was made of, and make their difference again."
                )
            ids = tuple(_id_of(frame, file) for frame in found)
            if not ids:
                raise InputError(f"{file}: there is no coadd in it (no Map frame).")
            if len({*ids}) < len(ids):
                raise InputError(
                    f"{file}: there are several Map frames of one Id ({', '.join(ids)}), so these "
                    "are no coadds. Coadd them first."
                )
            _tell_of_losses(found, file)
            return cls(file, ids, all(map(has_sum, found)), tuple(map(_record_in, found)))

    def exactness_for(self, reproducible: bool, keep_exact: bool) -> tuple[bool, bool]:
        """Whether the sum is to be exact, and to stay so: as that which it is added to.

        Raises
        ------
        UsageError
            If it cannot be.
        """
        if reproducible and not self.exact:
            raise UsageError(
                f"{self.file} has no exact sums, so what is added to it cannot be reproducible: "
                "leave reproducible=True out, or make that coadd again, from the original files, "
                "with keep_exact=True."
            )
        return reproducible or self.exact, keep_exact or self.exact


@dataclass(frozen=True)
class Growth:
    """Which frames are the old coadds, and which are to be taken away from them.

    Attributes
    ----------
    base : Base
    removed : tuple of str
        The files whose frames are taken away.
    """

    base: Base
    removed: tuple[str, ...]

    def inputs(self, added: Sequence[PathLike]) -> list[PathLike]:
        """All files that are to be read: the old coadds come first.

        Raises
        ------
        UsageError
            If nothing is to be added or taken away.
        """
        if not added and not self.removed:
            raise UsageError(
                f"There are no files to add to {self.base.file}, and none to subtract from it."
            )
        return [self.base.file, *added, *self.removed]

    def require_rules(
        self, planned: bool, record_of: Callable[[str], Mapping[str, str]] | None = None
    ) -> None:
        """Refuse to add maps to coadds whose maps were chosen by other rules, or were planned.

        Parameters
        ----------
        planned : bool
            Whether what is to be added is.
        record_of : callable, optional
            What is to be recorded of a coadd, by its Id; nothing of one that gets no map. Without
            it, maps are chosen without rules.

        Raises
        ------
        UsageError
        """
        for map_id, old in zip(self.base.ids, self.base.records, strict=False):
            where = f"{self.base.file}: the coadd {map_id!r}"
            new = record_of(map_id) if record_of else {}
            if planned or not old.keys().isdisjoint(("bundle", "base")):
                raise UsageError(
                    f"{where}: maps cannot be added to bundles, sign flips and other splits that "
                    "depend on all of their input: with more maps the plan is another one, and "
                    "maps that are in these coadds would change their places and signs. Make them "
                    "again of all files."
                )
            stays = record_of is not None and not new  # none of the maps is added to it
            if not stays and old and old.get("rule") != new.get("rule"):
                raise UsageError(
                    f"{where} has the maps for which this holds: {old.get('rule')}. What is added "
                    f"to it is chosen by another rule: {new.get('rule', 'none')}. Say the same."
                )

    def record_of(self, map_id: str) -> Mapping[str, str]:
        """What the old coadd with an Id says of the splitting that chose its maps."""
        return dict(zip(self.base.ids, self.base.records, strict=False)).get(map_id, {})

    def is_base(self, frame: Frame) -> bool:
        """Whether a frame is one of the old coadds."""
        unit = unit_of(frame)
        return unit is not None and unit.file == self.base.file

    def names_of(
        self, frame: Frame, signs: Mapping[str, int], frame_id: Callable[[str], str], where: str
    ) -> Mapping[str, int]:
        """The coadds to which a frame goes that is none of the old ones.

        Parameters
        ----------
        frame : G3Frame or StoredFrame
        signs : dict of str to int
            Where it would go otherwise.
        frame_id : callable
            The Id of the frame that a coadd becomes.
        where : str
            How messages name the frame.

        Raises
        ------
        InputError
            If there is no such coadd.
        """
        new = [frame_id(name) for name in signs if frame_id(name) not in self.base.ids]
        if new:
            there = ", ".join(map(repr, self.base.ids))
            raise InputError(
                f"{where}: it belongs to the coadd {new[0]!r}, but {self.base.file} has only "
                f"{there}. Say map_ids, output_map_id and collate= as that was made, so that only "
                "what belongs to it is read."
            )
        unit = unit_of(frame)
        if unit is not None and unit.file in self.removed:
            return {_REMOVED + name: sign for name, sign in signs.items()}
        return signs

    def require_kept(self, left_out: Iterable[LeftOut]) -> None:
        """Refuse to leave out the old coadds, or what is to be taken away from them.

        Raises
        ------
        InputError
        """
        for file, _, reason in left_out:
            if file == self.base.file or file in self.removed:
                what = "be added to" if file == self.base.file else "be subtracted"
                raise InputError(f"{file}: this cannot {what} ({reason}).", fault=reason)

    def require_names(self, name_of: Callable[[str], str | None]) -> None:
        """Refuse options by which the old coadds would not be coadds of this kind.

        Parameters
        ----------
        name_of : callable
            The name of the coadd that becomes a frame with an Id; None if there is none.

        Raises
        ------
        UsageError
        """
        other = [map_id for map_id in self.base.ids if name_of(map_id) is None]
        if other:
            what = f"{self.base.file} has a coadd {other[0]!r}, which these options do not make."
            if rule := self.record_of(other[0]).get("rule"):
                raise UsageError(f"{what} Split by the same rule: {rule}.")
            raise UsageError(f"{what} Say output_map_id and collate= as it was made.")


def agreed_growth(
    comm: communicators.Comm,
    add_to: PathLike | None,
    subtract: PathLike | Sequence[PathLike],
    result: Result,
) -> Growth | None:
    """What these arguments say, the same on all ranks; None for a coadd that is new.

    Collective over `comm`. Each rank looks at the file, so that all know of what kind it is.

    Raises
    ------
    InputError, UsageError
    """

    def checked() -> tuple[Growth | None, dict[str, object]]:
        listed: Any = subtract
        names: list[Any] = [listed] if isinstance(listed, _NAMES) else list(listed)
        if not all(isinstance(name, str | os.PathLike) for name in names):
            raise UsageError(f"subtract is {subtract!r}; expected names of files.")
        if add_to is None:
            if names:
                raise UsageError(
                    "subtract names files to be taken away from a coadd: say which in add_to."
                )
            return None, {}
        if not isinstance(add_to, str | os.PathLike):
            raise UsageError(f"add_to is {add_to!r}; expected the name of a file, or None.")
        if result == "sharded":
            raise UsageError(
                'With result="sharded" there are no frames, and so none to add to: leave add_to '
                'out, or choose another result ("root", "all").'
            )
        growth = Growth(Base.of(os.fspath(add_to)), tuple(expand(names) if names else ()))
        return growth, {"add_to": growth}

    return agreed_arguments(comm, "The arguments of coadd_files", checked)


def removed_from(name: str) -> str | None:
    """The name of the coadd from which one is taken away; None if it is not."""
    return name.removeprefix(_REMOVED) if name.startswith(_REMOVED) else None


@contextmanager
def held(
    comm: communicators.Comm, growth: Growth | None, output: str | None, root: int
) -> Iterator[Callable[[], None]]:
    """Hold a file of coadds that is to be replaced, so that no other job replaces it meanwhile.

    Collective over `comm`.

    Yields
    ------
    callable
        Refuses to go on, on `root`, if the file is another one or was changed: to be called last.

    Raises
    ------
    OutputError
        On all ranks, if another job holds it.
    """
    if growth is None or output is None:
        yield lambda: None
        return
    file, locks = growth.base.file, ExitStack()
    found: list[Stamp | None] = []

    def hold() -> None:
        if comm.rank == root and _same(file, output):
            _lock(file, locks)
            found.append(_stamp_of(file))

    def require_unchanged() -> None:
        if found and _stamp_of(file) != found[0]:
            raise OutputError(
                f"{file}: it was replaced or changed since it was read, so what came into it "
                "meanwhile would be lost. It is left as it is; try again."
            )

    with locks:
        collectively(comm, hold)
        yield require_unchanged


def followed(items: Iterable[T], check: Callable[[], None]) -> Iterator[T]:
    """The same items, and then a check."""
    yield from items
    check()


def _lock(file: str, locks: ExitStack) -> None:
    """Lock a file until `locks` are closed, where the file system can."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    locks.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{file}: another job is about to replace it. Wait for its end, and try again."
        ) from error
    except OSError:  # it cannot
        pass


def _same(a: str, b: str) -> bool:
    with suppress(OSError):
        return os.path.samefile(a, b)
    return False


def _stamp_of(file: str) -> Stamp | None:
    with suppress(OSError):
        return Stamp.of(os.stat(file))
    return None


def _id_of(frame: Frame, file: str) -> str:
    map_id = frame.get("Id", None)
    if not isinstance(map_id, str):
        raise InputError(f"{file}: there is a Map frame without an Id, so this is no coadd.")
    return map_id


def _record_in(frame: Frame) -> dict[str, str]:
    record = frame.get("Split", None)
    return dict(record.items()) if isinstance(record, core.G3MapString) else {}


# What coadd frames have; entries whose names begin like this, too.
_KNOWN = {"Id", *MAP_KEYS, "InputMapIds", "InputFiles", "SkippedPixels", "Split"}
_KNOWN_BEGINNINGS = ("Exact", "Sum", "Ledger", "LeftOut")


def _tell_of_losses(frames: list[Any], file: str) -> None:
    """Warn of what the new file will not have."""
    keys = {key for frame in frames for key in frame.keys()}  # noqa: SIM118 (not a dictionary)
    lost = sorted(key for key in keys - _KNOWN if not key.startswith(_KNOWN_BEGINNINGS))
    if lost:
        logger.warning(
            "%s: its frames have %s besides what coadds have; the new ones will not.",
            *(file, ", ".join(lost)),
        )
