"""The import of TOAST, which is optional, takes seconds, and must come before other HDF5 users."""

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
    """Import TOAST 3.

    This takes seconds, and starts MPI if TOAST finds it, unless ``MPI_DISABLE=1`` is in the
    environment. So it is called when TOAST is needed, never when a module is imported.

    Returns
    -------
    module
        ``toast``, without ``toast.ops``.

    Raises
    ------
    UsageError
        If it is not installed or is TOAST 2, or if another HDF5 library was loaded before its own.
    """
    if "toast" not in sys.modules:
        _require_its_own_hdf5()
        _import_what_catches_signals()
    try:
        with _earlier_handlers_restored():
            toast = importlib.import_module("toast")
    except ImportError as error:
        raise UsageError(
            f"TOAST cannot be imported ({error}). Install it: pip install 'toast>=3.0.6'."
        ) from error
    if not hasattr(toast, "Observation"):
        raise UsageError(
            f"TOAST 3 is needed, but {_what(toast)}: pip install --upgrade 'toast>=3.0.6'."
        )
    return toast


def _what(module: Any) -> str:
    """Words for the package that was found in place of TOAST 3."""
    version = getattr(module, "__version__", None)
    if version:
        return f"toast {version} is installed"
    places = [module.__file__] if getattr(module, "__file__", None) else list(module.__path__)
    return f"it is not installed; what was found as 'toast' is {', '.join(map(str, places))}"


def _import_what_catches_signals() -> None:
    """Import the part of TOAST that installs signal handlers, before the rest, which takes seconds.

    With these handlers a signal ends the process with exit code 0. So signals are blocked here,
    until the earlier handlers are installed again.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with _earlier_handlers_restored(), contextlib.suppress(ImportError):
            importlib.import_module("pshmem.registry")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)


@contextlib.contextmanager
def _earlier_handlers_restored() -> Iterator[None]:
    """Restore the handlers that were there before, such as those of an open guard.

    Where there was none, a signal ends the process, after TOAST's shared memory is removed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # TOAST, too, can install handlers in the main thread only
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
    """Import h5py, which TOAST uses, and check that it uses the HDF5 that it was built for.

    With two HDF5 libraries of different versions in one process, h5py calls functions of the wrong
    one: it fails with "Not a datatype", or writes wrong data.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below says the same, and what to do
            version = importlib.import_module("h5py").version
    except ModuleNotFoundError:
        return  # then TOAST is not installed, either
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
