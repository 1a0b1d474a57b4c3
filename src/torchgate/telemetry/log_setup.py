"""Log lines of the server: one JSON object a line, or words for people on a terminal."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Mapping
from typing import TextIO

import orjson

from torchgate.telemetry.settings import TelemetrySettings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_SHOWN_FIELDS = ("principal", "model", "version", "code", "total_s", "request_id")  # of a request, to people


class JsonFormatter(logging.Formatter):
    """One JSON object a line, whatever the message holds; time in UTC, ISO 8601."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (0, "")  # the last one formatted: many lines share it

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        seconds = int(record.created)
        if self._second[0] != seconds:
            self._second = (seconds, _utc(record.created)[:20])
        entry: dict[str, object] = {
            "time": f"{self._second[1]}{int(record.created % 1 * 1000):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            entry.update(fields)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(entry, default=str).decode("utf-8")
        except TypeError:  # a lone surrogate in a string, or a number beyond 64 bits
            return orjson.dumps({key: _plain(value) for key, value in entry.items()}).decode("utf-8")


class HumanFormatter(logging.Formatter):
    """Words for people; what a terminal would obey is escaped, except the line ends of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = getattr(record, "fields", None)
        shown = ""
        if isinstance(fields, Mapping):
            shown = "".join(f" {name}={fields[name]}" for name in _SHOWN_FIELDS if fields.get(name))
        line = f"{_utc(record.created)[11:23]} {record.levelname.lower():7} {record.getMessage()}{shown}"
        line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up_logging(settings: TelemetrySettings, stream: TextIO | io.TextIOBase | None = None) -> None:
    """Send the server's log lines to a stream, by default stderr; once, by the program that runs.

    Under a process manager there may be no stream at all (stderr is None): then lines go nowhere, and nothing fails.

    Args:
        settings: `[telemetry]`.
        stream: where to; None: stderr.
    """
    target = stream if stream is not None else sys.stderr
    if getattr(target, "leads_nowhere", False):
        target = None  # what a server has in the place of a stderr that it lacks: lines need not be formatted for it
    handler: logging.Handler = logging.NullHandler() if target is None else logging.StreamHandler(target)
    is_human = settings.log_format == "human" or (
        settings.log_format == "auto" and target is not None and target.isatty()
    )
    handler.setFormatter(HumanFormatter() if is_human else JsonFormatter())
    logger = logging.getLogger("torchgate")
    for old in logger.handlers[:]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(_LEVELS[settings.log_level])
    logger.propagate = False


def _utc(created: float) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{seconds}.{int(created % 1 * 1000):03}Z"


def _plain(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
