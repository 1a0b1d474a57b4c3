"""One keep-alive HTTP/1.1 connection, which can also be torn in the middle."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Status, headers by lower-case names, and body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Broken(Exception):
    """There was no answer: the connection could not be made, or ended."""


class Connection:
    """Asks 127.0.0.1.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Send a POST, all of it.

        Raises:
            Broken: nobody listens, or the connection has ended.
        """
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self._streams[1].write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        except OSError as error:
            self.tear()
            raise Broken(type(error).__name__) from None

    async def receive(self) -> Answer:
        """Read one answer.

        Raises:
            Broken: the connection ended instead.
        """
        if self._streams is None:
            raise Broken("nothing was sent")
        try:
            reader = self._streams[0]
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except (OSError, EOFError) as error:
            self.tear()
            raise Broken(type(error).__name__) from None
        if headers.get("connection", "").lower() == "close":
            self.tear()
        return Answer(int(head[0].split()[1]), headers, body)

    def tear(self) -> None:
        """End it at once, in the middle of whatever is going on."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
