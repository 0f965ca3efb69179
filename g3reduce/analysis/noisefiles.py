"""What is known of noise, in files: variances as .g3, numbers as .npz or .json."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError
from ..g3files.names import SUFFIXES
from ..pipeline.output import check_output, write_frames, write_output

if TYPE_CHECKING:
    from .noise import Noise

ENDINGS = (*SUFFIXES, ".npz", ".json")


def check_name(file: str | os.PathLike[str]) -> None:
    """Refuse a name that means no format, before the work begins.

    Raises
    ------
    UsageError, OutputError
    """
    name = os.fspath(file)
    if not name.endswith(ENDINGS):
        raise UsageError(
            f"{name}: the name does not say what is to be written; expected {', '.join(SUFFIXES)} "
            "for maps of the variance, or .npz or .json for depths and spectra."
        )
    if name.endswith(SUFFIXES):
        check_output(name)


def write(file: str | os.PathLike[str], found: Mapping[str, Noise]) -> None:
    """Write it; the file has its name once it is complete.

    Raises
    ------
    OutputError
    """
    name = os.fspath(file)
    if name.endswith(SUFFIXES):
        write_frames(name, [one.frame for one in found.values()])
        return
    if name.endswith(".json"):
        data = {frame_id: one.as_data() for frame_id, one in found.items()}
        content = json.dumps(data, indent=1).encode()
    else:
        prefixes = {key: f"{key}/" if len(found) > 1 else "" for key in found}
        packed = io.BytesIO()
        arrays = {
            f"{prefixes[key]}{plane}": values
            for key, one in found.items()
            for plane, values in one.arrays().items()
        }
        np.savez(packed, **arrays)
        content = packed.getvalue()
    write_output(name, lambda output: output.write(content))
