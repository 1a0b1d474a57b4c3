"""One process of the module, with a port, a token and a job of its own. Source: iis.md 1.7, 1.8; `SERVER_PROCESS`."""

from __future__ import annotations

import http.client
import random
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping

from tests.rigs.iis_module.backend import Backend
from tests.rigs.iis_module.configuration import Application
from tests.rigs.iis_module.header_rules import Caller
from tests.rigs.iis_module.module_answers import ModuleFailed
from tests.rigs.iis_module.process_environment import (
    expanded,
    known_to_arguments,
    process_environment,
    resolved_program,
)
from tests.rigs.iis_module.variants import PAIRING_HEADER

if sys.platform == "win32":
    from tests.rigs.iis_module.windows_process import WindowsProcess as StartedProcess
    from tests.rigs.iis_module.windows_process import listens
else:
    from tests.rigs.iis_module.posix_process import PosixProcess as StartedProcess
    from tests.rigs.iis_module.posix_process import listens

_POLL_S = 0.25
_PORTS = range(10_000, 48_001)
MAX_PROCESSES = 16
"""Of a job whose listener is not the process that was started."""

Tokens = Mapping[str, Callable[[], object]]
"""User → what makes a Windows token of that user, as IIS holds it."""
Log = list[tuple[int, str]]
"""Events: number and text."""


class ServerProcess:
    """A place for a process, which a started one never leaves: its successor is in another place.

    Args:
        application: what is started.
        tokens: of the users whom IIS has authenticated.
        log: of the module.
    """

    def __init__(self, application: Application, tokens: Tokens, log: Log) -> None:
        self.pairing = application.variables.get(f"{application.variant.prefix}_TOKEN") or str(uuid.uuid4())
        self.process: StartedProcess | None = None
        self.port = 0
        self._application = application
        self._tokens = tokens
        self._log = log
        self._backend: Backend | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it is gone by itself."""
        return self.process is None or self.process.has_ended()

    @property
    def backend(self) -> Backend:
        """Connections to it."""
        if self._backend is None:
            raise ModuleFailed("502.5", "it has not been started")
        return self._backend

    def start(self) -> None:
        """Start it and wait until the system says that it listens.

        Raises:
            ModuleFailed: 502.5; none of the attempts did.
        """
        for _ in range(self._application.start_attempts):
            self.port = _port(self._application)
            try:
                self.process = self._launched()
            except OSError as error:
                self._log.append((1000, f"it can't be started: {error}"))
                continue
            if trouble := self._trouble(self.process):
                self.process.kill()
                self._log.append((1000, f"{trouble}\n{self.process.output()}"))
                continue
            self._backend = Backend(self.port, self._application.request_timeout_s)
            self._log.append((1001, f"process {self.process.pid} listens on {self.port}"))
            return
        self._log.append((1020, self.output()))
        raise ModuleFailed("502.5", f"no process listens:\n{self.output()}")

    def stop(self) -> None:
        """Ask it to end, and end it with its job when the time for asking, signal and end is over."""
        if self.process is not None and not self.process.has_ended() and self._application.variant.has_pairing:
            until = time.monotonic() + self._application.shutdown_limit_s
            if self._asked_to_end() or (time.monotonic() < until and self.process.interrupt()):
                self.process.wait(max(0.0, until - time.monotonic()))
            if self.process.has_ended():
                self._log.append((1030, f"the process on port {self.port} has ended"))
            else:
                self._log.append((1005, "it did not end, neither by request nor by signal"))
        self.end()

    def end(self) -> None:
        """The last handle of its job closes, and takes all with it."""
        if self._backend is not None:
            self._backend.close()
        if self.process is not None:
            self.process.kill()

    def handle(self, caller: Caller) -> str | None:
        """A Windows caller's token in this process, in lower-case hexadecimal digits as the module writes them."""
        if caller.user is None or not self._application.forwards_windows_tokens or self.process is None:
            return None
        return f"{self.process.lend(self._tokens[caller.user]()):x}"

    def output(self) -> str:
        """What it printed."""
        return "" if self.process is None else self.process.output()

    def _launched(self) -> StartedProcess:
        application = self._application
        known = known_to_arguments(application, self.port)
        arguments = expanded(application.arguments, known)
        program = resolved_program(expanded(application.process_path, known), application.folder)
        environment = process_environment(application, self.port, self.pairing)
        return StartedProcess(program, arguments, application.folder, environment)

    def _trouble(self, process: StartedProcess) -> str:
        """Why it does not count as started; empty where it does."""
        give_up_at = time.monotonic() + self._application.startup_limit_s
        while not listens(self.port):
            if process.has_ended():
                return "it has ended before it listened"
            if time.monotonic() >= give_up_at:
                return "it does not listen"
            process.wait(_POLL_S)
        owner = process.owner_of(self.port)
        if owner == process.pid:
            return ""
        if (count := len(process.members())) > MAX_PROCESSES:
            return f"another process than it listens, and its job has {count}"
        return "" if owner is not None else "a process that it did not start listens"

    def _asked_to_end(self) -> bool:
        application = self._application
        headers = [
            ("Connection", "Keep-Alive"),
            ("MS-ASPNETCORE-EVENT", "shutdown "),  # with that space behind it
            (PAIRING_HEADER, self.pairing),
            ("Content-Length", "0"),
            ("Host", f"127.0.0.1:{self.port}"),
        ]
        one_try = Backend(self.port, application.shutdown_limit_s)
        one_try.close()
        try:
            path = application.virtual_path.rstrip("/") + "/iisintegration"
            with one_try.answer("POST", path, headers, ()) as answer:
                answer.read()
                status = answer.status
        except (OSError, http.client.HTTPException):
            return False
        self._log.append((1006, f"answered {status}"))
        return status == 202


def _port(application: Application) -> int:
    """That of web.config, or one that nobody listens on."""
    named = application.variables.get(f"{application.variant.prefix}_PORT")
    if named:
        return int(named)
    for _ in range(10):
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ModuleFailed("502.5", "no port is free")
