"""The engine: every model version with its room and queue, loaded in the background, stopped in order."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.back_end import BackEnd
from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import TorchgateError, Unavailable, UnknownModel
from torchgate.contract.inference import ModelChange, ModelDescription, ModelStatistics, Permit
from torchgate.contract.principal import Principal
from torchgate.contract.quota_use import QuotaTotal, QuotaUse
from torchgate.engine.catalog import Catalog, CatalogEntry
from torchgate.engine.devices import Devices
from torchgate.engine.digest import folder_digest
from torchgate.engine.installation import AnyInstallation, Installation
from torchgate.engine.permit import EnginePermit
from torchgate.engine.quotas import Quotas
from torchgate.engine.ratings import Ratings
from torchgate.engine.repository import Repository
from torchgate.engine.served_version import ServedVersion
from torchgate.engine.settings import EngineSettings, ShareSettings
from torchgate.engine.shared import Shared, nobody_listens
from torchgate.engine.trusted_code import Examined, in_place, nothing_signed

_log = logging.getLogger("torchgate.engine")

_RETRY_STOPPING_S = 10.0
"""Told to callers of a server that stops: IIS starts the next one meanwhile."""


class Scheduler:
    """Implements contract.inference.Engine over one back end.

    Args:
        catalog: what there is.
        back_end: what runs it.
        settings: bounds.
        clock: monotonic, for deadlines.
        shares: `[[shares]]`.
        on_lifecycle: told of versions that become ready, fail, or are unloaded.
        quotas: of its principals; None: there are none.
        digest: of the folder of a version whose code is allowed; on a thread; raises DigestRefused or OSError.
        examine_signed: what to load of any other version, and its digest; as `digest`.
        examine_allowed: what to load of a version whose code is allowed; None: it is loaded from where it lies.
        read: what the repository has of a model now, on a thread; None where it has none; raises OSError.
        installation: knows whether anything may be loaded here; begins and ends with this.

    Process: the event loop only.
    """

    def __init__(  # noqa: PLR0913 - what an engine needs, each once
        self,
        catalog: Catalog,
        back_end: BackEnd,
        settings: EngineSettings,
        clock: Clock = monotonic_s,
        *,
        shares: Sequence[ShareSettings] = (),
        on_lifecycle: Callable[[LifecycleEvent], None] | None = None,
        quotas: Quotas | None = None,
        digest: Callable[[Path], str] = folder_digest,
        examine_signed: Callable[[CatalogEntry], Examined] = nothing_signed,
        examine_allowed: Callable[[CatalogEntry], Examined] | None = None,
        read: Callable[[str], Catalog | None] = lambda _: None,
        installation: Installation | None = None,
    ) -> None:
        told = on_lifecycle or nobody_listens
        devices = Devices(settings.threads or os.cpu_count() or 1)
        self._shared = Shared(clock, ratings=Ratings(shares), devices=devices, on_lifecycle=told)
        self._back_end = back_end
        allowed = examine_allowed or (lambda entry: in_place(entry, digest))
        self._repository = Repository(
            catalog,
            back_end,
            settings,
            self._shared,
            examine=lambda entry: allowed(entry) if entry.is_code_allowed else examine_signed(entry),
            digest=digest,
            read=read,
            installation=installation if installation is not None else AnyInstallation(),
            on_change=self._changed,
        )
        self._models = self._repository.models
        self._versions = self._models.versions
        self._watchers: list[Callable[[], None]] = []
        self._quotas = Quotas() if quotas is None else quotas
        self._is_stopping = False

    async def start(self) -> None:
        """Begin to load every version; returns at once."""
        self._repository.start()

    async def stop(self, drain_s: float) -> None:
        """Take nothing more, finish what was taken, but at most for so long; then end the back end."""
        self._is_stopping = True
        left = await self._repository.drain(drain_s, _stopping())
        if left:
            _log.warning("%d requests did not end within %g s and are given up.", left, drain_s)
        await self._back_end.stop()
        await self._repository.close(_stopping())

    def watch(self, on_change: Callable[[], None]) -> None:
        """Be told, after the fact, whenever what `resolve`, `describe`, `models` and `is_warm` say may have changed."""
        self._watchers.append(on_change)

    def resolve(self, name: str, version: str | None) -> ModelRef | None:
        """The model version that a request means, byte for byte; None if there is none. No version: the default."""
        return self._models.resolve(name, version)

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
        return self._models.descriptions()

    async def admit(self, ref: ModelRef, principal: Principal, announced_bytes: int) -> Permit:
        """Room for one request: in the principal's own quotas first, then in the version's.

        Raises:
            CircuitOpen, ModelNotReady, QuotaExceeded, Overloaded, UnknownModel, Unavailable: as Engine.admit says.
        """
        version = self._versions.get(ref)
        if version is None or version.description.state != "ready" or self._is_stopping:
            version = await self._waited_for(ref)
        error = version.circuits.refusal(principal.key)
        if error is not None:
            raise error
        dispatcher = version.dispatcher
        charge = self._quotas.enter(principal, ref.name, announced_bytes)
        try:
            dispatcher.places.check(principal)
            held = version.room.enter(principal.key, announced_bytes, dispatcher.retry_after_s)
        except BaseException:
            if charge is not None:
                charge.refund()
                charge.end()
            raise
        version.enter()
        return EnginePermit(
            version.description,
            version.room,
            held,
            key=principal.key,
            dispatcher=dispatcher,
            trial=version.circuits.trial(principal.key),
            back_end=self._back_end,
            refusal=lambda: self._refusal(version, is_admitted=True),
            on_end=version.leave,
            charge=charge,
        )

    async def cancel(self, principal_key: str, client_id: str) -> int:
        """Take back the requests that this principal calls so; how many there were."""
        return self._shared.client_ids.cancel(principal_key, client_id)

    async def quota_use(self, principal: Principal | None) -> tuple[QuotaUse, ...]:
        """What is used of the quotas that are about a principal; None: by all who have used anything."""
        return self._quotas.use(principal)

    async def quota_totals(self) -> tuple[QuotaTotal, ...]:
        """Each limit of each quota, over all holders."""
        return self._quotas.totals()

    @property
    def is_warm(self) -> bool:
        """Whether every model is ready or failed: warm-up is over."""
        return self._repository.is_warm

    @property
    def not_ready_reason(self) -> str:
        """Why the installation itself keeps this server from being ready; or empty."""
        return self._repository.installation.reason

    async def load(self, name: str, version: str | None, *, by: str, force: bool = False) -> ModelChange:
        """Serve what lies on disk now, as contract.inference.Engine says; goes on when its caller gives up."""
        return await self._repository.load(name, version, by=by, force=force)

    async def unload(self, name: str, version: str | None, *, by: str) -> ModelChange:
        """Serve it no more, as contract.inference.Engine says; goes on when its caller gives up."""
        return await self._repository.unload(name, version, by=by)

    async def refresh(self, name: str, *, by: str) -> ModelChange:
        """As `load` of the whole model, but what a person has unloaded stays so while its files stay what they are."""
        return await self._repository.refresh(name, by=by)

    async def forget(self, name: str, *, by: str) -> None:
        """Unload a model whose folder is gone, and know nothing of it any more.

        Raises:
            Conflict: it is being changed.
        """
        await self._repository.forget(name, by=by)

    def _changed(self) -> None:
        for on_change in self._watchers:
            on_change()

    async def _waited_for(self, ref: ModelRef) -> ServedVersion:
        """The version, once the hand-over that it is in is over; at once where it is in none.

        Raises:
            UnknownModel, ModelNotReady, Unavailable, Overloaded: it can't serve.
        """
        version = self._versions.get(ref)
        if version is not None and not self._is_stopping:
            await self._repository.succession.wait(version)
            version = self._versions.get(ref)
        if version is None:
            raise UnknownModel(f"There is no model '{ref.name}' version '{ref.version}'.")
        error = self._refusal(version)
        if error is not None:
            raise error
        return version

    def _refusal(self, version: ServedVersion, *, is_admitted: bool = False) -> TorchgateError | None:
        if self._is_stopping:
            return _stopping()
        state = version.description.state
        return None if state == "ready" or (is_admitted and state == "unloading") else version.not_ready()


def _stopping() -> Unavailable:
    return Unavailable(
        f"This server is stopping. Try again in {_RETRY_STOPPING_S:g} s.", retry_after_s=_RETRY_STOPPING_S
    )
