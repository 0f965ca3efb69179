"""Importing TOAST, which is optional and slow, and can come too late."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from ..errors import UsageError
from .signals import SIGNALS, take_over

# Parts of spt3g that bring an HDF5 library of their own; `spt3g.core` and `spt3g.maps` do not.
_WITH_HDF5 = ("spt3g.gcp", "spt3g.dfmux")


def load_toast() -> Any:
    """Import TOAST 3, or say why that cannot be.

    Takes seconds, and starts MPI where TOAST finds it (``MPI_DISABLE=1`` in the environment keeps
    TOAST from it). So this is called when TOAST is needed, and never at import.

    Returns
    -------
    module
        ``toast``, with ``toast.ops`` not loaded.

    Raises
    ------
    UsageError
        If it is not installed or is TOAST 2, or if another HDF5 library was loaded before its own.
    """
    if "toast" not in sys.modules:
        _require_its_own_hdf5()
        _import_what_catches_signals()
    try:
        with _keeping_handlers():
            toast = importlib.import_module("toast")
    except ImportError as error:
        raise UsageError(
            f"TOAST cannot be imported ({error}). It comes with pip install 'g3reduce[toast]'."
        ) from error
    if not hasattr(toast, "Observation"):
        raise UsageError(
            f"TOAST 3 is needed, but {_what(toast)}: pip install --upgrade 'g3reduce[toast]'."
        )
    return toast


def _what(module: Any) -> str:
    """What was found under the name of TOAST."""
    version = getattr(module, "__version__", None)
    if version:
        return f"toast {version} is installed"
    places = [module.__file__] if getattr(module, "__file__", None) else list(module.__path__)
    return f"it is not installed; what was found as 'toast' is {', '.join(map(str, places))}"


def _import_what_catches_signals() -> None:
    """Import the part of TOAST that installs handlers, before the rest, which takes seconds.

    A signal that came meanwhile would end the process with 0, as if all were well. Here those that
    come are held back until the handlers are again those that were there before.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with _keeping_handlers(), contextlib.suppress(ImportError):
            importlib.import_module("pshmem.registry")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held_back)


@contextlib.contextmanager
def _keeping_handlers() -> Iterator[None]:
    """Give signals back to those who had them, such as a guard that is open.

    Those that would end the process do so after TOAST's shared memory was removed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where no handler can be installed, neither by TOAST
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not installed from Python.
            if handler not in (None, signal.SIG_DFL, signal.getsignal(number)):
                signal.signal(number, handler)
        take_over()


def _require_its_own_hdf5() -> None:
    """Import h5py, which TOAST builds on, and see that it runs on the HDF5 that it was built for.

    Two HDF5 libraries of different versions in one process take each other's names: h5py then
    fails with "Not a datatype", or writes what it should not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the same is said below, with the way out
            version = importlib.import_module("h5py").version
    except ModuleNotFoundError:
        return  # so TOAST is not installed, either
    except Exception as error:  # h5py raises ValueError, among others
        raise _too_late(f"h5py fails with {type(error).__name__}: {error}") from error
    built = getattr(version, "hdf5_built_version_tuple", version.hdf5_version_tuple)
    if version.hdf5_version_tuple[:2] != built[:2]:
        raise _too_late(
            f"h5py was built for HDF5 {'.'.join(map(str, built))} and found {version.hdf5_version}"
        )


def _too_late(symptom: str) -> UsageError:
    loaded = [name for name in _WITH_HDF5 if name in sys.modules]
    whose = f"the one of {' and '.join(loaded)}" if loaded else "another package's"
    return UsageError(
        f"TOAST cannot be imported any more: {symptom}, because another HDF5 library was loaded "
        f"before its own ({whose}). Import it first: put 'import toast' at the top of the "
        "script, before spt3g."
    )
