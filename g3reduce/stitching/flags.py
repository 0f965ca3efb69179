"""Flags of samples: those of frames, and those of samples that were dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import InputError

Flags = NDArray[np.uint8]

# The flag of samples that are not there; to TOAST, too, this bit is "invalid".
INVALID = 1

_BYTES = (core.G3VectorBool, core.G3VectorUnsignedChar)


def missing_samples(
    signal: Sequence[NDArray[Any]], dropped: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """Which samples of each detector were dropped: those of a mask, and those that are NaN.

    Returns
    -------
    bool array, shape (n_detectors, n_samples), or None
        None if there are none.
    """
    if dropped is None and not any(map(_has_nan, signal)):
        return None
    missing = np.zeros((len(signal), len(signal[0])), bool)
    for row, samples in zip(missing, signal, strict=True):
        if samples.dtype.kind == "f":
            np.isnan(samples, out=row)
        if dropped is not None:
            row |= dropped
    return missing


def _has_nan(samples: NDArray[Any]) -> bool:
    if samples.dtype.kind != "f":
        return False
    # The sum is faster than a mask. It is NaN if any sample is; with infinities it may be, too.
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isnan(samples.sum())) and bool(np.isnan(samples).any())


def flag_missing(parts: dict[str, Any], missing: NDArray[np.bool_] | None) -> tuple[str, ...]:
    """Flag the samples that were dropped.

    Parameters
    ----------
    parts : dict of str to array or None
        The ``"flags"`` and ``"detector_flags"`` of a scan, which are replaced.
    missing : bool array, shape (n_detectors, n_samples), or None

    Returns
    -------
    tuple of str
        The names of those that were replaced: ``"flags"`` for samples that were dropped of all
        detectors, ``"detector_flags"`` for others.
    """
    if missing is None:
        return ()
    of_all = missing.all(axis=0)
    flagged = []
    for name, flags in (("flags", of_all), ("detector_flags", missing & ~of_all)):
        if flags.any():
            flags = flags * np.uint8(INVALID)
            parts[name] = flags if parts[name] is None else parts[name] | flags
            flagged.append(name)
    return tuple(flagged)


def as_flags(value: Any, where: str, key: str) -> Flags:
    """Flags from a vector of booleans or small integers.

    Raises
    ------
    InputError
        If it is something else.
    """
    if isinstance(value, _BYTES) and len(value):
        # Their archives end with one byte each; numpy would convert them one by one.
        flags = np.frombuffer(value._cereal_dumps(), np.uint8)[-len(value) :]
    else:
        flags = np.asarray(value)
    if flags.ndim != 1 or flags.dtype.kind not in "biuf":
        raise unexpected(where, key, value, "a vector of booleans or small integers")
    with np.errstate(invalid="ignore"):
        whole = flags.astype(np.uint8)
    if (whole != flags).any():
        raise InputError(
            f"{where}: {key!r} has flags from {flags.min()} to {flags.max()}; expected integers "
            "from 0 to 255."
        )
    return whole


def unexpected(where: str, key: str, value: Any, expected: str) -> InputError:
    """The error about a key of the wrong type."""
    return InputError(f"{where}: {key!r} is a {type(value).__name__}; expected {expected}.")
