"""Events into a chain: written by the event loop itself while it may, by one thread while that syncs.

The loop writes a line directly as long as the thread does not own the files: a write into the operating system's
cache costs a few microseconds, a hand-over to another thread and back many times that. The thread takes the
files over to put lines on disk, sign and rotate; meanwhile events wait in a bounded queue, and the thread
writes them, many at once. So a slow disk delays those who wait for it and never stops the loop.
See docs/decisions/audit-writes-on-the-event-loop.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from torchgate.contract.audit_event import AuditEvent, LifecycleEvent
from torchgate.contract.clock import Clock
from torchgate.contract.errors import AuditUnavailable
from torchgate.telemetry.chain_files import ChainFiles
from torchgate.telemetry.merkle_tree import leaf_hash
from torchgate.telemetry.ocsf import ChainPlace, Occasion, OcsfEncoder
from torchgate.telemetry.settings import AuditSettings

_RETRY_S = 1.0  # between attempts to write again after a failure: soon for people, rare for a broken disk
_logger = logging.getLogger("torchgate.telemetry")

Waiter = asyncio.Future[None]


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


class _Queued(NamedTuple):
    line: bytes
    leaf: bytes
    waiter: Waiter
    is_strict: bool


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
        self._encoder = encoder
        self._settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="torchgate-audit", daemon=True)
        # The chain's end, counting what is queued; guarded by the lock.
        self._sequence = 0
        self._previous = ""
        self._written_previous = ""
        # What waits; guarded by the lock.
        self._queue: list[_Queued] = []
        self._queue_bytes = 0
        self._strict: list[Waiter] = []  # written, and waiting for the disk
        self._dirty_at: float | None = None  # when the oldest line that is not on disk was written
        self._checkpoint_at = clock()
        self._thread_owns_files = False
        self._stopping = False
        self._failure: str | None = None
        self._retry_at = 0.0
        self._refused = 0
        self._refused_before_failure = 0

    def start(self, opening: list[Occasion]) -> None:
        """Write the chain's first lines, sign them, and start the thread. Blocks; before the first `append`.

        Raises:
            OSError: they can't be written.
        """
        for occasion in opening:
            line, leaf = self._next_line(occasion)
            self._files.append(line, leaf)
            self._advance(leaf)
            self._written_previous = self._previous
        self._files.sync()
        self._files.checkpoint()
        self._checkpoint_at = self._clock()
        self._thread.start()

    def append(self, event: AuditEvent, *, is_strict: bool) -> Waiter | None:
        """Add an event; on the event loop only.

        Returns:
            None: it is with the operating system, which is all that was asked. Else what to await until it is as
            durable as that, or, `is_strict`, on disk.

        Raises:
            AuditUnavailable: the trail does not take it.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self._loop = loop
            self._check_room()
            line, leaf = self._next_line(event)
            if self._thread_owns_files:
                waiter: Waiter = loop.create_future()
                self._queue.append(_Queued(line, leaf, waiter, is_strict))
                self._queue_bytes += len(line)
                self._advance(leaf)
                return waiter
            try:
                self._files.append(line, leaf)
            except OSError as error:
                self._fail(error)
                raise self._unavailable() from None
            self._advance(leaf)
            self._written_previous = self._previous
            return self._after_write(loop, is_strict=is_strict)

    def statistics(self) -> AuditStatistics:
        """How it is doing now; from any thread."""
        with self._lock:
            size = self._files.size
            return AuditStatistics(
                written=size,
                refused=self._refused,
                waiting=len(self._queue) + len(self._strict),
                unsynced_s=0.0 if self._dirty_at is None else max(0.0, self._clock() - self._dirty_at),
                unsigned=size - self._files.checkpoint_size,
                is_available=self.is_available,
            )

    @property
    def is_available(self) -> bool:
        """Whether it would take an event now."""
        return self._failure is None and not self._stopping and self._has_room()

    def stop(self) -> None:
        """Write and sign what is left, seal the chain, and give the files back. Blocks; safe to call twice."""
        with self._lock:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    # ---- with the lock held --------------------------------------------------------------------------------------

    def _check_room(self) -> None:
        if self._failure is not None or self._stopping:
            self._refused += 1
            raise self._unavailable()
        if not self._has_room():
            self._refused += 1
            raise AuditUnavailable(
                "The server can't record requests as fast as they come. Try again shortly.",
                detail=f"the audit queue is full: {len(self._queue)} events wait to be written, {len(self._strict)} for"
                f" the disk; audit.max_queue_events is {self._settings.max_queue_events}",
                retry_after_s=_RETRY_S,
            )

    def _has_room(self) -> bool:
        events = len(self._queue) + len(self._strict)
        return events < self._settings.max_queue_events and self._queue_bytes < self._settings.max_queue_bytes

    def _unavailable(self) -> AuditUnavailable:
        return AuditUnavailable(
            "The server can't record this request, so that it must not answer it. Try again later.",
            detail=f"audit: {self._failure or 'the trail is closed'}",
            retry_after_s=5.0,
        )

    def _next_line(self, event: AuditEvent | Occasion) -> tuple[bytes, bytes]:
        line = self._encoder.encode(event, ChainPlace(self._sequence + 1, self._previous))
        return line, leaf_hash(line[:-1])

    def _advance(self, leaf: bytes) -> None:
        self._sequence += 1
        self._previous = leaf.hex()

    def _after_write(self, loop: asyncio.AbstractEventLoop, *, is_strict: bool) -> Waiter | None:
        was_dirty = self._dirty_at is not None
        if not was_dirty:
            self._dirty_at = self._clock()
        waiter = None
        if is_strict:
            waiter = loop.create_future()
            self._strict.append(waiter)
        if is_strict or not was_dirty or self._files.segment_length >= self._settings.segment_bytes:
            self._wake.notify()
        return waiter

    def _fail(self, error: Exception) -> None:
        """Nothing more is taken until writing works again; whoever waits is told."""
        reason = f"{type(error).__name__}: {error}"
        if self._failure is None:
            _logger.error("The audit trail can't be written, so no request is answered: %s", reason)
            self._refused_before_failure = self._refused
        self._failure = reason
        self._retry_at = self._clock() + _RETRY_S
        self._refused += 1 + len(self._queue)
        waiters = [queued.waiter for queued in self._queue] + self._strict
        self._queue, self._strict, self._queue_bytes = [], [], 0
        self._sequence, self._previous = self._files.size, self._written_previous
        self._resolve(waiters, self._unavailable())
        self._wake.notify()

    def _resolve(self, waiters: list[Waiter], error: AuditUnavailable | None) -> None:
        """Tell all who wait, with one call into the loop."""
        if waiters and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_resolve_all, waiters, error)

    # ---- on the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._take_over():
            try:
                if self._failure is not None:
                    self._recover()
                self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told, and nothing may leave
                with self._lock:
                    self._fail(error)
                    self._thread_owns_files = False
        self._finish()

    def _take_over(self) -> bool:
        """Wait until there is something to do, then own the files; False: stop."""
        with self._lock:
            while not self._stopping:
                wait_s = self._due_in()
                if wait_s is not None and wait_s <= 0:
                    self._thread_owns_files = True
                    return True
                self._wake.wait(wait_s)
            self._thread_owns_files = True
            return False

    def _due_in(self) -> float | None:
        """Seconds until the thread must act; None: until it is woken."""
        now = self._clock()
        if self._failure is not None:
            return self._retry_at - now
        if self._strict or self._files.segment_length >= self._settings.segment_bytes:
            return 0.0
        due = []
        if self._dirty_at is not None:
            due.append(self._dirty_at + self._settings.sync_interval_s - now)
        if self._files.size > self._files.checkpoint_size:
            due.append(self._checkpoint_at + self._settings.checkpoint_interval_s - now)
        return min(due) if due else None

    def _work(self) -> None:
        """Sync, sign, rotate, and write what was queued meanwhile, until nothing is left to do now."""
        while True:
            self._sync_and_sign()
            with self._lock:
                batch, self._queue, self._queue_bytes = self._queue, [], 0
                if not batch:
                    self._thread_owns_files = False
                    return
            self._write_batch(batch)
            with self._lock:
                due_s = self._due_in()
                if not self._queue and (due_s is None or due_s > 0):
                    self._thread_owns_files = False
                    return

    def _sync_and_sign(self) -> None:
        with self._lock:
            strict, self._strict = self._strict, []
            was_dirty, self._dirty_at = self._dirty_at, None
        try:
            if was_dirty is not None:
                self._files.sync()
        except OSError:
            with self._lock:
                self._strict = strict + self._strict
                self._dirty_at = was_dirty
            raise
        self._resolve(strict, None)
        if self._files.segment_length >= self._settings.segment_bytes:
            self._files.rotate()
            self._checkpoint_at = self._clock()
        elif self._is_checkpoint_due():
            self._files.checkpoint()
            self._checkpoint_at = self._clock()

    def _is_checkpoint_due(self) -> bool:
        unsigned = self._files.size - self._files.checkpoint_size
        is_old = self._clock() - self._checkpoint_at >= self._settings.checkpoint_interval_s
        return unsigned >= self._settings.checkpoint_events or (unsigned > 0 and is_old)

    def _write_batch(self, batch: list[_Queued]) -> None:
        try:
            self._files.append_all([(queued.line, queued.leaf) for queued in batch])
        except OSError:
            with self._lock:
                self._queue = batch + self._queue
            raise
        with self._lock:
            self._written_previous = batch[-1].leaf.hex()
            if self._dirty_at is None:
                self._dirty_at = self._clock()
            self._strict += [queued.waiter for queued in batch if queued.is_strict]
        self._resolve([queued.waiter for queued in batch if not queued.is_strict], None)

    def _recover(self) -> None:
        """Try to write again; the first line that works says for how many requests it did not.

        Raises:
            OSError: it still fails.
        """
        self._files.repair()
        with self._lock:
            refused = self._refused - self._refused_before_failure
            sentence = f"The audit trail is written again. {refused} events were refused. It had failed: {self._failure}"
            event = LifecycleEvent(self._wall_clock(), "update", "audit", sentence)
            facts: Mapping[str, Any] = {"refused": refused, "failure": self._failure}
            line, leaf = self._next_line(Occasion(event, facts))
        self._files.append(line, leaf)
        self._written_previous = leaf.hex()
        with self._lock:
            self._advance(leaf)
        self._files.sync()
        with self._lock:
            self._failure = None
            self._dirty_at = None
        _logger.warning("The audit trail is written again; %d events were refused.", refused)

    def _finish(self) -> None:
        """The last lines, the last checkpoint, the seal."""
        try:
            if self._failure is not None:
                self._recover()
            with self._lock:
                batch, self._queue, self._queue_bytes = self._queue, [], 0
            if batch:
                self._write_batch(batch)
            self._files.sync()
            with self._lock:
                strict, self._strict = self._strict, []
            self._resolve(strict, None)
            self._files.seal(is_final=True)
        except OSError as error:
            _logger.error("The audit trail could not be closed properly: %s", error)  # noqa: TRY400 - no traceback needed
            with self._lock:
                self._fail(error)
        finally:
            self._files.close()


def _resolve_all(waiters: list[Waiter], error: AuditUnavailable | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue  # its caller went away
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
