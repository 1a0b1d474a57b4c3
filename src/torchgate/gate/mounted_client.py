"""The client of one request of a mounted application: what it sends, for the application, and that it has gone, for us.

Other servers tell of a client that hung up by a message, among those of the body. So while an inference runs, and all
of the body has been read, the next message is awaited here; the application finds it when it asks for one. Never are
two questions put to a server at a time, and never is a part of a body taken beforehand.

Source: ASGI, "Disconnected Client - receive event".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from torchgate.gate.asgi import AsgiBody, Message, Receive, ReceivedDisconnect
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import Disconnect

_GONE = "http.disconnect"


class MountedClient:
    """Hears for the application and for its inferences, of which there may be several at a time.

    A client that has its whole answer may go: what its route still does is not for its ears.

    Args:
        exchange: the request; its disconnect is our own server's, or the one that has to ask by messages.
        receive: the server's.

    Process: the event loop only.
    """

    __slots__ = (
        "_disconnect", "_end", "_exchange", "_gone", "_has_answer", "_heard", "_hearing", "_is_told", "_receive",
        "_receiving", "_watches",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, receive: Receive) -> None:
        self._exchange = exchange
        self._receive = receive
        self._disconnect = exchange.request.disconnect
        self._is_told = not isinstance(self._disconnect, ReceivedDisconnect)
        self._heard: deque[Message] = deque()
        self._hearing: asyncio.Task[Message] | None = None
        self._receiving = 0
        self._end: Message | None = None
        self._watches: dict[ClientWatch, Callable[[], object]] = {}
        self._gone = False
        self._has_answer = False

    @property
    def gone(self) -> bool:
        """Whether it went before it had its answer."""
        return self._gone or (self._is_told and not self._has_answer and self._disconnect.gone)

    def watch(self) -> Disconnect:
        """For one inference."""
        return ClientWatch(self)

    async def receive(self) -> Message:
        """ASGI's receive, as the application has it."""
        while self._hearing is not None and not self._heard and self._end is None:
            await asyncio.wait((self._hearing,))
        if self._heard:
            return self._count(self._heard.popleft())
        if self._end is not None:
            return dict(self._end)
        self._receiving += 1
        try:
            message = self._count(await self._receive())
            if message["type"] == _GONE:
                self._note_end(message)
            return message
        finally:
            self._receiving -= 1
            self._hear()

    def answered(self) -> None:
        """The last of the answer leaves. Servers may say from now on that the client is gone: it means nothing."""
        self._has_answer = True
        for watch in tuple(self._watches):
            self.remove(watch)

    def end(self) -> None:
        """The application has returned."""
        if self._hearing is not None:
            self._hearing.cancel()

    def add(self, watch: ClientWatch, on_gone: Callable[[], object]) -> None:
        """Call back when it goes; at once, if it has."""
        if self.gone:
            on_gone()
        elif not self._has_answer:
            self._watches[watch] = on_gone
            if self._is_told:
                self._disconnect.watch(self._tell)
            else:
                self._hear()

    def remove(self, watch: ClientWatch) -> None:
        """Forget it. A message that is awaited is awaited on, for the application."""
        self._watches.pop(watch, None)
        if self._is_told and not self._watches:
            self._disconnect.unwatch()

    def _hear(self) -> None:
        """Await the next message, where an inference wants to know, nobody else asks, and it can be no body."""
        is_busy = self._hearing is not None or self._receiving > 0
        if not self._watches or is_busy or self._end is not None or not self._exchange.request.body.is_complete:
            return
        if len(self._heard) > 1 or any(message.get("more_body", False) for message in self._heard):
            return  # a body that was not announced: it is the application's
        self._hearing = asyncio.get_running_loop().create_task(self._next())
        self._hearing.add_done_callback(self._keep)

    async def _next(self) -> Message:
        return await self._receive()

    def _keep(self, task: asyncio.Task[Message]) -> None:
        self._hearing = None
        if task.cancelled() or task.exception() is not None:
            return  # the application learns of it when it asks
        message = task.result()
        if message["type"] == _GONE:
            self._note_end(message)
        else:
            self._heard.append(message)
            self._hear()

    def _note_end(self, message: Message) -> None:
        self._end = message
        self._tell()

    def _tell(self) -> None:
        if not self._has_answer:
            self._gone = True
        watches, self._watches = self._watches, {}
        for on_gone in watches.values():
            on_gone()

    def _count(self, message: Message) -> Message:
        body = self._exchange.request.body
        self._exchange.request_bytes += len(message.get("body", b""))
        if isinstance(body, AsgiBody) and not message.get("more_body", False):
            body.is_complete = True  # else a refusal would wait for more of it
        return message


class ClientWatch:
    """Implements gate.http_message.Disconnect for one inference.

    Args:
        client: whose.
    """

    __slots__ = ("_client",)

    is_framing_broken = False

    def __init__(self, client: MountedClient) -> None:
        self._client = client

    @property
    def gone(self) -> bool:
        """Whether it went before it had its answer."""
        return self._client.gone

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call back when it goes, at once if it has."""
        self._client.add(self, on_gone)

    def unwatch(self) -> None:
        """Forget the watcher."""
        self._client.remove(self)
