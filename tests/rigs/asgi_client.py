"""Asks an ASGI application without a server, with whatever scope a server could make."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class AsgiAnswer:
    """What came back.

    Args:
        parts: of the body, as they were sent.
        messages: all of them.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    parts: list[bytes]
    messages: list[dict[str, Any]]

    @property
    def body(self) -> bytes:
        """Whole."""
        return b"".join(self.parts)

    def json(self) -> Any:
        """Of the body."""
        return json.loads(self.body)

    def header(self, name: str) -> list[str]:
        """All values."""
        return [value.decode("latin-1") for key, value in self.headers if key.decode("latin-1").lower() == name]


async def ask(
    application: Callable[..., Awaitable[None]],
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    gone: asyncio.Event | None = None,
    **scope: Any,
) -> AsgiAnswer:
    """One request; `scope` has what shall differ from what uvicorn would say.

    Args:
        gone: once it is set, the client has hung up; None: it waits for its whole answer.
    """
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    over = asyncio.Event() if gone is None else gone
    raw = [(b"host", b"localhost"), *((k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items())]
    if body:
        raw.append((b"content-length", str(len(body)).encode()))

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(dict(message))
        if message["type"].endswith(".body") and not message.get("more_body", False):
            over.set()

    made: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode("utf-8"), "query_string": b"", "root_path": "", "headers": raw,
        "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    made.update(scope)
    await application(made, receive, send)
    starts = [message for message in sent if message["type"].endswith(".start")]
    assert len(starts) <= 1, starts
    status = starts[0]["status"] if starts else 0
    parts = [message.get("body", b"") for message in sent if message["type"].endswith(".body")]
    return AsgiAnswer(status, list(starts[0]["headers"]) if starts else [], parts, sent)
