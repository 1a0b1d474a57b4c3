"""One w3wp with the module in it: it starts its process, forwards, and ends it. Source: iis.md 1."""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.rigs.iis_module.backend import Backend
from tests.rigs.iis_module.configuration import Application
from tests.rigs.iis_module.header_rules import Caller, Headers, cooked_target, request_headers
from tests.rigs.iis_module.variants import PAIRING_HEADER

if sys.platform == "win32":
    from tests.rigs.iis_module.windows_process import WindowsProcess as StartedProcess
    from tests.rigs.iis_module.windows_process import listens
else:
    from tests.rigs.iis_module.posix_process import PosixProcess as StartedProcess
    from tests.rigs.iis_module.posix_process import listens

_POLL_S = 0.25
_MINUTE_S = 60.0
_PORTS = range(10_000, 48_001)
_NEGOTIATED = frozenset({"negotiate", "ntlm"})

Tokens = Mapping[str, Callable[[], object]]
"""User → what makes a Windows token of that user, as IIS holds it."""


class Asked(Protocol):
    """A request as the front has read its head."""

    method: str
    target: str
    received: Headers
    caller: Caller

    def body(self) -> Iterator[bytes]:
        """Its body, as it arrives."""
        ...


class ModuleFailed(Exception):
    """The module answers by itself: 502.5 where no process listens, 502.3 where it is gone or silent.

    Args:
        code: status and substatus.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code


class WorkerProcess:
    """One w3wp.

    Args:
        application: what it serves.
        tokens: of the users whom IIS has authenticated.
        shutdown_delay_s: between the end of listening and the request to end; the module's own default.
        clock: in seconds.
    """

    def __init__(
        self,
        application: Application,
        tokens: Tokens,
        *,
        shutdown_delay_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.application = application
        self.pairing = str(uuid.uuid4())
        self.process: StartedProcess | None = None
        self.port = 0
        self.log: list[tuple[int, str]] = []
        self._tokens = tokens
        self._shutdown_delay_s = shutdown_delay_s
        self._rapid_fails = RapidFails(application.rapid_fails_per_minute, clock)
        self._backend: Backend | None = None
        self._starting = threading.Lock()

    @contextmanager
    def forwarded(self, asked: Asked) -> Iterator[http.client.HTTPResponse]:
        """The answer of the process, which is started before where none runs.

        Raises:
            ModuleFailed: there is none.
        """
        process, backend = self._started()
        headers = request_headers(
            self.application, asked.received, asked.caller, self.pairing, self._handle(process, asked.caller)
        )
        try:
            with backend.answer(asked.method, cooked_target(asked.target), headers, asked.body()) as answer:
                yield answer
        except (OSError, http.client.HTTPException) as error:
            raise ModuleFailed("502.3", f"{type(error).__name__} {error}") from None

    def stop(self) -> None:
        """End the process as the module does when its w3wp is to go; nobody asks any more by then."""
        with self._starting:
            process, backend, self._backend = self.process, self._backend, None
        if process is None or backend is None:
            return
        if self.application.variant.has_pairing and not process.has_ended():
            time.sleep(self._shutdown_delay_s)
            if not self._asked_to_end(backend) and not process.interrupt():
                self.log.append((1005, "neither by request nor by signal"))
            if not process.wait(self.application.shutdown_limit_s):
                self.log.append((1005, "it did not end in time"))
        backend.close()
        process.kill()

    def crash(self) -> None:
        """End of the w3wp itself: the last handle of the job closes, and takes all with it."""
        with self._starting:
            process, backend, self._backend = self.process, self._backend, None
        if process is not None:
            process.kill()
        if backend is not None:
            backend.close()

    def output(self) -> str:
        """What the process printed."""
        return "" if self.process is None else self.process.output()

    def _started(self) -> tuple[StartedProcess, Backend]:
        with self._starting:
            if self.process is not None and self._backend is not None:
                if not self.process.has_ended():
                    return self.process, self._backend
                self._found_dead(self.process, self._backend)
            return self._start()

    def _found_dead(self, process: StartedProcess, backend: Backend) -> None:
        self.log.append((1000, f"it has ended by itself: {process.output()}"))
        process.kill()
        backend.close()
        self._rapid_fails.add()

    def _start(self) -> tuple[StartedProcess, Backend]:
        for _ in range(self.application.start_attempts):
            if self._rapid_fails.are_too_many():
                self.log.append((1003, "too many ends within a minute"))
                raise ModuleFailed("502.5", "it is not started again within this minute")
            try:
                process, port = self._launched()
            except OSError as error:
                self._rapid_fails.add()
                self.log.append((1000, f"it can't be started: {error}"))
                continue
            self.process, self.port = process, port
            if self._listens(process, port):
                self._backend = Backend(port, self.application.request_timeout_s)
                self.log.append((1001, f"process {process.pid} listens on {port}"))
                return process, self._backend
            process.kill()
            self._rapid_fails.add()
            self.log.append((1000, process.output()))
        self.log.append((1020, self.output()))
        raise ModuleFailed("502.5", f"no process listens:\n{self.output()}")

    def _launched(self) -> tuple[StartedProcess, int]:
        port = _free_port()
        application = self.application
        environment = process_environment(application, port, self.pairing)
        known = known_to_arguments(application, environment)
        arguments = expanded(application.arguments, known)
        program = resolved_program(expanded(application.process_path, known), application.folder)
        return StartedProcess(program, arguments, application.folder, environment), port

    def _listens(self, process: StartedProcess, port: int) -> bool:
        give_up_at = time.monotonic() + self.application.startup_limit_s
        while time.monotonic() < give_up_at and not process.has_ended():
            if listens(port):
                return True
            process.wait(_POLL_S)
        return False

    def _handle(self, process: StartedProcess, caller: Caller) -> str | None:
        """Lower-case hexadecimal digits, as the module writes them."""
        if caller.user is None or not self.application.forwards_windows_tokens:
            return None
        return f"{process.lend(self._tokens[caller.user]()):x}"

    def _asked_to_end(self, backend: Backend) -> bool:
        path = self.application.virtual_path.rstrip("/") + "/iisintegration"
        headers = [
            ("Host", f"127.0.0.1:{backend.port}"),
            ("MS-ASPNETCORE-EVENT", "shutdown"),
            (PAIRING_HEADER, self.pairing),
            ("Content-Length", "0"),
        ]
        one_try = Backend(backend.port, self.application.shutdown_limit_s)
        one_try.close()
        try:
            with one_try.answer("POST", path, headers, ()) as answer:
                answer.read()
                status = answer.status
        except (OSError, http.client.HTTPException) as error:
            self.log.append((1006, f"{type(error).__name__} {error}"))
            return False
        self.log.append((1006, f"answered {status}"))
        return status == 202


class RapidFails:
    """How often the process has failed in this minute.

    Args:
        limit: more of them, and it is not started again until the minute is over.
        clock: in seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._count = 0
        self._began_at = clock()

    def add(self) -> None:
        """One more."""
        self._begin_again()
        self._count += 1

    def are_too_many(self) -> bool:
        """Whether they are more than the limit."""
        self._begin_again()
        return self._count > self._limit

    def _begin_again(self) -> None:
        if self._clock() - self._began_at >= _MINUTE_S:
            self._count, self._began_at = 0, self._clock()


