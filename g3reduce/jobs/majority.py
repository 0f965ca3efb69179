"""Which files do not fit the others: found by the rules by which maps are added."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..coadd.settings import Terms
from ..errors import Difference, InputError, MismatchError
from ..maps.agreement import require_agreement, require_same_parts
from ..maps.framekind import FrameKind
from .examining import Examined, Problem
from .survey import Survey

_WORDS = {"pol_conv": "convention of polarization", "coord_ref": "coordinate system"}

# So many differences between two frames are listed.
_SHOWN = 3


class Judged(NamedTuple):
    """What does not fit.

    Attributes
    ----------
    odd : dict of int to Problem
        The files that do not fit, by their numbers, and in what.
    undecided : str
        Why it is not known which files are the odd ones; empty if it is.
    """

    odd: dict[int, Problem]
    undecided: str


def odd_ones(
    survey: Survey, terms: Terms, usable: Collection[int], like: Examined | None = None
) -> Judged:
    """Find files that do not fit the majority of those that go into the same coadd.

    Parameters
    ----------
    survey : Survey
    terms : Terms
    usable : collection of int
        The numbers of the files that count.
    like : Examined, optional
        A file that says what fits, in place of the majority. Its kinds are those of the survey.
    """
    rule = _Rule(survey.kinds, not terms.ignore_missing_weights)
    odd: dict[int, Problem] = {}
    undecided = ""
    coadds: dict[str, dict[int, set[int]]] = {}
    for number in sorted(usable):
        for frame in survey.files[number].frames:
            for name in frame.coadds:
                coadds.setdefault(name, {}).setdefault(frame.kind, set()).add(number)
    for name, files_of in coadds.items():
        if like is not None:
            models = {one.kind for one in like.frames if name in one.coadds}
            models = models or {one.kind for one in like.frames}
            for kind in list(files_of):
                if not any(rule.agree(kind, model) for model in models):
                    for number in files_of.pop(kind) - odd.keys():
                        file = survey.files[number].name
                        odd[number] = rule.problem(file, kind, sorted(models), like.name)
        groups = rule.groups(files_of)
        together = [set[int]().union(*(files_of[kind] for kind in group)) for group in groups]
        if len(together) > 1 and len(together[0]) == len(together[1]):
            undecided = undecided or _tie(survey, groups, together, rule)
            continue
        everyone = set[int]().union(*together)
        for group, numbers in zip(groups[1:], together[1:], strict=True):
            for number in sorted(numbers - odd.keys()):
                kind = next(kind for kind in group if number in files_of[kind])
                them = _them(together[0] - {number}, everyone - {number})
                odd[number] = rule.problem(survey.files[number].name, kind, groups[0], them)
    return Judged(odd, undecided)


def require_model(like: Examined, survey: Survey, terms: Terms) -> None:
    """Refuse a file to which others are to be compared, if they cannot be.

    Raises
    ------
    InputError
    """
    if like.is_bad or not like.frames:
        raise InputError(f"{like.name}: files cannot be compared with this ({like.faults}).")
    rule = _Rule(survey.kinds, not terms.ignore_missing_weights)
    for one in like.frames:
        for other in like.frames:
            if {*one.coadds} & {*other.coadds} and not rule.agree(one.kind, other.kind):
                raise InputError(
                    f"{like.name}: files cannot be compared with this: two of its own frames that "
                    "go into one coadd do not agree. Coadd by Id (collate), or name another file."
                )


def tell_of_fewer_maps(files: Sequence[Examined]) -> None:
    """Tell of files that have fewer maps than most: they may have been cut off between frames."""
    counts = Counter(file.n_maps for file in files)
    most, n_files = max(counts.items(), key=lambda item: item[1], default=(0, 0))
    if 3 * n_files < 2 * len(files) or n_files < 2:
        return
    for file in files:
        if 0 < file.n_maps < most:
            maps = "1 map" if file.n_maps == 1 else f"{file.n_maps} maps"
            file.tell(f"{maps}, {n_files} others have {most}: only a manifest says if it is whole")


def _them(others: Collection[int], everyone: Collection[int]) -> str:
    """How messages name the files of the majority."""
    if len(others) == 1:
        return "the other one" if len(everyone) == 1 else "another one"
    return f"the other {len(others)}" if others == everyone else f"{len(others)} others"


def _tie(
    survey: Survey, groups: Sequence[Sequence[int]], files: Sequence[set[int]], rule: _Rule
) -> str:
    one, other = (survey.files[min(numbers)].name for numbers in files[:2])
    differences = rule.differences(groups[0][0], groups[1])
    listed = "; ".join(
        f"{one} has {it.mine}, {other} {it.theirs}{_of(it)}" for it in differences[:_SHOWN]
    )
    each = "one file is" if len(files[0]) == 1 else f"{len(files[0])} files are"
    return (
        f"{each[0].upper()}{each[1:]} of one kind and as many of another, so that no majority "
        f"decides which fit: {listed}. Say which file all are to be like (like=)."
    )


def _of(difference: Difference) -> str:
    plane = f" of {difference.plane}" if difference.plane else ""
    # In the words of users, and not by the name of an argument.
    name = _WORDS.get(difference.attribute, difference.attribute)
    return "" if difference.attribute == "planes" else f" ({name}{plane})"


class _Rule:
    """The rules of adding, applied to kinds of frames by their numbers."""

    def __init__(self, kinds: Sequence[FrameKind], require_weights: bool):
        self._kinds = kinds
        self._require_weights = require_weights
        self._error = functools.cache(self._compared)

    def agree(self, kind: int, other: int) -> bool:
        """Whether frames of both kinds can be added."""
        return kind == other or self._error(kind, other) is None

    def groups(self, files_of: dict[int, set[int]]) -> list[list[int]]:
        """Kinds of which all agree with one another, the group with the most files first."""
        order = sorted(files_of, key=lambda kind: (-len(files_of[kind]), min(files_of[kind])))
        groups: list[list[int]] = []
        for kind in order:
            for group in groups:
                if all(self.agree(kind, other) for other in group):
                    group.append(kind)
                    break
            else:
                groups.append([kind])
        files = [set().union(*(files_of[kind] for kind in group)) for group in groups]
        ranked = sorted(zip(files, groups, strict=True), key=lambda it: (-len(it[0]), min(it[0])))
        return [group for _, group in ranked]

    def differences(self, kind: int, others: Sequence[int]) -> tuple[Difference, ...]:
        """What a kind differs in from the first of those with which it does not agree."""
        error = next((it for other in others if (it := self._error(kind, other))), None)
        return error.differences if isinstance(error, MismatchError) else ()

    def problem(self, name: str, kind: int, others: Sequence[int], them: str) -> Problem:
        """The problem of a file with a frame of this kind."""
        listed = [
            f"has {it.mine}, {them} {it.theirs}{_of(it)}"
            for it in self.differences(kind, others)[:_SHOWN]
        ]
        fault = "; ".join(listed) or f"does not agree with {them}"
        return Problem(fault, f"{name} {fault}. They must not be added.")

    def _compared(self, kind: int, other: int) -> InputError | None:
        mine, theirs = self._kinds[kind], self._kinds[other]
        try:
            require_agreement(mine.stubs, theirs.stubs, "it", "others")
            weights = self._require_weights
            require_same_parts(mine.parts, theirs.parts, "it", "others", weights=weights)
        except InputError as error:
            return error
        return None
