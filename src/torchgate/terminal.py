"""What the commands print, where there is somebody to read it; and how they say no."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from typing import TextIO

EXIT_NO = 1
EXIT_WRONG_USE = 2
EXIT_UNSAID = 3

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tab and line end: what a file or a server is called must not move a terminal's cursor, or colour it."""


class WrongUse(Exception):
    """The command line itself is wrong; the text says what is, and what to write instead."""


class Unsaid(Exception):
    """The answer can't be written to stdout.

    No OSError, so that nobody takes it for a fault of the files that a command reads and writes.

    Args:
        error: of the write.
        consequence: what became of the command's work; a sentence.
    """

    def __init__(self, error: OSError, consequence: str = "What the command has changed, if anything, stands.") -> None:
        super().__init__(str(error))
        self.error = error
        self.consequence = consequence

    @property
    def is_unread(self) -> bool:
        """Whether nobody reads on, e.g. behind `| head -1`; that is no fault.

        Windows says EINVAL of a pipe whose other end is closed: its C library knows no error for ERROR_NO_DATA.
        """
        quiet = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)
        return self.error.errno in quiet

    @property
    def sentence(self) -> str:
        """For stderr."""
        why = self.error.strerror or self.error
        return f"the answer can't be written to stdout: {why}. Make room, or send it elsewhere. {self.consequence}"


def say(line: str = "") -> None:
    """A line of the answer, to stdout; nothing happens where there is none, as under some process managers.

    Raises:
        Unsaid: it can't be written.
    """
    if sys.stdout is not None:
        try:
            sys.stdout.write(f"{printable(line)}\n")
            sys.stdout.flush()
        except OSError as error:
            raise Unsaid(error) from None


def note(line: str = "") -> None:
    """A line beside the answer, to stderr; where it can't be written, nobody can be told."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"{printable(line)}\n")
            sys.stderr.flush()
        except OSError:
            _lead_nowhere(sys.stderr)


def fail(sentence: str) -> int:
    """Say on stderr why not; the exit code for it."""
    note(f"torchgate: {sentence}")
    return EXIT_NO


def refuse(wrong: WrongUse) -> int:
    """Say on stderr what is wrong with the command line; the exit code for it."""
    note(f"torchgate: {wrong}")
    return EXIT_WRONG_USE


def give_up(unsaid: Unsaid) -> int:
    """Say on stderr that the answer is lost, where somebody wanted it; the exit code for it."""
    if sys.stdout is not None:
        _lead_nowhere(sys.stdout)
    if not unsaid.is_unread:
        note(f"torchgate: {unsaid.sentence}")
    return EXIT_UNSAID


def finish() -> None:
    """Write out what others, such as argparse, have left in the buffers; the interpreter would only complain of it.

    Raises:
        Unsaid: stdout can't take it.
    """
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
        except OSError:
            _lead_nowhere(sys.stderr)
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            raise Unsaid(error) from None


def printable(text: str) -> str:
    """A text without characters that a terminal obeys, each as JSON writes it: JSON stays what it is."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def use_safe_encoding() -> None:
    """Make printing never fail, on whatever code page a console has: what it lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _lead_nowhere(stream: TextIO) -> None:
    """What still waits in its buffer goes to the null device: the interpreter must not complain at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
