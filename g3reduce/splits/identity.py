"""Names of maps that are the same wherever their files lie, and in whatever order they come.

The name of a map is its observation and its Id, where no other map of the input has both. Else it
is the checksum and the length of its frame; and where these are not known, the name of its file
without folders, and the number of the frame.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from ..errors import InputError
from .facts import MapFacts


def identities_of(inputs: Sequence[MapFacts]) -> list[str]:
    """The name of each map.

    Maps with the same content have the same name, since it is all the same which of them is which.

    Raises
    ------
    InputError
        If maps cannot be told apart otherwise than by the folders of their files.
    """
    counts = Counter((one.observation, one.map_id) for one in inputs)
    names: list[str] = []
    by_place: dict[str, MapFacts] = {}
    for one in inputs:
        if one.observation and counts[one.observation, one.map_id] == 1:
            names.append(f"observation {one.observation}\nid {one.map_id}")
        elif one.fingerprint is not None:
            checksum, length = one.fingerprint
            names.append(f"content {checksum:08x}\nlength {length}")
        else:
            name = f"file {os.path.basename(one.file)}\nframe {one.frame}"
            other = by_place.setdefault(name, one)
            if other is not one:
                raise InputError(
                    f"{one.where} and {other.where} differ in their folders only, on which signs "
                    "and bundles must not depend. Give frames the keys SourceName and "
                    "ObservationID, or files names that differ."
                )
            names.append(name)
    return names
