"""What a notebook shows of coadds."""

from __future__ import annotations

from collections.abc import Mapping

from ..g3files.maps import MAP_KEYS
from ..maps.coverage import Coverage
from ..spt3gtypes import Frame

HEADS = ("Id", "maps", "files", "deg²", "hits a pixel", "depth T", "depth Q, U")


def table_of_coadds(
    frames: Mapping[str, Frame], coverage: Mapping[str, Coverage]
) -> tuple[list[str], list[list[str]]]:
    """Heads and rows, one for each coadd, of what is known: a pipeline measures no coverage."""
    rows = rows_of(frames, coverage)
    known = [n for n in range(len(HEADS)) if not rows or any(row[n] for row in rows)]
    return [HEADS[column] for column in known], [[row[column] for column in known] for row in rows]


def rows_of(frames: Mapping[str, Frame], coverage: Mapping[str, Coverage]) -> list[list[str]]:
    """A row for each coadd: Id, maps, files, area, hits, and the depths."""
    rows = []
    for name, frame in frames.items():
        keys = ", ".join(key for key in MAP_KEYS if key in frame)
        n_files = str(len(frame.get("InputFiles", ())) or "")
        one = coverage.get(name)
        figures = (one.area_deg2, one.hits, one.depth_t, one.depth_p) if one else (None,) * 4
        rows.append([name, keys, n_files, *("" if x is None else f"{x:,.3g}" for x in figures)])
    return rows
