"""Where log lines go in a process whose standard streams are not its own: under a WSGI server."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping

LOG_VARIABLE = "WSGI_LOG"
"""wfastcgi's own: the file that it appends its lines to."""


class ServersLog(io.TextIOBase):
    """Appends to wfastcgi's log file where one is named and can be written; else to the standard error of the moment.

    wfastcgi gives each request a standard error of its own and throws it away afterwards: whoever kept the first
    would fill it for ever. The file is opened for each line, as wfastcgi itself does, so that it can be moved away.

    Args:
        environment: of the process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._path = environment.get(LOG_VARIABLE, "")

    def write(self, text: str) -> int:
        """Write it somewhere, or nowhere: a log that can't be written is no reason to answer nobody."""
        missed = ""
        if self._path:
            try:
                with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123
                    file.write(text)
            except OSError as error:
                missed = f"{LOG_VARIABLE} {self._path} can't be written: {error.strerror or error}\n"
        if (missed or not self._path) and sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(missed + text)
        return len(text)

    def isatty(self) -> bool:
        """Whether people read it."""
        return not self._path and sys.stderr is not None and sys.stderr.isatty()
