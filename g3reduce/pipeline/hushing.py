"""Binners of spt3g on ranks to which no data come: they do not complain of it.

At the end of processing `MapBinner` logs an error if it has seen no scan. So it would on each rank
that reads for others, and on those that are more than there are frames.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from spt3g import core

# Units of spt3g's log whose errors at the end of processing mean that no data came.
_UNITS = ("MapBinner",)

# What hides errors, but not what ends a pipeline.
_SILENT = core.G3LogLevel.LOG_FATAL


class _Hushed:
    """The levels that units had, for the whole process, as spt3g's log has them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._levels: dict[str, Any] = {}
        self._by: Any = None

    def hush(self, owner: Any) -> None:
        """Let binners be silent, until `owner` is gone or `speak` is called."""
        logger = core.G3Logger.global_logger
        with self._lock:
            if not self._levels:
                for unit in _UNITS:
                    self._levels[unit] = logger.get_level_for_unit(unit)
                    logger.set_level_for_unit(unit, _SILENT)
            self._by = weakref.ref(owner, self._gone)

    def speak(self) -> None:
        """Let binners log as before."""
        with self._lock:
            logger = core.G3Logger.global_logger
            while self._levels:
                unit, level = self._levels.popitem()
                # It is None when Python ends; and the user may have set another level meanwhile.
                if logger is not None and logger.get_level_for_unit(unit) == _SILENT:
                    logger.set_level_for_unit(unit, level)
            self._by = None

    def _gone(self, reference: Any) -> None:
        if reference is self._by:
            self.speak()


_hushed = _Hushed()
hush, speak = _hushed.hush, _hushed.speak
