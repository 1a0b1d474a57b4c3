"""Reads of one secret, each in a thread of its own, so that a store that hangs holds nothing else up."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from torchgate.access.secrets.secret import Secret, SecretUnreadable
from torchgate.access.secrets.source import SecretSource


class Reading:
    """At most one read at a time: while one hangs, the next waits for the same one, so that threads don't pile up.

    Not asyncio's own threads: these are waited for when the loop ends, and a hung store would keep the server from
    stopping.

    Args:
        source: what is read.
        name: of the secret.

    Thread/process: one event loop.
    """

    def __init__(self, source: SecretSource, name: str) -> None:
        self.source = source
        self._name = name
        self._flight: asyncio.Future[Secret | SecretUnreadable] | None = None

    async def read(self, timeout_s: float) -> Secret:
        """The values now.

        Raises:
            SecretUnreadable: they can't be read, or not in time.
        """
        if self._flight is None or self._flight.get_loop() is not asyncio.get_running_loop():
            self._flight = self._start()
        done, _ = await asyncio.wait({self._flight}, timeout=timeout_s)
        if not done:
            raise SecretUnreadable(f"There was no answer within {timeout_s:g} s. Is the store within reach?")
        found, self._flight = self._flight.result(), None
        if isinstance(found, SecretUnreadable):
            raise found
        return found

    def _start(self) -> asyncio.Future[Secret | SecretUnreadable]:
        loop = asyncio.get_running_loop()
        flight: asyncio.Future[Secret | SecretUnreadable] = loop.create_future()

        def settle(found: Secret | SecretUnreadable) -> None:
            if not flight.done():
                flight.set_result(found)

        def run() -> None:
            found = read_safely(self.source)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=run, name=f"secret {self._name}", daemon=True).start()
        return flight


def read_safely(source: SecretSource) -> Secret | SecretUnreadable:
    """The values, or why not: every surprise of a library becomes a sentence without the library's own words."""
    try:
        return source.read()
    except SecretUnreadable as error:
        return error
    except Exception as error:  # noqa: BLE001 - a library's text and traceback may hold the value
        return SecretUnreadable(f"Reading failed in an unexpected way ({type(error).__name__}).")
