"""`torchgate serve` started as IIS's modules start it, with whatever streams and launcher a test wants."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TOKEN = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
PAIRING = {"MS-ASPNETCORE-TOKEN": TOKEN}
SHUTDOWN = {**PAIRING, "MS-ASPNETCORE-EVENT": "shutdown"}
WAIT_S = 180.0

VARIABLES: Mapping[str, Mapping[str, str]] = {
    "ancm": {"port": "ASPNETCORE_PORT", "token": "ASPNETCORE_TOKEN", "path": "ASPNETCORE_APPL_PATH"},
    "httpplatform": {"port": "HTTP_PLATFORM_PORT", "token": "HTTP_PLATFORM_TOKEN", "path": "HTTP_PLATFORM_APPL_PATH"},
    "httpplatform-1.2": {"port": "HTTP_PLATFORM_PORT"},
}
"""What each module puts into the environment. Source: iis.md 1.3 and 2, serverprocess.h."""


class HostedServer:
    """A server that was just started, and may not listen yet.

    Args:
        process: what was started; the server itself, or its launcher.
        port: where it was told to listen.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body, on one connection that is kept."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        self._connection.request(method, path, body, dict(headers))
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def wait_listening(self) -> float:
        """Return when a connection is taken; seconds that this took."""
        started_s = time.perf_counter()
        while time.perf_counter() - started_s < WAIT_S:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
                return time.perf_counter() - started_s
            time.sleep(0.005)
        raise AssertionError("nobody listens")

    def disconnect(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """End it, and wait for that."""
        self.disconnect()
        self.process.kill()
        self.process.wait(WAIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def module_environment(front_door: str, port: int, path: str = "/") -> dict[str, str]:
    """This process's environment without what would configure Torchgate, and with what the module adds."""
    named = VARIABLES[front_door]
    values = {"port": str(port), "token": TOKEN, "path": path}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
    return {**inherited, **{variable: values[what] for what, variable in named.items()}}


def free_port() -> int:
    """One that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextlib.contextmanager
def hosted(
    folder: Path,
    front_door: str = "ancm",
    *,
    path: str = "/",
    program: tuple[str, ...] = (sys.executable,),
    streams: Mapping[str, Any] | None = None,
) -> Iterator[HostedServer]:
    """Start it for the block; it may still be starting when the block begins.

    Args:
        path: of the application in IIS.
        program: what runs Python.
        streams: stdin, stdout and stderr as Popen has them; none of them is anything where this is left out.
    """
    port = free_port()
    nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    given = nothing if streams is None else streams
    process = subprocess.Popen(
        [*program, "-m", "torchgate", "serve", str(folder), "--set", f"gate.front_door={front_door}"],
        env=module_environment(front_door, port, path),
        stdin=given.get("stdin"),
        stdout=given.get("stdout"),
        stderr=given.get("stderr"),
    )
    server = HostedServer(process, port)
    try:
        yield server
    finally:
        server.close()
