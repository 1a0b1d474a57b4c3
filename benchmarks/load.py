"""Closed-loop load: so many connections, each asks again as soon as it is answered; by wrk, or by Python without it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from processes import children_cpu_s
from systems import Question


@dataclass(frozen=True)
class Load:
    """What one cell of load saw.

    Args:
        answers: with status 200.
        failures: any other status, and connections that broke.
        seconds: it lasted.
        p50_ms, p99_ms: of the time from question to answer.
        client_cpu_s: CPU seconds that the client itself took, on the same machine.
    """

    answers: int
    failures: int
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cpu_s: float


class LoadFailed(Exception):
    """The load client itself gave no figures."""


def client_name(wanted: str) -> str:
    """The client that will be used: what was wanted, or for `auto` wrk where it is installed."""
    if wanted == "auto":
        return "wrk" if shutil.which("wrk") else "python"
    return wanted


def run_load(client: str, port: int, question: Question, connections: int, seconds: int, *, folder: Path) -> Load:
    """One cell of load against 127.0.0.1.

    Raises:
        LoadFailed: no figures, and why.
    """
    if client == "wrk":
        return _run_wrk(port, question, connections, seconds, folder)
    return asyncio.run(_run_python(port, question, connections, seconds))


_SCRIPT = """
local file = assert(io.open({body_file}, "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
{headers}
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\nRESULT {{"requests":%d,"status":%d,"broken":%d,"us":%d,"p50":%.1f,"p99":%.1f}}\\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)))
end
"""


def _run_wrk(port: int, question: Question, connections: int, seconds: int, folder: Path) -> Load:
    body_file, script = folder / "body.bin", folder / "load.lua"
    body_file.write_bytes(question.body)
    headers = "\n".join(f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in question.headers.items())
    script.write_text(_SCRIPT.format(body_file=_lua(body_file.as_posix()), headers=headers), encoding="utf-8")
    url = f"http://127.0.0.1:{port}{question.path}"
    argv = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-T", "30s", "-s", str(script), url]
    cpu_before_s = children_cpu_s()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    client_cpu_s = children_cpu_s() - cpu_before_s
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), "")
    if not line:
        raise LoadFailed(f"wrk gave no result: {(done.stderr or done.stdout).strip()[-200:]}")
    seen = json.loads(line.removeprefix("RESULT "))
    return Load(
        answers=seen["requests"] - seen["status"],
        failures=seen["status"] + seen["broken"],
        seconds=seen["us"] / 1e6,
        p50_ms=seen["p50"] / 1e3,
        p99_ms=seen["p99"] / 1e3,
        client_cpu_s=client_cpu_s,
    )


def _lua(text: str) -> str:
    """A Lua string; JSON's escapes suffice for the ASCII of paths and headers."""
    return json.dumps(text, ensure_ascii=False)


async def _run_python(port: int, question: Question, connections: int, seconds: int) -> Load:
    ends_at = time.perf_counter() + seconds
    message = wire_form(question, port)
    cpu_before_s, started_at = time.process_time(), time.perf_counter()
    loop = asyncio.get_running_loop()
    protocols = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(lambda: _Asker(message, ends_at), "127.0.0.1", port)
        protocols.append(protocol)
    await asyncio.wait([protocol.finished for protocol in protocols], timeout=seconds + 30)
    for protocol in protocols:
        protocol.close()
    took_s = time.perf_counter() - started_at
    times = sorted(one for protocol in protocols for one in protocol.times_s)
    failures = sum(protocol.failures for protocol in protocols)
    if not times:
        raise LoadFailed("no question was answered with 200")
    return Load(
        answers=len(times),
        failures=failures,
        seconds=took_s,
        p50_ms=times[len(times) // 2] * 1e3,
        p99_ms=times[min(len(times) - 1, len(times) * 99 // 100)] * 1e3,
        client_cpu_s=time.process_time() - cpu_before_s,
    )


def wire_form(question: Question, port: int) -> bytes:
    """The request as it goes over the connection."""
    headers = {"Host": f"127.0.0.1:{port}", **question.headers, "Content-Length": str(len(question.body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {question.path} HTTP/1.1\r\n{head}\r\n".encode() + question.body


class _Asker(asyncio.Protocol):
    """One connection: asks, reads the answer by its Content-Length, asks again."""

    def __init__(self, message: bytes, ends_at: float) -> None:
        self.message, self.ends_at = message, ends_at
        self.times_s: list[float] = []
        self.failures = 0
        self.finished = asyncio.get_running_loop().create_future()
        self._head, self._missing, self._status_is_ok = b"", 0, False
        self._asked_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._status_is_ok = self._head[9:12] == b"200"
            length = next(
                (line[15:] for line in self._head[:end].lower().split(b"\r\n") if line.startswith(b"content-length:")),
                None,
            )
            if length is None:  # chunked or none: this client does not follow that, and says so by a failure
                self._stop(failed=True)
                return
            self._missing = int(length) - (len(self._head) - end - 4)
            self._head = b""
        if self._missing <= 0:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self._stop(failed=True)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked_at = time.perf_counter()
        self._transport.write(self.message)

    def _answered(self) -> None:
        now = time.perf_counter()
        if self._status_is_ok:
            self.times_s.append(now - self._asked_at)
        else:
            self.failures += 1
        if now < self.ends_at:
            self._ask()
        else:
            self._stop(failed=False)

    def _stop(self, *, failed: bool) -> None:
        self.failures += failed
        with contextlib.suppress(asyncio.InvalidStateError):
            self.finished.set_result(None)
