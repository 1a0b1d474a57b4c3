"""A real `torchgate serve` on a project folder, started by command line on a free port."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_ANNOUNCED = re.compile(r"serves on (http://127\.0\.0\.1:(\d+)) \(process (\d+)\)")
_ANNOUNCED_BY_OTHERS = re.compile(r"[Rr]unning on (http://127\.0\.0\.1:(\d+))")
_START_S = 240.0  # until it listens: under Wine, beside other tests, an import of everything takes seconds
_READY_S = 500.0  # until every model is ready or failed: torch starts in 7 to 12 s under Wine, one start at a time
_STOP_S = 120.0


class ServerProcess:
    """A server and what it printed; stopped at the end of the `with` block.

    Args:
        folder: the project's.
        process: just started.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.url = ""
        self.port = 0
        self.pid = process.pid
        self._lines: list[str] = []
        self._is_listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def start(
        cls,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        launcher: tuple[str, ...] = ("-m", "torchgate"),
        command: str = "serve",
    ) -> ServerProcess:
        """Start it and return when it listens.

        Args:
            arguments: of `serve`, after the project.
            environment: added to this process's own, which loses what would configure Torchgate.
            launcher: what the interpreter is told to run.
            command: `serve` or `gate`.

        Raises:
            AssertionError: it ended instead; the text has what it printed.
        """
        says_where = any(one.startswith("gate.bind=") for one in arguments)
        bind = () if says_where else ("--set", "gate.bind=127.0.0.1:0")
        line = [*launcher, command, str(folder), *bind, *arguments]
        return cls.start_line(folder, line, environment)

    @classmethod
    def start_line(
        cls, folder: Path, line: Sequence[str], environment: Mapping[str, str] | None = None, *, at: Path | None = None
    ) -> ServerProcess:
        """Start whatever serves a project, and return when it listens.

        Args:
            folder: the project's.
            line: what the interpreter is told to run: ours, or another server (uvicorn, hypercorn).
            at: the working folder.

        Raises:
            AssertionError: it ended instead; the text has what it printed.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
        process = subprocess.Popen(
            [sys.executable, *line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**inherited, **(environment or {})},
            cwd=at,
        )
        server = cls(folder, process)
        if not server._is_listening.wait(_START_S) or not server.url:
            server.kill()
            raise AssertionError(f"the server does not listen:\n{server.output()}")
        return server

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_ready(self, headers: Mapping[str, str] | None = None) -> None:
        """Return when /v2/health/ready says 200.

        Args:
            headers: that its front door needs.

        Raises:
            AssertionError: it does not; the text has what the server printed.
        """
        give_up_at = time.perf_counter() + _READY_S
        while self.get("/v2/health/ready", headers) != 200:
            if time.perf_counter() > give_up_at or self.process.poll() is not None:
                raise AssertionError(f"the server does not become ready:\n{self.output()}")
            time.sleep(0.1)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> int:
        """The status of a GET, or 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def token(self, name: str) -> str:
        """The token of a development identity."""
        return (self.folder / ".torchgate" / "development" / f"{name}.token").read_text(encoding="ascii").strip()

    def audit_events(self) -> list[dict[str, Any]]:
        """Every event of the trail, in the order of the files."""
        segments = sorted((self.folder / ".torchgate" / "audit").glob("*.jsonl"))
        return [json.loads(line) for path in segments for line in path.read_bytes().splitlines()]

    def stop(self) -> int:
        """Ask it to stop where that can be asked (Windows has no such signal: there it is ended); its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server does not stop:\n{self.output()}") from None
        finally:
            self._finish()

    def kill(self) -> None:
        """End it without notice."""
        self.process.kill()
        self.process.wait(_STOP_S)
        self._finish()

    def output(self) -> str:
        """All that it printed until now."""
        return "".join(self._lines)

    def _finish(self) -> None:
        self._reader.join(_STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.decode("utf-8", "replace")
            self._lines.append(line)
            if found := _ANNOUNCED.search(line):
                self.url, self.port, self.pid = found[1], int(found[2]), int(found[3])
                self._is_listening.set()
            elif found := _ANNOUNCED_BY_OTHERS.search(line):
                self.url, self.port = found[1], int(found[2])
                self._is_listening.set()
        self._is_listening.set()
