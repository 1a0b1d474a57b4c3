"""The engine: every model version with its room and queue, loaded in the background, stopped in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.back_end import BackEnd
from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import TorchgateError, Unavailable, UnknownModel
from torchgate.contract.inference import ModelDescription, ModelStatistics, Permit
from torchgate.contract.principal import Principal
from torchgate.engine.catalog import Catalog, CatalogEntry
from torchgate.engine.digest import DigestRefused, folder_digest
from torchgate.engine.permit import EnginePermit
from torchgate.engine.served_version import ServedVersion
from torchgate.engine.settings import EngineSettings
from torchgate.engine.shared import Shared
from torchgate.engine.trusted_code import Examined, nothing_signed

_log = logging.getLogger("torchgate.engine")

_RETRY_STOPPING_S = 10.0
"""Told to callers of a server that stops: IIS starts the next one meanwhile."""

_ACTIVITIES = {"ready": "start", "failed": "failure", "unloaded": "stop"}


class Scheduler:
    """Implements contract.inference.Engine over one back end.

    Args:
        catalog: what there is.
        back_end: what runs it.
        settings: bounds.
        clock: monotonic, for deadlines.
        on_lifecycle: told of versions that become ready, fail, or are unloaded.
        digest: of the folder of a version whose code is allowed; on a thread; raises DigestRefused or OSError.
        examine_signed: what to load of any other version, and its digest; as `digest`.

    Process: the event loop only.
    """

    def __init__(  # noqa: PLR0913 - what an engine needs, each once
        self,
        catalog: Catalog,
        back_end: BackEnd,
        settings: EngineSettings,
        clock: Clock = monotonic_s,
        *,
        on_lifecycle: Callable[[LifecycleEvent], None] | None = None,
        digest: Callable[[Path], str] = folder_digest,
        examine_signed: Callable[[CatalogEntry], Examined] = nothing_signed,
    ) -> None:
        self._shared = Shared(clock) if on_lifecycle is None else Shared(clock, on_lifecycle=on_lifecycle)
        self._defaults = dict(catalog.defaults)
        self._back_end = back_end
        self._on_lifecycle = on_lifecycle
        self._digest = digest
        self._examine_signed = examine_signed
        self._versions = {
            ref: ServedVersion(catalog.entries[ref], back_end, settings, self._shared, self._changed)
            for ref in sorted(catalog.entries)
        }
        self._loading: list[asyncio.Task[None]] = []
        self._watchers: list[Callable[[], None]] = []
        self._is_stopping = False

    async def start(self) -> None:
        """Begin to load every version; returns at once."""
        sound = [version for version in self._versions.values() if not version.entry.mistake]
        self._back_end.expect([version.artifact for version in sound])
        self._loading = [asyncio.create_task(self._load(version)) for version in sound]
        for version in self._versions.values():
            if version.entry.mistake:
                self._tell(version)

    async def stop(self, drain_s: float) -> None:
        """Take nothing more, finish what was taken, but at most for so long; then end the back end."""
        self._is_stopping = True
        for task in self._loading:
            task.cancel()
        left = sum(await asyncio.gather(*(version.wait_idle(drain_s) for version in self._versions.values())))
        if left:
            _log.warning("%d requests did not end within %g s and are given up.", left, drain_s)
        for version in self._versions.values():
            version.dispatcher.give_up(self._stopping())
        await self._back_end.stop()
        for version in self._versions.values():
            await version.dispatcher.close(self._stopping())
            version.change("unloaded", "the server has stopped", 0)
        if self._loading:
            await asyncio.wait(self._loading)

    def watch(self, on_change: Callable[[], None]) -> None:
        """Be told, after the fact, whenever what `resolve`, `describe`, `models` and `is_warm` say may have changed."""
        self._watchers.append(on_change)

    def resolve(self, name: str, version: str | None) -> ModelRef | None:
        """The model version that a request means, byte for byte; None if there is none. No version: the default."""
        wanted = version if version is not None else self._defaults.get(name)
        if wanted is None:
            return None
        found = self._versions.get(ModelRef(name, wanted))
        return found.ref if found is not None else None

    def describe(self, ref: ModelRef) -> ModelDescription | None:
        """None when the version is gone."""
        version = self._versions.get(ref)
        return version.description if version is not None else None

    async def statistics(self, ref: ModelRef) -> ModelStatistics | None:
        """None when the version is gone."""
        version = self._versions.get(ref)
        return version.dispatcher.statistics.record if version is not None else None

    def models(self) -> tuple[ModelDescription, ...]:
        """All versions, by name and version."""
        return tuple([version.description for version in self._versions.values()])

    async def admit(self, ref: ModelRef, principal: Principal, announced_bytes: int) -> Permit:
        """Room for one request. The principal's quotas are asked here, once there are some.

        Raises:
            CircuitOpen, ModelNotReady, Overloaded, UnknownModel, Unavailable: as contract.inference.Engine says.
        """
        version = self._versions.get(ref)
        if version is None:
            raise UnknownModel(f"There is no model '{ref.name}' version '{ref.version}'.")
        error = self._refusal(version) or version.circuits.refusal(principal.key)
        if error is not None:
            raise error
        dispatcher = version.dispatcher
        held = version.room.enter(announced_bytes, dispatcher.waiting, dispatcher.retry_after_s)
        version.enter()
        return EnginePermit(
            version.description,
            version.room,
            held,
            dispatcher=dispatcher,
            trial=version.circuits.trial(principal.key),
            back_end=self._back_end,
            refusal=lambda: self._refusal(version),
            on_end=version.leave,
        )

    async def cancel(self, principal_key: str, client_id: str) -> int:
        """Take back the requests that this principal calls so; how many there were."""
        return self._shared.client_ids.cancel(principal_key, client_id)

    @property
    def is_warm(self) -> bool:
        """Whether every model is ready or failed: warm-up is over."""
        return all(version.description.state != "loading" for version in self._versions.values())

    async def _load(self, version: ServedVersion) -> None:
        """Load one version; whatever goes wrong is its state, and no other version's."""
        try:
            found = await asyncio.to_thread(self._examine, version.entry)
            version.description = msgspec.structs.replace(version.description, digest=found.digest, reason="")
            artifact = msgspec.structs.replace(version.artifact, digest=found.digest, folder=found.folder)
            await self._back_end.activate(artifact, version.change)
        except (DigestRefused, OSError) as error:
            version.change("failed", str(error), 0)
        except Exception as error:  # noqa: BLE001 - one version's trouble must be its state alone
            _log.exception("%s can't be loaded.", version.ref)
            version.change("failed", f"an error of this server: {error!r}", 0)

    def _examine(self, entry: CatalogEntry) -> Examined:
        """On a thread: what may be loaded, before anything of it runs."""
        if not entry.is_code_allowed:
            return self._examine_signed(entry)
        return Examined(self._digest(Path(entry.artifact.folder)), entry.artifact.folder)

    def _changed(self, version: ServedVersion, is_news: bool) -> None:
        for on_change in self._watchers:
            on_change()
        if is_news:
            self._tell(version)

    def _tell(self, version: ServedVersion) -> None:
        state, reason = version.description.state, version.description.reason
        level = logging.ERROR if state == "failed" else logging.INFO
        _log.log(level, "model %s is %s%s", version.ref, state, f": {reason}" if reason else ".")
        if self._on_lifecycle is not None and state in _ACTIVITIES:
            sentence = f"Model {version.ref} is {state}{f': {reason}' if reason else '.'}"
            self._on_lifecycle(LifecycleEvent(time.time(), _ACTIVITIES[state], f"model {version.ref}", sentence))

    def _refusal(self, version: ServedVersion) -> TorchgateError | None:
        if self._is_stopping:
            return self._stopping()
        return None if version.description.state == "ready" else version.not_ready()

    def _stopping(self) -> Unavailable:
        return Unavailable(
            f"This server is stopping. Try again in {_RETRY_STOPPING_S:g} s.", retry_after_s=_RETRY_STOPPING_S
        )
