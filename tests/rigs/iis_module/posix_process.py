"""A process as the module starts it, on Linux: a group of its own, and no standard input."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.rigs.processes import children_of, is_alive

_KEPT_CHARACTERS = 30_000


class PosixProcess:
    """One process with all that it starts. A session stands for the job object; SIGINT stands for Ctrl+Break."""

    def __init__(self, program: str, arguments: str, folder: Path, environment: Mapping[str, str]) -> None:
        line = [program, *shlex.split(arguments)]
        # With its standard input closed, not empty: sys.stdin is None, as below IIS.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$@" <&-', "iis", *line],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def output(self) -> str:
        """The first 30 000 characters that it printed, which the event log would have."""
        return self._output

    def has_ended(self) -> bool:
        """Whether the process that was started itself is gone."""
        return self._process.poll() is not None

    def wait(self, timeout_s: float) -> bool:
        """Whether it is gone before the time is over."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def members(self) -> set[int]:
        """Process ids of it and of all that it has started and not let go."""
        if not is_alive(self.pid):
            return set()
        return {self.pid, *(child.pid for child in children_of(self.pid, recursive=True))}

    def owner_of(self, port: int) -> int | None:
        """Which of its members listens, itself before others; None: another process does."""
        socket = _socket_of(port)
        holders = {pid for pid in self.members() if socket is not None and _holds(pid, socket)}
        return self.pid if self.pid in holders else next(iter(holders), None)

    def interrupt(self) -> bool:
        """Send what asks a console program to end; whether it could be sent."""
        try:
            os.killpg(self.pid, signal.SIGINT)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """End it and all that it has started."""
        for pid in self.members() - {self.pid}:
            _kill(pid)
        if not self.has_ended():
            self._process.kill()
        self._process.wait(120)
        self._reader.join(120)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def lend(self, token: object) -> int:
        """Never: there are no Windows tokens here."""
        raise NotImplementedError(f"{token} can't be handed over: Windows alone has tokens")

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            if len(self._output) < _KEPT_CHARACTERS:
                self._output += line.decode("utf-8", "replace")


def listens(port: int) -> bool:
    """Whether the system's table says that somebody listens on a port of 127.0.0.1; nothing connects to ask."""
    return _socket_of(port) is not None


def content_of(file: Path) -> bytes:
    """All of a file, which anybody may take away meanwhile."""
    return file.read_bytes()


def _socket_of(port: int) -> str | None:
    """What the descriptor of its listener is called."""
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    rows = [row.split() for row in table.splitlines() if f" 0100007F:{port:04X} 00000000:0000 0A " in row]
    return f"socket:[{rows[0][9]}]" if rows else None


def _holds(pid: int, socket: str) -> bool:
    try:
        return any(str(one.readlink()) == socket for one in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
