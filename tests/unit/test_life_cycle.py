"""What the audit trail is told besides requests."""

from __future__ import annotations

import asyncio

from torchgate.access.identity.refusals import RefusalLimiter
from torchgate.access.settings import RefusalSettings
from torchgate.contract.audit_event import AuditEvent, LifecycleEvent, RefusalsEvent
from torchgate.contract.errors import AuditUnavailable
from torchgate.life_cycle import LifeCycle


class Sink:
    """Keeps what it is given, or refuses all of it."""

    def __init__(self, *, is_available: bool = True) -> None:
        self.is_available = is_available
        self.events: list[AuditEvent] = []

    async def write(self, event: AuditEvent) -> None:
        if not self.is_available:
            raise AuditUnavailable("no")
        self.events.append(event)

    def told(self) -> list[tuple[str, str]]:
        return [(event.activity, event.subject) for event in self.events if isinstance(event, LifecycleEvent)]


def _limiter() -> RefusalLimiter:
    settings = RefusalSettings(burst=1, per_minute=1)
    return RefusalLimiter(settings, front_door="direct", clock=lambda: 1.0, wall_clock=lambda: 2.0)


async def test_start_and_stop_are_told_around_everything_else():
    """What the engine notes is written while the server runs, or at its end, in order."""
    sink = Sink()
    life = LifeCycle(sink, wall_clock=lambda: 5.0)
    loaded = LifecycleEvent(6.0, "start", "model m:1", "It is ready.")
    failed = LifecycleEvent(7.0, "failure", "model m:1", "model.py is missing.")
    async with life.of_server("1.2"), life.watching(_limiter(), lambda _: None):
        life.note(loaded)
        for _ in range(5):
            await asyncio.sleep(0)
        assert sink.events[-1] == loaded
        life.note(failed)
    assert sink.told() == [("start", "server"), ("start", "model m:1"), ("failure", "model m:1"), ("stop", "server")]
    assert sink.events[2] == failed


async def test_refusals_that_were_only_counted_are_told_at_the_end_at_the_latest():
    """Nothing counted is lost by a stop."""
    sink, limiter = Sink(), _limiter()
    counted: list[RefusalsEvent] = []
    async with LifeCycle(sink).watching(limiter, counted.append):
        for _ in range(4):
            limiter.take("10.0.0.1")
    assert [event.count for event in counted] == [3]
    assert counted[0] in sink.events


async def test_a_trail_that_takes_nothing_does_not_keep_the_server_from_stopping():
    sink = Sink(is_available=False)
    life = LifeCycle(sink)
    async with life.of_server("1"), life.watching(_limiter(), lambda _: None):
        life.note(LifecycleEvent(1.0, "start", "model m:1", "It is ready."))
        await asyncio.sleep(0)
    assert sink.events == []
