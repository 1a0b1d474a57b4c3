"""The processes of one server: started, killed without notice, started again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from connection import Broken, Connection
from project import MODEL

_READY_S = 120.0


class DidNotStart(Exception):
    """A process ended, or did not become ready; the text has its last words."""


class Process:
    """One of our commands on the project, which may be killed and started anew.

    Args:
        command: `serve`, `pool` or `gate`.
        folder: the project's.
        port: to listen on; 0: it listens on none.
        log: takes what it prints.
    """

    def __init__(self, command: str, folder: Path, port: int, log: Path) -> None:
        self.command, self.port = command, port
        self._folder, self._log = folder, log
        self._process: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def start(self) -> None:
        """Start it; it is not ready when this returns."""
        settings = ["--set", f"gate.bind=127.0.0.1:{self.port}"] if self.port else []
        argv = [sys.executable, "-m", "torchgate", self.command, str(self._folder), *settings]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
        with self._log.open("ab") as words:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=environment, start_new_session=True
            )

    def kill(self) -> None:
        """End it without notice, as an operating system short of memory does."""
        if self._process is not None:
            self.kills += 1
            self._process.kill()
            self._process.wait(30)

    def stop(self) -> None:
        """Ask it to stop; end it where it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that run now."""
        if self._process is None:
            return []
        try:
            children = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if _is_worker(child)]

    async def until_answering(self, key: str) -> float:
        """Wait until its readiness is 200; how long that took, in seconds.

        Raises:
            DidNotStart: it has ended, or takes too long.
        """
        started_at = time.perf_counter()
        while (took_s := time.perf_counter() - started_at) < _READY_S:
            if self._process is not None and self._process.poll() is not None:
                raise DidNotStart(f"`{self.command}` ended: {self.last_words()}")
            if await _is_ready(self.port, key):
                return took_s
            await asyncio.sleep(0.01)
        raise DidNotStart(f"`{self.command}` is not ready after {_READY_S:g} s: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]


class Deployment:
    """`serve` alone, or a pool and gates.

    Args:
        layout: `serve` or `pool`.
        gates: how many, with `pool`.
    """

    def __init__(self, layout: str, folder: Path, ports: list[int], logs: Path) -> None:
        self.ports = ports
        if layout == "serve":
            self.gates = [Process("serve", folder, ports[0], logs / "serve.log")]
            self.pool = self.gates[0]
        else:
            self.gates = [
                Process("gate", folder, port, logs / f"gate-{index}.log") for index, port in enumerate(ports, 1)
            ]
            self.pool = Process("pool", folder, 0, logs / "pool.log")
        self.all = list(dict.fromkeys([self.pool, *self.gates]))

    async def start(self, key: str) -> None:
        """Start everything; returns when every gate is ready.

        Raises:
            DidNotStart: one is not.
        """
        for process in self.all:
            process.start()
        for gate in self.gates:
            await gate.until_answering(key)

    def stop(self) -> None:
        """Stop everything, the gates first."""
        for process in reversed(self.all):
            process.stop()


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any("worker_app" in part for part in process.cmdline())
    except psutil.Error:
        return False


async def _is_ready(port: int, key: str) -> bool:
    """Whether this gate answers a real question."""
    from askers import body_of

    connection = Connection(port)
    try:
        async with asyncio.timeout(5):
            headers = {"X-API-Key": key, "Content-Type": "application/json"}
            await connection.send(f"/v2/models/{MODEL}/infer", headers, body_of([1]))
            return (await connection.receive()).status == 200
    except (Broken, TimeoutError):
        return False
    finally:
        connection.tear()
