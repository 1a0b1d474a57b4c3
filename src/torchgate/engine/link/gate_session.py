"""One gate as the pool sees it: what it holds, what it may ask, and the end of both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from torchgate.contract.clock import Clock
from torchgate.contract.errors import TorchgateError
from torchgate.contract.inference import Engine
from torchgate.contract.local_pipes import PeerChannel
from torchgate.contract.os_services import Sections
from torchgate.contract.worker_wire import Frames, WireError
from torchgate.engine.link.calls import Method
from torchgate.engine.link.failures import failure_of, unexpected_failure
from torchgate.engine.link.gate_memory import GateMemory
from torchgate.engine.link.lost_requests import LostRequest
from torchgate.engine.link.outbox import Outbox
from torchgate.engine.link.pool_permit import PoolPermit
from torchgate.engine.link.principals import ReadPrincipals
from torchgate.engine.link.wire import (
    NEWEST_PROTOCOL,
    OLDEST_PROTOCOL,
    Admit,
    Answer,
    Ask,
    AskFailed,
    FromGate,
    FromPool,
    Hello,
    LinkBroken,
    Ping,
    Pong,
    Refused,
    Release,
    Reserve,
    Run,
    Welcome,
    common_protocol,
    decode_from_gate,
    decode_hello,
    encode,
)

_log = logging.getLogger("torchgate.engine")


_LAST_WORDS_S = 1.0
"""For a gate that is refused to read why; a sound one then closes by itself."""


class LinkLimits(msgspec.Struct, frozen=True):
    """How much one gate may hold, and how many there may be.

    Args:
        max_gates: connected at once.
        max_permits: of one gate.
        max_asks: of one gate, under way at once.
        max_unsent_bytes: that wait for a gate that does not read.
        copy_bytes: memory of one gate for answers of back ends that share none.
        hello_timeout_s: from the connection to Hello.
    """

    max_gates: int = 16
    max_permits: int = 4096
    max_asks: int = 64
    max_unsent_bytes: int = 32 << 20
    copy_bytes: int = 64 << 20
    hello_timeout_s: float = 5.0


class SharedByGates(msgspec.Struct, frozen=True):
    """What every session is given.

    Args:
        engine: that is served.
        methods: of it, by name (calls.asked_methods).
        sections: of this operating system.
        program: our version.
        clock: monotonic.
    """

    engine: Engine
    methods: Mapping[str, Method]
    sections: Sections
    program: str
    clock: Clock
    limits: LinkLimits


class KeepsGates(Protocol):
    """The pool's end, as a session uses it."""

    def refusal(self) -> str:
        """Why no further gate is taken now; empty where one is."""
        ...

    def catalogue_frame(self) -> bytes:
        """What a gate is told of all models, encoded."""
        ...

    def refresh(self) -> None:
        """Tell all gates of the models, if there is anything new."""
        ...

    def ended(self, session: GateSession, lost: list[LostRequest]) -> None:
        """This gate is gone, with these requests under way."""
        ...


