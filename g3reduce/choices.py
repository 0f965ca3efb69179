"""The choices that arguments offer, each as one type.

Signatures, the checks of arguments and the command line all take them from here.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

ReadyStrategy: TypeAlias = Literal["auto", "gather", "tree", "allreduce", "reduce_scatter", "owner"]
"""The library's own strategies. Users register others, so that arguments take any string."""

Result: TypeAlias = Literal["root", "all", "sharded"]
WrittenResult: TypeAlias = Literal["root", "sharded"]
OnDuplicate: TypeAlias = Literal["error", "sum"]
OnDuplicateFile: TypeAlias = Literal["error", "skip", "sum"]
SameObservation: TypeAlias = Literal["error", "warn", "sum"]
OnError: TypeAlias = Literal["error", "skip"]
Nonfinite: TypeAlias = Literal["keep", "error", "skip"]
PolConv: TypeAlias = Literal["IAU", "COSMO"]
InputCoord: TypeAlias = Literal["C", "G", "E", "L"]
Schedule: TypeAlias = Literal["dynamic", "static"]
Gaps: TypeAlias = Literal["keep", "fill", "refuse"]
Missing: TypeAlias = Literal["flag", "refuse"]
NumberIsTime: TypeAlias = Literal["spt", "ctime"]
MissingPixels: TypeAlias = Literal["error", "drop"]
Overlap: TypeAlias = Literal["refuse", "drop"]
Distribution: TypeAlias = Literal["detector", "time", "root"]
BundleBy: TypeAlias = Literal["weight", "number"]
MapFormat: TypeAlias = Literal["g3", "fits", "hdf5"]
FitsStyle: TypeAlias = Literal["spt3g", "enmap"]
FitsUnits: TypeAlias = Literal["K", "mK", "uK"]
TOASTDistribution: TypeAlias = Literal["detector", "time"]


Shell: TypeAlias = Literal["bash", "zsh", "tcsh"]


def choices_of(kind: Any) -> tuple[str, ...]:
    """The values of one of these types."""
    return get_args(kind)
