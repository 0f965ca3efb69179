"""The rules for gaps, for missing detectors, and for samples that are in two scans."""

from __future__ import annotations

from typing import NamedTuple

from ..choices import Gaps, Missing, Overlap
from ..errors import require_choice


class StitchRules(NamedTuple):
    """The choices of a restitching.

    Attributes
    ----------
    gaps : {"keep", "fill", "refuse"}
        About times without samples: none in the arrays, flagged ones in the arrays, or an error.
    missing : {"flag", "refuse"}
        About detectors that are not in all scans: flag them there, or an error.
    overlap : {"refuse", "drop"}
        About a sample that is the last of one scan and the first of the next: an error, or leave
        it out of the later one.
    """

    gaps: Gaps = "keep"
    missing: Missing = "flag"
    overlap: Overlap = "refuse"

    def check(self) -> None:
        """Refuse unknown choices.

        Raises
        ------
        UsageError
        """
        for name, value, kind in zip(self._fields, self, (Gaps, Missing, Overlap), strict=True):
            require_choice(name, value, kind)
