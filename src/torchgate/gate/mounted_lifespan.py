"""A mounted application's life: the gate starts before it, and stops after it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from torchgate.gate.asgi import Message, Receive, Scope, Send

_LAST_WORDS = frozenset({"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"})
_log = logging.getLogger("torchgate.mounted")


async def live(
    application: Callable[[Scope, Receive, Send], Awaitable[None]],
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

    async def run(self, application: Callable[[Scope, Receive, Send], Awaitable[None]], scope: Scope) -> None:
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