def process_environment(application: Application, port: int, pairing: str) -> dict[str, str]:
    """What the process gets: everything of the w3wp, what the module tells, and what web.config sets over it."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("TORCHGATE_")}
    environment = {**ours, **application.pool_variables}
    variant, root = application.variant, application.access_at("")
    environment[f"{variant.prefix}_PORT"] = str(port)
    if variant.has_pairing:
        kinds = {"windows;": root.windows, "basic;": root.basic, "anonymous;": root.anonymous}
        said = "".join(kind for kind, is_enabled in kinds.items() if is_enabled)
        environment |= {
            f"{variant.prefix}_APPL_PATH": application.virtual_path,
            f"{variant.prefix}_TOKEN": pairing,
            f"{variant.prefix}_IIS_HTTPAUTH": said or "none",
            f"{variant.prefix}_IIS_WEBSOCKETS_SUPPORTED": "false",
            f"{variant.prefix}_IIS_PHYSICAL_PATH": str(application.folder) + os.sep,
        }
    return environment | {name: expanded(value, environment) for name, value in application.variables.items()}


def known_to_arguments(application: Application, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that the module puts into the command line; its own port only where it is said to do that."""
    variant = application.variant
    return {
        name: value for name, value in environment.items() if variant.fills_in_port or name != f"{variant.prefix}_PORT"
    }


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """With its %VARIABLES%; unknown ones stay."""
    by_name = {name.upper(): value for name, value in environment.items()}
    return re.sub(r"%([^%]+)%", lambda found: by_name.get(found[1].upper(), found[0]), text)


def resolved_program(path: str, folder: Path) -> str:
    """Beside web.config where it is a relative path of a file there."""
    beside = folder / path
    return str(beside) if not os.path.isabs(path) and beside.is_file() else path  # noqa: PTH117 - as the module looks


def _free_port() -> int:
    for _ in range(10):
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ModuleFailed("502.5", "no port is free")
