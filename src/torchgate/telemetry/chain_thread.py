"""The thread that puts a chain on disk, signs and rotates it, and writes what was queued meanwhile."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.clock import Clock
from torchgate.telemetry.chain_files import ChainFiles
from torchgate.telemetry.chain_state import ChainState, Queued
from torchgate.telemetry.ocsf import Occasion
from torchgate.telemetry.settings import AuditSettings

_logger = logging.getLogger("torchgate.telemetry")


class ChainThread:
    """Owns the files while `state.thread_owns_files`; the event loop does while not.

    Args:
        files: of the chain.
        state: shared with the event loop.
        settings: of `[audit]`.
        clock, wall_clock: seconds.
    """

    def __init__(
        self, files: ChainFiles, state: ChainState, settings: AuditSettings, *, clock: Clock, wall_clock: Clock
    ) -> None:
        self._files = files
        self._state = state
        self._settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._checkpoint_at = clock()
        # Windows makes a write wait for a flush of the same open file, and the event loop must not wait.
        self._writes_while_syncing = os.name != "nt"
        self._thread = threading.Thread(target=self._run, name="torchgate-audit", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._checkpoint_at = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """Write and sign what is left, seal the chain, give the files back. Blocks; safe to call twice."""
        with self._state.lock:
            self._state.is_stopping = True
            self._state.wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        state = self._state
        while self._take_over():
            try:
                if state.failure is not None:
                    self._recover()
                self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
                with state.lock:
                    state.fail(error)
                    state.thread_owns_files = False
        self._finish()

    def _take_over(self) -> bool:
        """Wait until there is something to do, then own the files; False: stop."""
        state = self._state
        with state.lock:
            while not state.is_stopping:
                wait_s = self._due_in()
                if wait_s is not None and wait_s <= 0:
                    state.thread_owns_files = state.failure is not None or not self._writes_while_syncing
                    return True
                state.wake.wait(wait_s)
            state.thread_owns_files = True
            return False

    def _due_in(self) -> float | None:
        """Seconds until there is something to do; None: nothing until woken. Needs the lock."""
        state, files, now = self._state, self._files, self._clock()
        if state.failure is not None:
            return state.retry_at - now
        if state.strict or files.segment_length >= self._settings.segment_bytes:
            return 0.0
        due = []
        if state.dirty_at is not None:
            due.append(state.dirty_at + self._settings.sync_interval_s - now)
        if files.size > files.checkpoint_size:
            due.append(self._checkpoint_at + self._settings.checkpoint_interval_s - now)
        return min(due) if due else None

    def _work(self) -> None:
        """Write, sync and sign, until nothing is left to do now."""
        state = self._state
        while True:
            with state.lock:
                batch = state.take_queue()
            if batch:
                self._write(batch)
            with state.lock:
                due_s = self._due_in()
                is_due = due_s is not None and due_s <= 0
                if not is_due and not state.queue:
                    state.thread_owns_files = False
                    return
            if is_due:
                self._sync_and_sign()

    def _sync_and_sign(self) -> None:
        """Put on disk what was written so far, sign it where that is due, and rotate.

        Where the system lets a file be written while it is synced, the event loop goes on writing meanwhile: what
        is signed was settled before the sync began.
        """
        state, files = self._state, self._files
        with state.lock:
            strict, dirty_at = state.take_strict(), state.dirty_at
            state.dirty_at = None
            statement = files.statement() if self._is_checkpoint_due() else None
            # Not before the queue is written: the order of the chain is the order of the lines.
            state.thread_owns_files = not self._writes_while_syncing or bool(state.queue)
        try:
            if dirty_at is not None:
                files.sync()
        except OSError:
            with state.lock:
                state.strict, state.dirty_at = strict + state.strict, dirty_at
            raise
        with state.lock:
            state.resolve(strict, None)
        if statement is not None:
            files.publish(statement)
            self._checkpoint_at = self._clock()
        with state.lock:
            state.thread_owns_files = True
            is_full = state.failure is None and files.segment_length >= self._settings.segment_bytes
        if is_full:
            files.sync()
            files.rotate()
            self._checkpoint_at = self._clock()

    def _is_checkpoint_due(self) -> bool:
        unsigned = self._files.size - self._files.checkpoint_size
        is_old = self._clock() - self._checkpoint_at >= self._settings.checkpoint_interval_s
        return unsigned >= self._settings.checkpoint_events or (unsigned > 0 and is_old)

    def _write(self, batch: list[Queued]) -> None:
        state = self._state
        try:
            self._files.append_all([(queued.line, queued.leaf) for queued in batch])
        except OSError:
            with state.lock:
                state.queue = batch + state.queue
            raise
        with state.lock:
            state.batch_written(batch)

    def _recover(self) -> None:
        """Write again: the first line that works says how many events were refused.

        Raises:
            OSError: it still fails.
        """
        state = self._state
        self._files.repair()
        with state.lock:
            refused = state.refused - state.refused_before_failure
            sentence = f"The audit trail is written again; {refused} events were refused. It failed by {state.failure}"
            event = LifecycleEvent(self._wall_clock(), "update", "audit", sentence)
            facts: Mapping[str, Any] = {"refused": refused, "failure": state.failure}
            line, leaf = state.next_line(Occasion(event, facts))
        self._files.append(line, leaf)
        with state.lock:
            state.advance(leaf)
            state.all_written()
        self._files.sync()
        with state.lock:
            state.failure = None
        _logger.warning("The audit trail is written again; %d events were refused.", refused)

    def _finish(self) -> None:
        """The last lines, the last checkpoint, the seal."""
        state = self._state
        try:
            if state.failure is not None:
                self._recover()
            with state.lock:
                batch = state.take_queue()
            if batch:
                self._write(batch)
            self._files.sync()
            with state.lock:
                state.resolve(state.take_strict(), None)
            self._files.seal(is_final=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            with state.lock:
                state.fail(error)
        finally:
            self._files.close()
