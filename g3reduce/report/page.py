"""One page about a file of coadds, complete in itself: `write_report`."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..analysis.sources import refuse_same_file
from ..errors import UsageError
from ..formats.kinds import split_name
from ..pipeline.entries import LeftOut
from ..pipeline.output import check_ending, check_output, write_output
from ..progress.events import Event
from ..progress.logfile import read_log
from ..progress.timing import STAGES
from ..progress.wording import in_words
from . import contributions, timeline
from .pagedata import MapPage, PageData, gather
from .planevalues import deflated
from .runlog import Run, run_of

ENDINGS = (".html", ".htm")

_FILES = Path(__file__).parent / "pagefiles"
_SCRIPTS = ("values.js", "viewer.js", "table.js", "main.js")
_COLUMNS = ("map", "file", "frame", "id", "observation", "sign", "pixels", "weight", "checksum")


def write_report(
    file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    page: str | os.PathLike[str] | None = None,
    *,
    log: str | os.PathLike[str] | Iterable[Event] | None = None,
    said: Mapping[str, Any] | None = None,
    halves: tuple[str, str] | None = None,
) -> str:
    """Write a page about a file of coadds, which any browser opens, without a network.

    Parameters
    ----------
    file : name, path, or list of these
        A file of maps of any format; or several, as FITS files are written, one for each map.
    page : name or path, optional
        The page; by default the name of the (first) file with ``.html`` as its ending.
    log : name, path, or iterable of Event, optional
        How the run went: the file that ``--log-json`` has written, or its events; see
        `g3reduce.progress`.
    said : dict, optional
        What headers of FITS files do not say; see `g3reduce.formats.map_frames_in`.
    halves : tuple of str, optional
        Names of two splits in the file, of which a null test is shown; see `g3reduce.null_test`.

    Returns
    -------
    str
        The name of the page.

    Raises
    ------
    InputError
        If the file cannot be read, or has no map.
    MismatchError
        If there are no such halves.
    OutputError
        If the page cannot be written, or its name is that of the file or the log.
    UsageError
        If the name of the page does not end in .html or .htm, or jinja2 is not installed.

    Examples
    --------
    >>> write_report("season.g3")  # doctest: +SKIP
    'season.html'
    """
    files = [file] if isinstance(file, str | os.PathLike) else list(file)
    if not files:
        raise UsageError("There is no file to write a page about.")
    name = os.fspath(page) if page is not None else f"{split_name(os.fspath(files[0]))[0]}.html"
    refuse_same_file(name, files, log if isinstance(log, str | os.PathLike) else None)
    check_page(name)
    run = None
    if log is not None:
        run = run_of(read_log(log) if isinstance(log, str | os.PathLike) else log)
    words = [*(os.fspath(one) for one in files), "-o", name]
    if isinstance(log, str | os.PathLike):
        words += ["--log", os.fspath(log)]
    words += ["--halves", *halves] if halves else []
    for flag, value in (said or {}).items():
        words += [f"--{flag.replace('_', '-')}", str(value)] if value is not None else []
    text = render(gather(files, said, halves), run, words).encode()
    write_output(name, lambda output: output.write(text))
    return name


def check_page(page: str, inputs: Sequence[str] = ()) -> None:
    """Refuse a page that cannot be written, before the work begins.

    Raises
    ------
    UsageError, OutputError
    """
    if page:
        check_ending(page, ENDINGS)
    check_output(page, inputs, ENDINGS)


def render(data: PageData, run: Run | None = None, words: Sequence[str] = ()) -> str:
    """The page as text; `words`: those of ``g3reduce report`` that make it again."""
    jinja2 = require_jinja2()
    content = _content(data)
    names = [one.file for one in data.files]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FILES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"figure": _figure, "size": in_words}
    text: str = environment.get_template("report.html").render(
        data=data,
        run=run,
        time_line=timeline,
        stages=STAGES,
        title=os.path.basename(names[0]) + more,
        command=shlex.join(["g3reduce", "report", *(words or names)]),
        names_log="--log" in words,
        facts=_facts(data),
        drawn=[one for one in data.maps if one.pictures],
        has_plots=any(one.plots for one in data.maps),
        flips=Counter(one.info.signflip_of for one in data.maps),
        n_rows=content["ledger"]["count"],
        reasons=Counter(one.reason for one in _left_out(data)).most_common(20),
        style=(_FILES / "report.css").read_text(),
        script="\n".join((_FILES / name).read_text() for name in _SCRIPTS),
        content=_as_script(content),
        plot=contributions,
    )
    return text


def require_jinja2() -> Any:
    """The library of templates.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise UsageError(
            "A report needs jinja2, which is not installed: pip install jinja2."
        ) from error
    return jinja2


