"""The output of a coadd, in the format that its name stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..coadd.joining import Coadd
from ..errors import UsageError
from ..formats.kinds import ENDINGS, format_of
from ..formats.options import WriteOptions
from ..formats.pixeltable import PixelTable
from ..formats.writing import write_tables
from ..g3files.names import SUFFIXES
from ..mpi import communicators
from ..pipeline.output import write_frames

_NOT_COMPRESSED = (
    "output_file is {!r}: ranks cannot write their shards into a compressed file. Name an output "
    "that ends in {}."
)


def endings_of(output: str) -> Sequence[str]:
    """What the name of an output may end in, so that it is of the format that it seems to be."""
    try:
        return ENDINGS[format_of(output)]
    except UsageError:  # which endings there are is said by the check of outputs
        return [*SUFFIXES, *ENDINGS["fits"], *ENDINGS["hdf5"]]


def check_output_argument(
    output: str, *, sharded: bool, checkpointed: bool, exact: bool, unweight: bool
) -> None:
    """Refuse an output of a format that cannot hold what is asked for.

    Raises
    ------
    UsageError
    """
    if output.endswith(SUFFIXES):
        if unweight:
            raise UsageError(
                f"output_file is {output!r}: a coadd in a .g3 file keeps its weights, so that it "
                "can be added to others. `g3reduce unweight` divides the maps of one by them."
            )
        if sharded and (exact or checkpointed):
            what = "keep_exact" if exact else "checkpoint="
            raise UsageError(
                f'output_file is {output!r}, and result="sharded": with {what} one rank writes the '
                "output. Leave out one of the two."
            )
        if sharded and not output.endswith(".g3"):
            raise UsageError(_NOT_COMPRESSED.format(output, ".g3, .fits or .h5"))
        return
    what = "checkpoint=" if checkpointed else "keep_exact"
    if checkpointed or exact:
        raise UsageError(
            f"output_file is {output!r}: with {what} the output must be a .g3 file. `g3reduce "
            "convert` makes another one of it afterwards."
        )
    if sharded and output.endswith(".gz"):
        raise UsageError(_NOT_COMPRESSED.format(output, ".g3, .fits or .h5"))


def write_coadds(
    output: str,
    coadds: Iterable[Coadd],
    options: WriteOptions,
    comm: communicators.Comm,
    root: int,
    *,
    sharded: bool,
    inputs: Sequence[str],
) -> list[str]:
    """Write coadds; each rank its shards, or `root` all. Collective over `comm`.

    Returns
    -------
    list of str
        The files that were written.

    Raises
    ------
    OutputError, UsageError
    """
    if output.endswith(SUFFIXES):
        if sharded:
            from ..formats.shardedframes import write_sharded

            write_sharded(output, ((one.outline, one.total) for one in coadds), comm, root)
        else:
            write_frames(output, coadds, comm, root)
        return [output]
    tables = _tables(coadds)
    return write_tables(output, tables, options, comm, root, sharded=sharded, inputs=inputs)


def _tables(coadds: Iterable[Coadd]) -> Iterator[PixelTable]:
    for coadd in coadds:
        storages: Mapping[str, str] = coadd.total.summary.storage
        yield PixelTable.of_shard(coadd.outline(), coadd.total.shard(), storages)
