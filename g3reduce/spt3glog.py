"""Loggers whose messages go where those of spt3g go, with the name of a unit.

Messages of spt3g's modules go to ``core.G3Logger.global_logger``, each under the name of its unit,
by which ``core.set_log_level`` chooses. So do ours, in a program that sets up nothing else. One
that has handlers of Python's `logging`, such as the command line, gets the messages there.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

# Python's levels, and the names of those of spt3g, the highest first.
_LEVELS = (
    (logging.CRITICAL, "LOG_FATAL"),
    (logging.ERROR, "LOG_ERROR"),
    (logging.WARNING, "LOG_WARN"),
    (logging.INFO, "LOG_INFO"),
    (logging.DEBUG, "LOG_DEBUG"),
)


class UnitLogger(logging.Logger):
    """A logger of Python that hands its messages to spt3g's where Python's has no handlers.

    Attributes
    ----------
    unit : str
        Under which name.
    """

    unit = "g3reduce"

    def isEnabledFor(self, level: int) -> bool:
        """Whether a message of this level is wanted by Python's logging, or by spt3g's."""
        return super().isEnabledFor(level) or self._is_wanted_by_spt3g(level)

    def callHandlers(self, record: logging.LogRecord) -> None:
        """Hand on a message."""
        spt3g = None if self.hasHandlers() else _logger_of_spt3g()
        if spt3g is None:
            super().callHandlers(record)
            return
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        spt3g.log(
            _level(record.levelno),
            self.unit,
            record.pathname,
            record.lineno,
            record.funcName or "",
            text,
        )

    def _is_wanted_by_spt3g(self, level: int) -> bool:
        if self.hasHandlers() or self.manager.disable >= level or self._has_level():
            return False
        spt3g = _logger_of_spt3g()
        return spt3g is not None and int(spt3g.get_level_for_unit(self.unit)) <= int(_level(level))

    def _has_level(self) -> bool:
        """Whether a program has set a level of Python's for these messages."""
        logger: Any = self
        while logger is not None and logger.parent is not None:
            if logger.level:
                return True
            logger = logger.parent
        return False


def unit_logger(name: str, unit: str = UnitLogger.unit) -> UnitLogger:
    """The logger of a file.

    Parameters
    ----------
    name : str
        Of the file, for Python's `logging`.
    unit : str
        Under which its messages appear in spt3g's log: the module or the function that users know.
    """
    logger = logging.getLogger(name)
    logger.__class__ = UnitLogger
    mine = cast("UnitLogger", logger)
    mine.unit = unit
    return mine


def _logger_of_spt3g() -> Any:
    """The logger of spt3g; None if spt3g is not loaded, or is being unloaded."""
    core = sys.modules.get("spt3g.core")
    return getattr(getattr(core, "G3Logger", None), "global_logger", None)


def _level(level: int) -> Any:
    from spt3g import core

    names = (name for least, name in _LEVELS if level >= least)
    return getattr(core.G3LogLevel, next(names, "LOG_TRACE"))