def _figure(value: float | None) -> str:
    """A number with four digits, as people write it."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _facts(data: PageData) -> list[tuple[str, str]]:
    """The figures at the head of the page: labels and values."""
    ledgers = [page.info.ledger for page in data.maps if page.info.ledger]
    units = {(e.unit.file, e.unit.index) for p in data.maps for e in p.entries if e.unit}
    files = {file for file, _ in units}
    observations = {e.observation for p in data.maps for e in p.entries if e.observation}
    left_out = {one for page in data.maps for one in page.left_out}
    flips = sum(bool(page.info.signflip_of) for page in data.maps)
    n_maps = len(data.maps) - flips
    facts = [("map" if n_maps == 1 else "maps", f"{n_maps:,}")]
    if flips:
        facts.append(("sign flips", f"{flips:,}"))
    if ledgers:
        facts += [
            ("observations", f"{len(observations):,}"),
            ("files", f"{len(files):,}"),
            ("frames counted", f"{len(units):,}"),
            ("left out", f"{len(left_out):,}"),
        ]
    first = data.maps[0].info
    if first.pixels:
        facts.append(("sky", f"{_figure(first.sky_area_deg2)} deg²"))
    if first.depth_t:
        facts.append((f"depth T, {data.maps[0].name}", f"{first.depth_t.median:.3g} µK arcmin"))
    if first.hits:
        facts.append(("hits, median", f"{first.hits.median:,.6g}"))
    return facts


def _content(data: PageData) -> dict[str, Any]:
    """What the script takes: pictures and the rows of tables."""
    return {
        "maps": [
            {"name": page.name, "pictures": page.pictures} for page in data.maps if page.pictures
        ],
        "ledger": _table(_COLUMNS, [row for page in data.maps for row in _rows(page)]),
        "leftOut": _table(
            ("file", "frame", "reason"),
            [
                [one.file, one.frame if one.frame >= 0 else None, one.reason]
                for one in _left_out(data)
            ],
        ),
    }


def _left_out(data: PageData) -> list[LeftOut]:
    """What was left out of any map, once each."""
    return list(dict.fromkeys(one for page in data.maps for one in page.left_out))


def _table(columns: Sequence[str], rows: list[list[Any]]) -> dict[str, Any]:
    """A table as the script takes it: deflated column by column, since columns are alike."""
    text = json.dumps(list(zip(*rows, strict=True)), separators=(",", ":"), allow_nan=False)
    return {"columns": columns, "count": len(rows), "data": deflated(text.encode())}


def _rows(page: MapPage) -> list[list[Any]]:
    if page.info.signflip_of:
        return []  # the same frames again as in the coadd that it is of
    rows: list[list[Any]] = []
    for entry in page.entries:
        unit, mark = entry.unit, entry.fingerprint
        rows.append(
            [
                page.name,
                unit.file if unit else "",
                unit.index if unit and unit.index >= 0 else None,
                entry.map_id,
                entry.observation,
                entry.sign,
                entry.pixels if entry.pixels >= 0 else None,
                float(f"{entry.weight:.6g}"),
                "" if mark is None else f"{mark.checksum:08x}",
            ]
        )
    return rows


def _as_script(content: Any) -> str:
    """JSON that can stand inside of a script element, whatever is in names of files."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
