"""What the event loop and the audit thread share about a chain that is being written."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from typing import NamedTuple

from torchgate.contract.audit_event import AuditEvent
from torchgate.contract.clock import Clock
from torchgate.contract.errors import AuditUnavailable
from torchgate.telemetry.merkle_tree import leaf_hash
from torchgate.telemetry.ocsf import Occasion, OcsfEncoder
from torchgate.telemetry.ocsf_frames import ChainPlace
from torchgate.telemetry.settings import AuditSettings

RETRY_S = 1.0
"""Seconds between attempts to write again after a failure: soon for people, rare for a broken disk."""

_logger = logging.getLogger("torchgate.telemetry")

Waiter = asyncio.Future[None]


class Queued(NamedTuple):
    """An encoded event that waits to be written."""

    line: bytes
    leaf: bytes
    waiter: Waiter
    is_strict: bool


class ChainState:
    """The end of the chain, what waits, and whether writing works. Everything here needs `lock` held.

    Args:
        encoder: of the chain.
        settings: of `[audit]`.
        clock: monotonic.
        folder: of the trail, for the log.
    """

    def __init__(self, encoder: OcsfEncoder, settings: AuditSettings, clock: Clock, folder: Path) -> None:
        self._folder = folder
        self._encoder = encoder
        self._settings = settings
        self._clock = clock
        self.lock = threading.Lock()
        self.wake = threading.Condition(self.lock)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.sequence = 0  # of the chain's end, counting what is queued
        self.previous = ""  # hash of that line
        self.written_sequence = 0  # of the last line that is in the file
        self.written_previous = ""
        self.queue: list[Queued] = []
        self.queue_bytes = 0
        self.strict: list[Waiter] = []  # written, and waiting for the disk
        self.dirty_at: float | None = None  # when the oldest line that is not on disk was written
        self.thread_owns_files = False
        self.is_stopping = False
        self.failure: str | None = None
        self.retry_at = 0.0
        self.refused = 0
        self.refused_before_failure = 0

    def next_line(self, event: AuditEvent | Occasion) -> tuple[bytes, bytes]:
        """The event as the chain's next line, and its hash. The chain does not have it before `advance`."""
        line = self._encoder.encode(event, ChainPlace(self.sequence + 1, self.previous))
        return line, leaf_hash(line[:-1])

    def advance(self, leaf: bytes) -> None:
        """The chain's end is now the line with this hash, queued or written."""
        self.sequence += 1
        self.previous = leaf.hex()

    def all_written(self) -> None:
        """The chain's end is in the file."""
        self.written_sequence, self.written_previous = self.sequence, self.previous
        if self.dirty_at is None:
            self.dirty_at = self._clock()

    def batch_written(self, batch: list[Queued]) -> None:
        """These are in the file; those that ask for no more are told, the others wait for the disk."""
        self.written_sequence += len(batch)
        self.written_previous = batch[-1].leaf.hex()
        if self.dirty_at is None:
            self.dirty_at = self._clock()
        self.strict += [queued.waiter for queued in batch if queued.is_strict]
        self.resolve([queued.waiter for queued in batch if not queued.is_strict], None)

    def enqueue(self, queued: Queued) -> None:
        """Keep an event until the thread writes it."""
        self.queue.append(queued)
        self.queue_bytes += len(queued.line)
        self.advance(queued.leaf)

    def take_queue(self) -> list[Queued]:
        """All that waits to be written; it is the caller's now."""
        batch, self.queue, self.queue_bytes = self.queue, [], 0
        return batch

    def take_strict(self) -> list[Waiter]:
        """All that wait for the disk; they are the caller's now."""
        strict, self.strict = self.strict, []
        return strict

    def has_room(self) -> bool:
        """Whether one more event may wait."""
        events = len(self.queue) + len(self.strict)
        return events < self._settings.max_queue_events and self.queue_bytes < self._settings.max_queue_bytes

    def check_room(self) -> None:
        """Nothing, where an event would be taken.

        Raises:
            AuditUnavailable: it would not.
        """
        if self.failure is None and not self.is_stopping and self.has_room():
            return
        self.refused += 1
        if self.failure is not None or self.is_stopping:
            raise self.unavailable()
        raise AuditUnavailable(
            "The server can't record requests as fast as they come. Try again shortly.",
            detail=f"the audit queue is full: {len(self.queue)} events wait to be written and {len(self.strict)} for"
            f" the disk; audit.max_queue_events is {self._settings.max_queue_events},"
            f" audit.max_queue_bytes {self._settings.max_queue_bytes}",
            retry_after_s=RETRY_S,
        )

    def unavailable(self) -> AuditUnavailable:
        """What those are told whose event is not taken."""
        return AuditUnavailable(
            "The server can't record this request, so that it must not answer it. Try again later.",
            detail=f"audit: {self.failure or 'the trail is closed'}",
            retry_after_s=5.0,
        )

    def fail(self, error: Exception, lost: int = 0) -> None:
        """Nothing more is taken until writing works again; all who wait are told.

        Args:
            error: why.
            lost: events beside the queue that are not in the file.
        """
        reason = f"{type(error).__name__}: {error}"
        if self.failure is None:
            _logger.error("The audit trail in %s can't be written, so no request is answered: %s", self._folder, reason)
            self.refused_before_failure = self.refused
        self.failure = reason
        self.retry_at = self._clock() + RETRY_S
        self.refused += lost + len(self.queue) + len(self.strict)
        waiters = [queued.waiter for queued in self.take_queue()] + self.take_strict()
        self.sequence, self.previous = self.written_sequence, self.written_previous
        self.resolve(waiters, self.unavailable())
        self.wake.notify()

    def resolve(self, waiters: list[Waiter], error: AuditUnavailable | None) -> None:
        """Tell all who wait, with one call into the loop."""
        if waiters and self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self.loop.call_soon_threadsafe(_resolve_all, waiters, error)


def _resolve_all(waiters: list[Waiter], error: AuditUnavailable | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue  # its caller went away
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
