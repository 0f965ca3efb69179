"""Instants: seconds since 1970-01-01 UTC, as dates in text and back."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from fractions import Fraction

from ..errors import UsageError

DAY = 86400.0

# The instant from which SPT counts the seconds that are its ObservationIDs.
SPT_BEGINS = 1483228800.0  # 2017-01-01

_MJD_BEGINS = -3506716800.0  # 1858-11-17
# The same for all versions of Python, of which newer ones read more kinds of dates.
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(\.\d+)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
_BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)

# The first and the last instants of which there are dates. (In the year 9999 numbers of seconds are
# 30 microseconds apart.)
_EARLIEST = -62135596800.0
LATEST = math.nextafter(253402300800.0, 0)


def of_mjd(days: float) -> float:
    """The instant of a Modified Julian Date, in UTC."""
    return _MJD_BEGINS + days * DAY


def instant_of(text: str) -> float:
    """The instant that a date names, in UTC if it does not say otherwise.

    Parameters
    ----------
    text : str
        As ISO 8601 has it: ``2019-05-01``, ``2019-05-01T12:30``, ``2019-05-01T12:30:00.5Z``.

    Raises
    ------
    UsageError
    """
    parts = _DATE.fullmatch(text.strip())
    try:
        if parts is None:
            raise ValueError
        day, time, fraction, zone = (part or "" for part in parts.groups())
        whole = f"{day}T{time or '00:00'}"
        found = datetime.fromisoformat(whole + zone.replace("Z", "+00:00"))
        found += timedelta(microseconds=int(fraction[1:7].ljust(6, "0")))
    except ValueError:
        raise UsageError(
            f"{text!r} is no date; expected such as 2019-05-01 or 2019-05-01T12:30:00, in UTC."
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)
    # Not timestamp(): whole microseconds, of which this is the nearest number.
    instant = (found - _BEGIN) // timedelta(microseconds=1) / 10**6
    if not _EARLIEST <= instant <= LATEST:
        raise UsageError(
            f"{text!r} is out of the range of dates; expected one from 0001-01-01 to 9999-12-31, "
            "in UTC. (A range of dates may be open: date=2019-05-01.., date=..2019-05-01.)"
        )
    return instant


def date_of(instant: float) -> str:
    """The date of an instant, to the microsecond: as short as it can be."""
    try:
        found = _BEGIN + timedelta(microseconds=round(Fraction(instant) * 10**6))
    except OverflowError:  # before the year 1, or after 9999
        return f"{instant:.15g} s since 1970-01-01"
    text = found.replace(tzinfo=None).isoformat()
    return text.removesuffix("T00:00:00")


def is_day(text: str) -> bool:
    """Whether a date is that of a day, without a time."""
    parts = _DATE.fullmatch(text.strip())
    return parts is not None and parts[2] is None


def day_of(instant: float) -> float:
    """The begin of the day of an instant, in UTC."""
    return math.floor(instant / DAY) * DAY
