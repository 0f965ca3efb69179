"""What is in a file of maps: for programs, and as lines to be read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from ..progress.wording import in_words
from .tables import short, wrapped

_INDENT = 14  # where the words of a line begin


class Depth(NamedTuple):
    """The noise of a map by its weights, in uK arcmin, over the pixels that were hit.

    Attributes
    ----------
    median, low, high : float
        The median; and 80 % of the pixels are between the others.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        low, high = short(self.low), short(self.high)
        return f"{short(self.median)} uK arcmin ({low} to {high} in 80 % of the pixels)"


class Hits(NamedTuple):
    """The map H, over the pixels in which it is not 0.

    Attributes
    ----------
    least, median, most, total : float
    """

    least: float
    median: float
    most: float
    total: float

    def __str__(self) -> str:
        least, median, most = (f"{one:,.6g}" for one in self[:3])
        return f"{least} to {most} a pixel, median {median}; {self.total:,.0f} in all"


class LedgerInfo(NamedTuple):
    """A ledger in short.

    Attributes
    ----------
    frames, files, observations : int
        How many there are.
    first, last : str
        The first and last observation, in the order of input.
    subtracted : int
        How many frames have the sign -1.
    left_out : int
        How many files and frames were left out.
    begin, end : str
        When the earliest and the latest observation began, in UTC; empty if that is not known.
    """

    frames: int
    files: int
    observations: int
    first: str
    last: str
    subtracted: int
    left_out: int
    begin: str = ""
    end: str = ""

    def __str__(self) -> str:
        text = f"{_counted(self.frames, 'frame')} of {_counted(self.files, 'file')}"
        if self.observations:
            text += f", {_counted(self.observations, 'observation')} ({self.first}"
            text += f" to {self.last})" if self.observations > 1 else ")"
        if self.begin:
            text += f", begun {self.begin} to {self.end}"
        if self.subtracted:
            text += f", {self.subtracted} subtracted"
        return text + (f"; {self.left_out} left out" if self.left_out else "")


@dataclass(frozen=True)
class MapInfo:
    """What is known of a Map frame.

    Attributes
    ----------
    frame : int
        Which frame of the file.
    frame_id : str
    planes : tuple of str
        ``T``, ``Q``, ``U``, ``Wpol``, ``H``; and maps under other names.
    geometry : dict of str to str, int or float
        ``kind`` (HEALPix or flat), ``shape``, ``resolution_arcmin``; ``nside`` and ``ordering``, or
        ``projection`` and ``center_deg``.
    units, coord, pol_conv : str
        As spt3g names them.
    weighted : bool
    storage : str
        How T is stored.
    pixels : int
        How many pixels were hit: whose weights TT, hits or first map (whichever there is first) are
        not 0.
    sky_area_deg2, sky_fraction : float
        Their solid angle.
    depth_t, depth_p : Depth or None
        The noise of T, and of Q and U, if their weights are inverse covariances. None if there are
        none, or if they cannot be that.
    hits : Hits or None
    ledger : LedgerInfo or None
    record : dict of str to str
        What a coadd of a split or a difference says of itself.
    signflip_of : str or None
        Of a sign flip, or a difference of two, the Id of the coadd that it is of.
    """

    frame: int
    frame_id: str
    planes: tuple[str, ...]
    geometry: dict[str, Any]
    units: str
    coord: str
    pol_conv: str
    weighted: bool
    storage: str
    pixels: int
    sky_area_deg2: float
    sky_fraction: float
    depth_t: Depth | None = None
    depth_p: Depth | None = None
    hits: Hits | None = None
    ledger: LedgerInfo | None = None
    record: dict[str, str] = field(default_factory=dict)
    signflip_of: str | None = None

    def lines(self) -> list[str]:
        """It in some lines of at most 80 columns."""
        name = f"{self.frame_id or 'without an Id'} (frame {self.frame})"
        if not self.planes:
            return [f"{name}: no maps"]
        polarized = f", {self.pol_conv}" if "U" in self.planes else ""
        weighted = "weighted" if self.weighted else "not weighted"
        is_map = "T" in self.planes
        area, part = short(self.sky_area_deg2, 4), f"{100 * self.sky_fraction:.3f} % of the sky"
        rows = {
            "geometry": _geometry(self.geometry) + f"; {self.coord}",
            "values": f"{self.units}, {weighted}{polarized}; stored {self.storage}",
            "sky": f"{self.pixels:,} pixels, {area} deg2 ({part})",
            "depth T": str(self.depth_t or ""),
            "depth Q, U": str(self.depth_p or ""),
            "hits": str(self.hits or ""),
            "ledger": str(self.ledger or ""),
            **self.record,
        }
        if not is_map:
            rows.pop("values")
        lines = [f"{name}: {', '.join(self.planes)}"]
        for label, text in rows.items():
            if text:
                lines += wrapped(text, f"  {label} ".ljust(_INDENT), " " * _INDENT)
        return lines


@dataclass(frozen=True)
class FileInfo:
    """What is in a file.

    Attributes
    ----------
    file : str
    format : str
        ``"g3"``, ``"fits"`` or ``"hdf5"``.
    n_bytes : int
    frames : dict of str to int
        How many frames there are of each type; in other formats, of maps.
    observations : list of str
        Those that Observation frames name.
    maps : list of MapInfo
    """

    file: str
    format: str
    n_bytes: int
    frames: dict[str, int]
    observations: list[str]
    maps: list[MapInfo]

    def lines(self) -> list[str]:
        """The report."""
        kinds = ", ".join(f"{number} {kind}" for kind, number in self.frames.items())
        lines = [f"{self.file}: {self.format}, {in_words(self.n_bytes)}; frames: {kinds or 'none'}"]
        if self.observations:
            named = self.observations
            shown = f"{named[0]} to {named[-1]}" if len(named) > 1 else named[0]
            lines.append(f"  observations: {len(named)} ({shown})")
        flips: dict[str, list[MapInfo]] = {}
        for one in self.maps:
            if one.signflip_of:
                flips.setdefault(one.signflip_of, []).append(one)
            else:
                lines += [f"  {line}" for line in one.lines()]
        return lines + [f"  {_about_flips(base, found)}" for base, found in flips.items()]

    def as_data(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self) | {"maps": [_map_as_data(one) for one in self.maps]}


def _about_flips(base: str, found: list[MapInfo]) -> str:
    """One line for all sign flips of a coadd, which are alike."""
    names = found[0].frame_id
    if len(found) > 1:
        names += f" to {found[-1].frame_id}"
    return f"{names}: {_counted(len(found), 'sign flip')} of {base}"


def _map_as_data(one: MapInfo) -> dict[str, Any]:
    named = {name: getattr(one, name) for name in ("depth_t", "depth_p", "hits", "ledger")}
    return asdict(one) | {name: value and value._asdict() for name, value in named.items()}


def _geometry(geometry: dict[str, Any]) -> str:
    resolution = f"{geometry['resolution_arcmin']:.4g}'"
    if geometry["kind"] == "HEALPix":
        return f"HEALPix, nside {geometry['nside']} ({resolution}), {geometry['ordering']}"
    n_y, n_x = geometry["shape"]
    alpha, delta = geometry["center_deg"]
    return (
        f"flat sky, {n_x} x {n_y} pixels of {resolution}, {geometry['projection']} at "
        f"{alpha:.6g}, {delta:.6g} deg"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
