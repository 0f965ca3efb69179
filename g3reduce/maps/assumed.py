"""What holds of maps of which a file does not say it: nothing is ever guessed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from ..choices import InputCoord, PolConv
from ..errors import InputError, UsageError
from .mapunits import unit_in

# The columns of a table of sotodlib's atomic maps that make the Id of a map.
ID_COLUMNS = ("wafer", "freq_channel", "split_label")


def id_of_row(row: Mapping[str, Any]) -> str:
    """The Id of the map that a row of such a table lists."""
    return "_".join(str(row[column]) for column in ID_COLUMNS)


class Named(NamedTuple):
    """What is known of the map of a file from elsewhere, as from a table that lists it.

    Attributes
    ----------
    map_id, source, observation : str
        Its ``Id``, and the ``SourceName`` and ``ObservationID`` of its observation.
    start : float
        When that began, in seconds since 1970-01-01 UTC.
    """

    map_id: str
    source: str
    observation: str
    start: float


class Assumed(NamedTuple):
    """What holds where a file does not say it; see `g3reduce.formats.map_frames_in`.

    Attributes
    ----------
    pol_conv, coord, units : str or None
        None: that is not known, either.
    named : mapping of str to Named
        By the names of files.
    """

    pol_conv: str | None = None
    coord: str | None = None
    units: str | None = None
    named: Mapping[str, Named] = MappingProxyType({})

    def checked(self, prefix: str = "") -> Assumed:
        """The same, with names in capitals.

        Parameters
        ----------
        prefix : str
            What the names of the arguments begin with.

        Raises
        ------
        UsageError
            If one of them is not a name that is known.
        """
        pol_conv = _one_of(get_args(PolConv), f"{prefix}pol_conv", self.pol_conv)
        coord = _one_of(get_args(InputCoord), f"{prefix}coord", self.coord)
        if self.units is not None:
            try:
                unit_in(self.units if isinstance(self.units, str) else "?", "")
            except InputError:
                raise UsageError(
                    f"{prefix}units is {self.units!r}; expected a unit such as K, uK_CMB or uK_RJ, "
                    "or None."
                ) from None
        return Assumed(pol_conv, coord, self.units, self.named)


def _one_of(choices: tuple[str, ...], name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value.upper() not in choices:
        raise UsageError(f"{name} is {value!r}; expected one of {', '.join(choices)}, or None.")
    return value.upper()
