"""The pool's end of the link: many gates, one engine, and the same picture of all models for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.inference import Engine
from torchgate.contract.local_pipes import PeerChannel
from torchgate.contract.os_services import Sections
from torchgate.engine.link.calls import asked_methods
from torchgate.engine.link.gate_session import GateSession, LinkLimits, SharedByGates
from torchgate.engine.link.lost_requests import LostRequest, lost_requests
from torchgate.engine.link.wire import Catalogue, encode

_log = logging.getLogger("torchgate.engine")

_LOOK_INTERVAL_S = 1.0
"""A look for changes that nobody told of, and for sections that are gone."""


class PoolEnd:
    """Serves an engine to gates.

    Args:
        engine: any of contract.inference.Engine.
        sections: of this operating system.
        program: our version.
        limits: for each gate.
        clock: monotonic.
        on_lifecycle: is told of requests whose gate went away.

    Process: the event loop only.
    """

    def __init__(
        self,
        engine: Engine,
        sections: Sections,
        *,
        program: str,
        limits: LinkLimits | None = None,
        clock: Clock = monotonic_s,
        on_lifecycle: Callable[[LifecycleEvent], None] = lambda _: None,
    ) -> None:
        self._on_lifecycle = on_lifecycle
        self._limits = limits or LinkLimits()
        self._engine = engine
        self._shared = SharedByGates(engine, asked_methods(), sections, program, clock, self._limits)
        self._sessions: set[GateSession] = set()
        self._catalogue = Catalogue((), {}, is_warm=False)
        self._frame = encode(self._catalogue)
        self._watch: asyncio.Task[None] | None = None
        self._is_refresh_due = False
        self._is_closed = False

    @property
    def gates(self) -> tuple[GateSession, ...]:
        """Those that are connected and welcome."""
        return tuple(session for session in self._sessions if session.is_ready)

    def start(self) -> None:
        """Begin to look after the gates."""
        self.refresh()
        self._watch = asyncio.get_running_loop().create_task(self._look())

    def connected(self, channel: PeerChannel) -> GateSession:
        """Who listens to a gate that has connected, and whose account is allowed."""
        session = GateSession(self._shared, channel, self)
        self._sessions.add(session)
        return session

    async def close(self) -> None:
        """Take no more gates and end those that are there, after what was already answered."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for session in list(self._sessions):
            session.close()

    def changed(self) -> None:
        """Something that gates know of models may have changed; they are told at the end of this turn."""
        if not self._is_refresh_due and not self._is_closed:
            self._is_refresh_due = True
            asyncio.get_running_loop().call_soon(self.refresh)

    def refresh(self) -> None:
        """Tell all gates of the models, if there is anything new."""
        self._is_refresh_due = False
        models = self._engine.models()
        names = {model.ref.name for model in models}
        defaults = {name: ref.version for name in sorted(names) if (ref := self._engine.resolve(name, None))}
        catalogue = Catalogue(models, defaults, self._engine.is_warm, self._engine.not_ready_reason)
        if catalogue == self._catalogue:
            return
        self._catalogue, self._frame = catalogue, encode(catalogue)
        for session in self.gates:
            session.send_encoded(self._frame)

    def refusal(self) -> str:
        """Why no further gate is taken now; empty where one is."""
        if self._is_closed:
            return "This pool is stopping."
        if len(self.gates) >= self._limits.max_gates:
            return f"This pool has {self._limits.max_gates} gates already, and takes no more."
        return ""

    def catalogue_frame(self) -> bytes:
        """What a gate is told of all models, encoded."""
        return self._frame

    def ended(self, session: GateSession, lost: list[LostRequest]) -> None:
        """This gate is gone; what was under way for it is told, unless this pool ends itself."""
        self._sessions.discard(session)
        if not self._is_closed:
            for event in lost_requests(session.name, lost, time.time()):
                self._on_lifecycle(event)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_S)
            self.refresh()
            for session in self.gates:
                session.memory.sweep()
