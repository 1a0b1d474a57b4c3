"""One connection of a gate to its pool: what was asked over it is answered over it, or fails with it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Protocol

from torchgate.contract.errors import Overloaded, TorchgateError
from torchgate.contract.local_pipes import PeerChannel
from torchgate.contract.worker_wire import Frames, WireError
from torchgate.engine.link.failures import error_of
from torchgate.engine.link.outbox import Outbox
from torchgate.engine.link.pool_sections import PoolSections
from torchgate.engine.link.wire import (
    NEWEST_PROTOCOL,
    OLDEST_PROTOCOL,
    Admitted,
    Answer,
    Ask,
    AskFailed,
    Catalogue,
    Done,
    Failed,
    FromGate,
    FromPool,
    Hello,
    LinkBroken,
    NewSection,
    Ping,
    Pong,
    Refused,
    Release,
    Reserved,
    Stretch,
    decode_from_pool,
    decode_welcome,
    encode,
)

_log = logging.getLogger("torchgate.engine")

_MAX_UNSENT_BYTES = 64 << 20
"""For a pool that does not read: it is as good as gone."""

PermitAnswer = Admitted | Reserved | Done
_PERMIT_ANSWERS = (Admitted, Reserved, Done)


class WatchesLink(Protocol):
    """RemoteEngine, as a link uses it."""

    def learnt(self, link: PoolLink, catalogue: Catalogue) -> None:
        """The pool has told of its models."""
        ...

    def lost(self, link: PoolLink, reason: str) -> None:
        """The connection is over. Called once."""
        ...

    def away(self) -> TorchgateError:
        """What callers are told while there is no pool."""
        ...


class PoolLink:
    """Implements contract.os_services.ChannelReceiver for one connection.

    Args:
        watcher: told of catalogues and of the end.
        program: our version.

    Process: the event loop only.
    """

    def __init__(self, watcher: WatchesLink, program: str) -> None:
        self._watcher = watcher
        self._program = program
        self._frames = Frames()
        self._channel: PeerChannel | None = None
        self._outbox: Outbox | None = None
        self._waiting: dict[int, asyncio.Future[PermitAnswer]] = {}
        self._asking: dict[int, asyncio.Future[Any]] = {}
        self._sections = PoolSections()
        self._permit_numbers = 0
        self._ask_numbers = 0
        self._max_permits = 0
        self._open_permits = 0
        self._unanswered_pings = 0
        self.is_lost = False
        self.refusal = ""
        """Why the pool would not have us."""

    def begin(self, channel: PeerChannel) -> None:
        """Say hello over a channel that is open."""
        if self.is_lost:
            channel.close()
            return
        self._channel = channel
        self._outbox = Outbox(channel, _MAX_UNSENT_BYTES, lambda: self.lose("the pool does not read"))
        self._outbox.put(encode(Hello(OLDEST_PROTOCOL, NEWEST_PROTOCOL, self._program, os.getpid())))

    def data_received(self, data: bytes) -> None:
        """Some bytes of the pool."""
        try:
            for frame in self._frames.feed(data):
                if self.is_lost:
                    return
                self._take(frame)
        except (LinkBroken, WireError) as error:
            self.lose(f"the pool sent what no pool sends: {error}")
        except OSError as error:
            self.lose(f"a section of the pool can't be opened: {error}")
        except Exception:  # noqa: BLE001 - nothing that comes over this connection can be trusted any more
            _log.exception("What the pool sent could not be dealt with.")
            self.lose("an error of this gate; see above")

    def channel_closed(self) -> None:
        """The pool is gone."""
        self.lose("the pool has closed the connection or has died")

    def lose(self, reason: str) -> None:
        """End it: whoever waits for something over it is answered now."""
        if self.is_lost:
            return
        self.is_lost = True
        if self._outbox is not None:
            self._outbox.close()
        if self._channel is not None:
            self._channel.close()
        for future in (*self._waiting.values(), *self._asking.values()):
            if not future.done():
                future.set_exception(self._watcher.away())
        self._waiting.clear()
        self._asking.clear()
        self._sections.close()
        self._watcher.lost(self, reason)

    def enter(self) -> int:
        """The number of a new permit.

        Raises:
            Overloaded: this gate holds as many as the pool allows.
        """
        if self._open_permits >= self._max_permits:
            raise Overloaded(
                f"This gate has {self._open_permits} requests under way, and no more may. Try again.", retry_after_s=1.0
            )
        self._open_permits += 1
        self._permit_numbers += 1
        return self._permit_numbers

    def leave(self, number: int) -> None:
        """A permit is over; whatever runs under it is taken back."""
        if not self.is_lost:
            self._open_permits -= 1
            self._waiting.pop(number, None)
            self.send(Release(number))

    async def ask_permit(self, number: int, message: FromGate) -> PermitAnswer:
        """Ask something of a permit; one thing at a time.

        Raises:
            TorchgateError: what the pool says, or that it is gone.
        """
        if self.is_lost:
            raise self._watcher.away()
        future: asyncio.Future[PermitAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self.send(message)
        return await future

    async def ask(self, method: str, arguments: Any, read: Callable[[Any], Any]) -> Any:
        """Ask a method of the engine.

        Args:
            arguments: as Method.write_arguments made them.
            read: makes a value of the answer.

        Raises:
            TorchgateError: what the pool says, or that it is gone.
        """
        if self.is_lost:
            raise self._watcher.away()
        self._ask_numbers += 1
        number = self._ask_numbers
        future = self._asking[number] = asyncio.get_running_loop().create_future()
        self.send(Ask(number, method, arguments))
        try:
            return read(await future)
        finally:
            self._asking.pop(number, None)

    def look(self, patience: int) -> None:
        """Ask for a sign of life; the connection is given up after so many without one."""
        if self._unanswered_pings >= patience:
            self.lose("the pool does not answer")
        elif not self.is_lost:
            self._unanswered_pings += 1
            self.send(Ping())

    def view(self, stretch: Stretch) -> memoryview:
        """The bytes of a stretch.

        Raises:
            TorchgateError: the pool is gone, and its memory with it.
        """
        if self.is_lost:
            raise self._watcher.away()
        return self._sections.view(stretch)

    def send(self, message: FromGate) -> None:
        """To the pool, with whatever else this turn brings."""
        if self._outbox is not None:
            self._outbox.put(encode(message))

    def _take(self, frame: bytes) -> None:
        if self._max_permits:
            self._learn(decode_from_pool(frame))
            return
        answer = decode_welcome(frame)
        if isinstance(answer, Refused):
            self.refusal = answer.sentence
            self.lose(answer.sentence)
            return
        if not OLDEST_PROTOCOL <= answer.protocol <= NEWEST_PROTOCOL or answer.max_permits < 1:
            raise LinkBroken(f"a welcome in protocol {answer.protocol} for {answer.max_permits} permits")
        self._max_permits = answer.max_permits

    def _learn(self, message: FromPool) -> None:
        if isinstance(message, _PERMIT_ANSWERS):
            self._answered(message.permit, message)
        elif isinstance(message, Failed):
            self._answered(message.permit, error_of(message.failure))
        elif isinstance(message, Pong):
            self._unanswered_pings = 0
        elif isinstance(message, Catalogue):
            self._watcher.learnt(self, message)
        elif isinstance(message, Answer):
            _settle(self._asking.pop(message.ask, None), message.value)
        elif isinstance(message, AskFailed):
            _settle(self._asking.pop(message.ask, None), error_of(message.failure))
        elif isinstance(message, NewSection):
            if self._channel is not None:
                self._sections.add(message, self._channel.open_section)
        else:
            self._sections.forget(message.section)

    def _answered(self, permit: int, answer: PermitAnswer | TorchgateError) -> None:
        if not 0 < permit <= self._permit_numbers:
            raise LinkBroken(f"an answer to permit {permit}, of {self._permit_numbers}")
        stretch = None if isinstance(answer, TorchgateError) else answer.stretch
        if stretch is not None:
            self._sections.examine(stretch)
        # Nobody may wait any more: the caller went while this was on its way.
        _settle(self._waiting.pop(permit, None), answer)


def _settle(future: asyncio.Future[Any] | None, answer: object) -> None:
    if future is None or future.done():
        return
    if isinstance(answer, TorchgateError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
