"""What holds of maps of which a file does not say it: nothing is ever guessed."""

from __future__ import annotations

from typing import NamedTuple, get_args

from ..choices import InputCoord, PolConv
from ..errors import UsageError


class Assumed(NamedTuple):
    """What holds where a file does not say it; see `g3reduce.formats.map_frames_in`.

    Attributes
    ----------
    pol_conv, coord, units : str or None
        None: that is not known, either.
    """

    pol_conv: str | None = None
    coord: str | None = None
    units: str | None = None

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
        if self.units is not None and not isinstance(self.units, str):
            raise UsageError(f"{prefix}units is {self.units!r}; expected a unit such as K or uK.")
        return Assumed(pol_conv, coord, self.units)


def _one_of(choices: tuple[str, ...], name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value.upper() not in choices:
        raise UsageError(f"{name} is {value!r}; expected one of {', '.join(choices)}, or None.")
    return value.upper()
