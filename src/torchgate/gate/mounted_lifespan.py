"""A mounted application's life: the gate starts before it, and stops after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from torchgate.gate.asgi import AsgiApplication, Message, Receive, Scope, Send

_LAST_WORDS = frozenset({"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"})
_log = logging.getLogger("torchgate.mounted")


async def live(
    application: AsgiApplication,
    started: Callable[[], AbstractAsyncContextManager[object]],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Answer the server's lifespan events for both.

    Args:
        application: the user's; one that knows no lifespan has none.
        started: starts the gate for a block.
    """
    first = await receive()
    if first["type"] != "lifespan.startup":
        return
    inner = _InnerLife(first, receive, send)
    try:
        async with AsyncExitStack() as running:
            await running.enter_async_context(started())
            await inner.run(application, scope)
    except Exception as error:
        if inner.has_answered_start:
            raise
        _log.critical("Torchgate does not start: %s", error)
        await send({"type": "lifespan.startup.failed", "message": f"Torchgate does not start: {error}"})
        return
    if inner.last is not None:
        await send(inner.last)


@asynccontextmanager
async def lived(application: AsgiApplication, state: dict[str, Any]) -> AsyncIterator[None]:
    """An application's life around the block, for a server that sends no lifespan events itself.

    Args:
        state: is filled by the application.

    Raises:
        RuntimeError: it did not start; it has said why.
    """
    events: asyncio.Queue[Message] = asyncio.Queue()
    words: asyncio.Queue[Message] = asyncio.Queue()
    events.put_nowait({"type": "lifespan.startup"})
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    life = asyncio.create_task(live(application, _nobody, scope, events.get, words.put))
    try:
        word = await _next_word(words, life)
        if word["type"] != "lifespan.startup.complete":
            raise RuntimeError(f"the application does not start: {word.get('message', '')}")
        yield
        events.put_nowait({"type": "lifespan.shutdown"})
        word = await _next_word(words, life)
        if word["type"] != "lifespan.shutdown.complete":
            _log.error("The application did not stop as it should: %s", word.get("message", ""))
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


@asynccontextmanager
async def _nobody() -> AsyncIterator[None]:
    yield


async def _next_word(words: asyncio.Queue[Message], life: asyncio.Task[None]) -> Message:
    """What the application says next; where it ends without a word, that."""
    word = asyncio.create_task(words.get())
    await asyncio.wait({word, life}, return_when=asyncio.FIRST_COMPLETED)
    if word.done():
        return word.result()
    word.cancel()
    failure = life.exception()
    if failure is not None:
        _log.error("The application's lifespan failed.", exc_info=failure)
    return {"type": "ended", "message": "its lifespan ended" if failure is None else str(failure)}


class _InnerLife:
    """The lifespan events of the application; its last word is kept until the gate has stopped, too.

    Args:
        first: the event that the server has sent already.
    """

    def __init__(self, first: Message, receive: Receive, send: Send) -> None:
        self._first: Message | None = first
        self._outer_receive = receive
        self._outer_send = send
        self.has_answered_start = False
        self.last: Message | None = None

    async def run(self, application: AsgiApplication, scope: Scope) -> None:
        """Until the server shuts down."""
        try:
            await application(scope, self._receive, self._send)
        except Exception:
            if self.last is not None:
                return  # it has told the server itself
            if self.has_answered_start:
                raise
            _log.debug("The application knows no lifespan.", exc_info=True)
        if not self.has_answered_start:
            await self._send({"type": "lifespan.startup.complete"})
        if self.last is None:
            while (await self._receive())["type"] != "lifespan.shutdown":
                pass
            self.last = {"type": "lifespan.shutdown.complete"}

    async def _receive(self) -> Message:
        first, self._first = self._first, None
        return await self._outer_receive() if first is None else first

    async def _send(self, message: Message) -> None:
        self.has_answered_start = True
        if message["type"] in _LAST_WORDS:
            self.last = message
        else:
            await self._outer_send(message)