class GateSession:
    """Implements contract.os_services.ChannelReceiver for one connected gate.

    Args:
        shared: by all sessions.
        channel: to the gate.
        keeper: of all sessions.

    Process: the event loop only.
    """

    def __init__(self, shared: SharedByGates, channel: PeerChannel, keeper: KeepsGates) -> None:
        limits = shared.limits
        self.name = f"a gate of {channel.peer.account}"
        self.engine = shared.engine
        self.clock = shared.clock
        self.refused = keeper.refresh
        self._shared = shared
        self._channel = channel
        self._keeper = keeper
        self._frames = Frames()
        self._principals = ReadPrincipals()
        self._outbox = Outbox(channel, limits.max_unsent_bytes, lambda: self.cut_off("it does not read"))
        self.memory = GateMemory(shared.sections, limits.copy_bytes, hand_over=channel.hand_over, send=self.send)
        self._permits: dict[int, PoolPermit] = {}
        self._newest_permit = 0
        self._asks: set[asyncio.Task[None]] = set()
        self._is_welcome = False
        self._is_turned_away = False
        self._has_ended = False
        self._timer: asyncio.TimerHandle = asyncio.get_running_loop().call_later(
            limits.hello_timeout_s, self.cut_off, "it did not say who it is"
        )

    @property
    def is_ready(self) -> bool:
        """Whether it has been welcomed, and is still there."""
        return self._is_welcome and not self._has_ended

    @property
    def permits(self) -> int:
        """That it holds now."""
        return len(self._permits)

    def data_received(self, data: bytes) -> None:
        """Some bytes of the gate."""
        try:
            for frame in self._frames.feed(data):
                if self._has_ended or self._is_turned_away:
                    return
                self._take(frame)
        except (LinkBroken, WireError) as error:
            self.cut_off(str(error))
        except Exception:  # noqa: BLE001 - one gate's trouble must not be the others'
            _log.exception("What %s sent could not be dealt with.", self.name)
            self.cut_off("an error of this pool; see above")

    def channel_closed(self) -> None:
        """The gate is gone."""
        self._end()

    def send(self, message: FromPool) -> None:
        """To the gate, with whatever else this turn brings."""
        self._outbox.put(encode(message))

    def send_encoded(self, frame: bytes) -> None:
        """The same, for what all gates are told."""
        self._outbox.put(frame)

    def cut_off(self, reason: str) -> None:
        """End the connection, with everything that this gate holds."""
        if not self._has_ended:
            _log.error("%s is cut off: %s", self.name, reason)
            self.close()

    def close(self) -> None:
        """The same without a complaint, after what is still to be said."""
        if not self._has_ended:
            self._outbox.flush()
            self._channel.close()
            self._end()

    def gave_back(self, number: int) -> None:
        """A permit holds nothing any more."""
        del self._permits[number]
        if self._has_ended and not self._permits:
            self.memory.close()

    def _take(self, frame: bytes) -> None:
        if self._is_welcome:
            self._obey(decode_from_gate(frame))
        else:
            self._greet(decode_hello(frame))

    def _greet(self, hello: Hello) -> None:
        self._timer.cancel()
        self.name = f"gate {hello.pid} of {self._channel.peer.account}"
        protocol = common_protocol(hello)
        if protocol is None:
            self._turn_away(
                f"This pool is Torchgate {self._shared.program} and speaks protocols {OLDEST_PROTOCOL} to "
                f"{NEWEST_PROTOCOL}; the gate is {hello.program[:64]} and speaks {hello.oldest} to {hello.newest}. "
                "Install the same version for both."
            )
            return
        refusal = self._keeper.refusal()
        if refusal:
            self._turn_away(refusal)
            return
        self._is_welcome = True
        _log.info("%s, Torchgate %s, is connected.", self.name, hello.program[:64])
        self._outbox.put(encode(Welcome(protocol, self._shared.program, self._shared.limits.max_permits)))
        self._outbox.put(self._keeper.catalogue_frame())

    def _turn_away(self, sentence: str) -> None:
        _log.error("%s is refused: %s", self.name, sentence)
        self._outbox.put(encode(Refused(sentence)))
        self._is_turned_away = True
        # Not at once: what the system has not taken when a channel is closed is lost.
        self._timer = asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.close)

    def _obey(self, message: FromGate) -> None:
        if isinstance(message, Admit):
            self._admit(message)
        elif isinstance(message, Run):
            self._permit(message.permit).run(message.fields)
        elif isinstance(message, Release):
            self._permit(message.permit).release()
        elif isinstance(message, Reserve):
            self._permit(message.permit).reserve(message.length)
        elif isinstance(message, Ping):
            self.send(Pong())
        else:
            self._ask(message)

    def _permit(self, number: int) -> PoolPermit:
        permit = self._permits.get(number)
        if permit is None or permit.is_released:
            raise LinkBroken(f"permit {number}, which it does not hold")
        return permit

    def _admit(self, admit: Admit) -> None:
        if admit.permit <= self._newest_permit or admit.announced_bytes < 0:
            raise LinkBroken(f"permit {admit.permit} of {admit.announced_bytes} bytes after {self._newest_permit}")
        if len(self._permits) >= self._shared.limits.max_permits:
            raise LinkBroken(f"more than {self._shared.limits.max_permits} permits")
        self._newest_permit = admit.permit
        self._permits[admit.permit] = PoolPermit(self, admit, self._principals.read(admit.principal))

    def _ask(self, ask: Ask) -> None:
        method = self._shared.methods.get(ask.method)
        if method is None:
            raise LinkBroken(f"the method {ask.method[:64]!r}, which the engine has not")
        if len(self._asks) >= self._shared.limits.max_asks:
            raise LinkBroken(f"more than {self._shared.limits.max_asks} questions at once")
        task = asyncio.get_running_loop().create_task(self._call(method, ask))
        self._asks.add(task)
        task.add_done_callback(self._asks.discard)

    async def _call(self, method: Method, ask: Ask) -> None:
        """Not taken back when the gate goes: a load that was begun is an administrator's, and not the gate's."""
        try:
            value = await method.call(self.engine, ask.arguments)
        except LinkBroken as error:
            self.cut_off(str(error))
        except TorchgateError as error:
            self.send(AskFailed(ask.ask, failure_of(error)))
        except Exception as error:  # noqa: BLE001 - the gate must hear of it, and the others must not
            _log.exception("%s of %s failed unexpectedly.", method.name, self.name)
            self.send(AskFailed(ask.ask, unexpected_failure(error)))
        else:
            self._keeper.refresh()
            self.send(Answer(ask.ask, value))

    def _end(self) -> None:
        """Give back all that this gate holds; at once, and without a word to anybody else."""
        if self._has_ended:
            return
        self._has_ended = True
        self._outbox.close()
        self._timer.cancel()
        lost = [found for permit in self._permits.values() if (found := permit.under_way) is not None]
        if self._permits:
            _log.warning("%s is gone; %d permits of it are given back.", self.name, len(self._permits))
            for permit in list(self._permits.values()):
                permit.release()
        else:
            self.memory.close()
        self._keeper.ended(self, lost)
