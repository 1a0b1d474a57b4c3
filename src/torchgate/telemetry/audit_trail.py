"""The audit trail of one server process: a chain of its own in a folder that others may write to as well."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

import msgspec

from torchgate.contract.audit_event import AuditEvent, LifecycleEvent, PolicyEvent, RequestEvent
from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.counted import counted
from torchgate.contract.errors import AuditUnavailable
from torchgate.telemetry.chain_files import ChainFiles
from torchgate.telemetry.chain_opening import PreviousChain, TornLine, previous_chains, tidy_up
from torchgate.telemetry.chain_writer import AuditStatistics, ChainWriter
from torchgate.telemetry.checkpoint import PublicKey, Signer
from torchgate.telemetry.instance_lock import InstanceLock
from torchgate.telemetry.ocsf import Occasion, OcsfEncoder, is_refused
from torchgate.telemetry.segment import write_durably
from torchgate.telemetry.settings import AuditSettings
from torchgate.telemetry.signing_key import host_name

_CHANGING_ACTIONS = frozenset({"load", "unload", "admin"})


class AuditTrail:
    """Takes events and makes them as durable as their kind asks (contract.audit_sink.AuditSink).

    Args:
        folder: of the trail; made where it is missing. Several instances may share it.
        settings: `[audit]`.
        signer: of checkpoints; its public key is written into the folder.
        version: of the server, for the events.
        host: of this machine; empty: as the system names it.
        clock, wall_clock: seconds.
    """

    def __init__(
        self,
        folder: Path,
        settings: AuditSettings,
        *,
        signer: Signer,
        version: str,
        clock: Clock = monotonic_s,
        wall_clock: Clock = time.time,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._signer = signer
        self._version = version
        self._clock = clock
        self._wall_clock = wall_clock
        self._writer: ChainWriter | None = None
        self._lock: InstanceLock | None = None
        self.chain = ""

    async def start(self) -> None:
        """Open a chain: tidy up after dead instances, name the chains before, sign the first checkpoint.

        Raises:
            OSError: the trail can't be written; the server must not start.
        """
        await asyncio.to_thread(self._open)

    async def write(self, event: AuditEvent) -> None:
        """Return once the event is as durable as its kind asks. Order of calls is order in the chain.

        Raises:
            AuditUnavailable: it is not; the answer may not leave.
        """
        if self._writer is None:
            raise AuditUnavailable("The server is not recording requests yet. Try again shortly.", retry_after_s=1.0)
        waiter = self._writer.append(event, is_strict=self._is_strict(event))
        if waiter is not None:
            await waiter

    @property
    def is_available(self) -> bool:
        """Whether the next event can be expected to be written."""
        return self._writer is not None and self._writer.is_available

    def statistics(self) -> AuditStatistics:
        """How it is doing, for metrics; all zero before `start`."""
        return self._writer.statistics() if self._writer else AuditStatistics(0, 0, 0, 0.0, 0, False)

    async def close(self) -> None:
        """Write, sync and sign what is left, and end the chain. Safe to call twice; nothing is taken after it."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.stop)
        if self._lock is not None:
            lock, self._lock = self._lock, None
            lock.release()

    def _is_strict(self, event: AuditEvent) -> bool:
        settings = self._settings
        if type(event) is RequestEvent:
            if event.action in _CHANGING_ACTIONS:
                return settings.durability_admin == "strict"
            level = settings.durability_refused if is_refused(event) else settings.durability_allowed
            return level == "strict"
        if isinstance(event, LifecycleEvent | PolicyEvent):
            return settings.durability_admin == "strict"
        return settings.durability_refused == "strict"

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        host, instance, started_ms = host_name(), secrets.token_hex(4), int(self._wall_clock() * 1000)
        self.chain = f"{host}-{instance}-{started_ms}"
        torn = tidy_up(self._folder)
        previous = previous_chains(self._folder)
        self._lock = InstanceLock(self._folder / f"audit-{self.chain}.live", create=True)
        try:
            publish_key(self._folder, self._signer.public_key)
            encoder = OcsfEncoder(
                host=host, version=self._version, chain=self.chain, uid_prefix=f"{started_ms:012x}-{instance}-"
            )
            files = ChainFiles(self._folder, self.chain, self._signer)
            writer = ChainWriter(files, encoder, self._settings, clock=self._clock, wall_clock=self._wall_clock)
            writer.start(self._opening(previous, torn))
        except OSError:
            self._lock.release()
            self._lock = None
            raise
        self._writer = writer

    def _opening(self, previous: tuple[PreviousChain, ...], torn: list[TornLine]) -> list[Occasion]:
        now = self._wall_clock()
        sentence = f"Audit chain {self.chain} is opened; it names {counted(len(previous), 'chain')} before it."
        facts = {"previous": [msgspec.to_builtins(chain) for chain in previous]}
        opening = [Occasion(LifecycleEvent(now, "start", "audit", sentence), facts)]
        for line in torn:
            sentence = (
                f"A dead instance had left {line.length} bytes of an unfinished line in {line.segment}; "
                "they were moved to a .torn file. No answer had left for it."
            )
            event = LifecycleEvent(now, "update", "audit", sentence)
            opening.append(Occasion(event, {"torn": msgspec.to_builtins(line)}))
        return opening


def publish_key(folder: Path, key: PublicKey) -> None:
    """Write a public key beside the trail, where `audit verify` finds it if it is given no other."""
    path = folder / f"audit-key-{key.key_id.hex()}.pub"
    if not path.exists():
        write_durably(path, f"{key}\n".encode())
