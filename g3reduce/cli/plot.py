"""``g3reduce plot``: pictures of maps, histograms, and quick-look power spectra."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..errors import UsageError
from ..mpi.agreement import world_rank
from . import headers
from .streams import say

DESCRIPTION = """\
Draw maps: T, Q and U in uK, and their weights or hits, in the projection that
suits what was observed. Or, with --hist, how their values are distributed; or,
with --spectrum, power spectra with the level of the noise.
"""

EXAMPLE = """\
examples:
  g3reduce plot coadd.g3
  g3reduce plot coadd.g3 --band 150GHz --planes T Q --smooth 10 -o talk.pdf
  g3reduce plot early.g3 --difference late.g3 --vmax 50
  g3reduce plot coadd.g3 --band 150GHz --spectrum -o spectrum.png
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "plot", help="pictures of maps", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="plot", verbose=False)
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of maps, of any format")
    parser.add_argument(
        "-o",
        "--output-file",
        metavar="PICTURE",
        help="a name that ends in .png, .pdf or .svg (default: the name of the first file, in this "
        "folder, with .png)",
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--hist", action="store_true", help="draw histograms of the values")
    kinds.add_argument(
        "--spectrum", action="store_true", help="draw power spectra, with the level of the noise"
    )
    kinds.add_argument(
        "--difference",
        metavar="OTHER",
        help="draw half the difference of the unweighted maps of both files",
    )
    what = parser.add_argument_group("what is drawn")
    what.add_argument("--band", metavar="BAND", help="only maps with this in their Ids, as 150GHz")
    what.add_argument(
        "--planes",
        nargs="+",
        metavar="PLANE",
        help="some of T, Q, U, weights, hits, or of TT, TQ, TU, QQ, QU, UU",
    )
    what.add_argument(
        "--weighted", action="store_true", help="draw maps multiplied by their weights, as stored"
    )
    what.add_argument(
        "--signflips", metavar="FILE", help="sign flips from which --spectrum learns the noise"
    )
    how = parser.add_argument_group("how it is drawn")
    how.add_argument("--smooth", type=float, metavar="ARCMIN", help="width (FWHM) of a Gaussian")
    how.add_argument(
        "--vmax",
        nargs="+",
        metavar="V",
        help="where colours end: for T, Q and U (300), or by plane (T=300 Q=20 U=20)",
    )
    how.add_argument(
        "--projection",
        choices=("gnomonic", "zenithal", "mollweide"),
        help="of HEALPix maps (default: what suits the footprint)",
    )
    how.add_argument(
        "--cmap",
        metavar="NAME",
        help="colours of T, Q and U, by a name of matplotlib's; gray for print without colours",
    )
    how.add_argument("--title", help="the title")
    how.add_argument("--dpi", type=float, default=150.0, help="pixels per inch (default: 150)")
    headers.add(parser)


def run(options: argparse.Namespace) -> None:
    """Draw, on one rank."""
    if world_rank() != 0:
        return
    from ..analysis.sources import refuse_same_file
    from ..report.plot import plot_maps

    output = options.output_file or _default_name(options.files[0])
    refuse_same_file(output, options.files)
    source = options.files[0] if len(options.files) == 1 else options.files
    common = {"band": options.band, "title": options.title, "dpi": options.dpi}
    common |= headers.of(options)
    if options.hist or options.spectrum:
        _refuse(options, "hist" if options.hist else "spectrum")
    if options.hist:
        from ..report.histograms import plot_histograms

        plot_histograms(source, output, **common)
    elif options.spectrum:
        from ..report.spectra import plot_spectra

        plot_spectra(source, output, signflips=options.signflips, **common)
    else:
        names = ("planes", "difference", "weighted", "smooth", "projection", "cmap")
        arguments = {name: getattr(options, name) for name in names}
        plot_maps(source, output, vmax=_vmax(options.vmax), **arguments, **common)
    say(f"Wrote {output}.")


def _default_name(file: str) -> str:
    from ..formats.kinds import split_name

    return os.path.basename(split_name(file)[0]) + ".png"


def _refuse(options: argparse.Namespace, kind: str) -> None:
    """Flags that say how maps are drawn, of which there are none."""
    names = ("planes", "weighted", "smooth", "projection", "cmap", "vmax")
    given = [f"--{name}" for name in names if getattr(options, name)]
    if given:
        raise UsageError(f"{', '.join(given)} cannot be used with --{kind}; leave it out.")


def _vmax(words: list[str] | None) -> float | dict[str, float] | None:
    if not words:
        return None
    found: dict[str, float] = {}
    for word in words:
        plane, _, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise UsageError(
                f"--vmax has {word!r}; expected a number, or PLANE=NUMBER as in T=300."
            ) from None
        if not plane:
            if len(words) > 1:
                raise UsageError(
                    f"--vmax has {' '.join(words)}; expected one number, or one by plane (T=300)."
                )
            return value
        found[plane] = value
    return found
