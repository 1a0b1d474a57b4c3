"""Events into a chain: written by the event loop itself while it may, by one thread while that syncs.

The loop writes a line directly as long as the thread does not own the files: a write into the operating system's
cache costs a few microseconds, a hand-over to another thread and back many times that. The thread takes the
files over to rotate, and on Windows to put lines on disk; meanwhile events wait in a bounded queue, and the thread
writes them, many at once. So a slow disk delays those who wait for it and does not stop the loop.
See docs/decisions/0008-audit-writes-on-the-event-loop.md.
"""

from __future__ import annotations

import asyncio

import msgspec

from torchgate.contract.audit_event import AuditEvent
from torchgate.contract.clock import Clock
from torchgate.telemetry.chain_files import ChainFiles
from torchgate.telemetry.chain_state import ChainState, Queued, Waiter
from torchgate.telemetry.chain_thread import ChainThread
from torchgate.telemetry.ocsf import Occasion, OcsfEncoder
from torchgate.telemetry.settings import AuditSettings


class AuditStatistics(msgspec.Struct, frozen=True):
    """How the trail is doing.

    Args:
        written: events in the trail since the start.
        refused: events that it could not take, whose answers did not leave.
        waiting: events in the queue now.
        unsynced_s: age of the oldest event that is not on disk yet; 0 where all are.
        unsigned: events that no checkpoint covers yet.
        is_available: whether the next event can be expected to be written.
    """

    written: int
    refused: int
    waiting: int
    unsynced_s: float
    unsigned: int
    is_available: bool


class ChainWriter:
    """The only writer of one chain.

    Args:
        files: of the chain; owned from here on.
        encoder: of the chain.
        settings: of `[audit]`.
        clock, wall_clock: seconds.
    """

    def __init__(
        self, files: ChainFiles, encoder: OcsfEncoder, settings: AuditSettings, *, clock: Clock, wall_clock: Clock
    ) -> None:
        self._files = files
        self._settings = settings
        self._clock = clock
        self._state = ChainState(encoder, settings, clock, files.folder)
        self._thread = ChainThread(files, self._state, settings, clock=clock, wall_clock=wall_clock)

    def start(self, opening: list[Occasion]) -> None:
        """Write the chain's first lines, sign them, and start the thread. Blocks; before the first `append`.

        Raises:
            OSError: they can't be written.
        """
        state = self._state
        with state.lock:
            for occasion in opening:
                line, leaf = state.next_line(occasion)
                self._files.append(line, leaf)
                state.advance(leaf)
            state.all_written()
            self._files.sync()
            state.dirty_at = None
            self._files.publish(self._files.statement())
        self._thread.start()

    def append(self, event: AuditEvent, *, is_strict: bool) -> Waiter | None:
        """Add an event; on the event loop only.

        Returns:
            None: it is with the operating system, which is all that was asked. Else what to await until it is as
            durable as that, or, `is_strict`, on disk.

        Raises:
            AuditUnavailable: the trail does not take it.
        """
        state = self._state
        with state.lock:
            state.check_room()
            line, leaf = state.next_line(event)
            if state.thread_owns_files:
                waiter = self._new_waiter()
                state.enqueue(Queued(line, leaf, waiter, is_strict))
                return waiter
            try:
                self._files.append(line, leaf)
            except OSError as error:
                state.fail(error, lost=1)
                raise state.unavailable() from None
            was_dirty = state.dirty_at is not None
            state.advance(leaf)
            state.all_written()
            if is_strict:
                waiter = self._new_waiter()
                state.strict.append(waiter)
                state.wake.notify()
                return waiter
            if not was_dirty or self._files.segment_length >= self._settings.segment_bytes:
                state.wake.notify()
            return None

    def statistics(self) -> AuditStatistics:
        """How it is doing now; from any thread."""
        state = self._state
        with state.lock:
            return AuditStatistics(
                written=state.written_sequence,
                refused=state.refused,
                waiting=len(state.queue) + len(state.strict),
                unsynced_s=0.0 if state.dirty_at is None else max(0.0, self._clock() - state.dirty_at),
                unsigned=state.written_sequence - self._files.checkpoint_size,
                is_available=self.is_available,
            )

    @property
    def is_available(self) -> bool:
        """Whether it would take an event now."""
        state = self._state
        return state.failure is None and not state.is_stopping and state.has_room()

    def stop(self) -> None:
        """Write and sign what is left, seal the chain, and give the files back. Blocks; safe to call twice."""
        self._thread.stop()

    def _new_waiter(self) -> Waiter:
        self._state.loop = loop = asyncio.get_running_loop()
        return loop.create_future()
