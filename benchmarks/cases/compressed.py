"""From compressed files to a coadd on one process: ours, spt3g's, and the decompression alone."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..harness import pictures
from ..harness.inturn import in_turn, ratio, spread, timed
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import SHARED, SURVEY, write_files
from .coadding import by_spt3g

_CASES = (("sparse flat", SURVEY), ("dense flat", SHARED))

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 6),
    ".bz2": bz2.compress,
    ".xz": lambda data: lzma.compress(data, preset=1),
}
_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}


def measure(settings: Settings) -> list[Row]:
    """Coadd files of each kind of map and of compression: small ones, as it takes long enough."""
    size_of_maps = "tiny" if settings.size == "tiny" else "small"
    rounds = min(settings.rounds, 3)
    rows = []
    for number, (kind, layout) in enumerate(_CASES):
        folder = settings.folder / f"compressed-{number}"
        plain = write_files(folder, kind, layout, size_of_maps, settings.n_files)
        size = sum(map(os.path.getsize, plain))
        for ending, compress in _COMPRESS.items():
            files = [f"{file}{ending}" for file in plain]
            for file, whole in zip(files, plain, strict=True):
                Path(file).write_bytes(compress(Path(whole).read_bytes()))
            case: Row = {"kind": kind, "layout": layout, "ending": f".g3{ending}"}
            rows.append(case | _measure(files, size, _DECOMPRESS[ending], rounds))
        shutil.rmtree(folder)
    return rows


def _measure(files: list[str], size: int, decompress: Callable[[bytes], bytes], rounds: int) -> Row:
    import g3reduce

    def decompressed() -> None:
        for file in files:
            decompress(Path(file).read_bytes())

    seconds = in_turn(
        {
            "g3reduce": timed(lambda: g3reduce.coadd_files(files).frame),
            "spt3g": timed(lambda: by_spt3g(files, None)),
            "floor": timed(decompressed),
        },
        rounds,
    )
    return {
        "megabytes": size / 1e6,
        "smaller": size / sum(map(os.path.getsize, files)),
        **{f"{name} GB/s": spread([size / 1e9 / s for s in t]) for name, t in seconds.items()},
        "against spt3g": ratio(seconds["spt3g"], seconds["g3reduce"]),
        "against the floor": ratio(seconds["floor"], seconds["g3reduce"]),
    }


BENCHMARK = Benchmark(
    title="Compressed files to coadd, on one process",
    measure=measure,
    reading=(
        "GB/s is the size of the content over the time. The floor is Python's own decompression "
        "of the same files, in one go, and nothing else: what is above it is the coadd. Each file "
        "is one compressed stream, because of several spt3g reads the first only."
    ),
    tables=(
        Table(
            title="Speed, and times as fast as spt3g and as the floor",
            index={"kind": "maps", "ending": "files", "smaller": "times smaller"},
            values={
                "megabytes": "MB",
                "g3reduce GB/s": "g3reduce GB/s",
                "spt3g GB/s": "spt3g GB/s",
                "against spt3g": "over spt3g",
                "against the floor": "over the floor",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        panel="kind",
        panel_title="{}",
        label="{ending}",
        series={f"{name} GB/s": name for name in ("g3reduce", "spt3g", "floor")},
        unit="GB of content per second",
        logarithmic=True,
    ),
    on_ranks=False,
)
