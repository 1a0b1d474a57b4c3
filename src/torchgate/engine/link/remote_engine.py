"""The pool's engine as a gate sees it: a picture kept here, questions over the link, and a link that mends itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec

from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import TorchgateError, Unavailable, UnknownModel
from torchgate.contract.inference import ModelChange, ModelDescription, ModelStatistics, Permit
from torchgate.contract.local_pipes import PeerChannel
from torchgate.contract.principal import Principal
from torchgate.contract.quota_use import QuotaTotal, QuotaUse
from torchgate.engine.link.calls import asked_methods
from torchgate.engine.link.pool_link import PoolLink
from torchgate.engine.link.principals import WrittenPrincipals, without_claims
from torchgate.engine.link.remote_permit import RemotePermit
from torchgate.engine.link.wire import Admit, Admitted, Catalogue

_log = logging.getLogger("torchgate.engine")

Connect = Callable[[PoolLink], Awaitable[PeerChannel]]
"""Opens a channel to the pool, whose owner was examined, with the link as its receiver; raises OSError."""

_RETRY_AWAY_S = 2.0
"""Told to callers while the pool is away: a pool that was restarted is found at once, its models load in seconds."""

_AWAY = "the pool that runs the models can't be reached"

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
"""Between two attempts: to look for a pool costs microseconds, and whoever waits for it should not wait for us."""

_REFUSED_PAUSE_S = 5.0
"""After a refusal: only somebody who installs or stops something changes it."""

_GREETING_TIMEOUT_S = 5.0
"""From the open channel to the first catalogue."""

_STOPPING = "this gate stops"

_LOOK_INTERVAL_S = 3.0
_PATIENCE = 5
"""Signs of life that may be missing: a pool whose loop stands still for 15 s does not serve."""


class RemoteEngine:
    """Implements contract.inference.Engine over a pool of its own.

    Args:
        connect: opens a channel to the pool.
        program: our version.
        clock: monotonic.

    Process: the event loop only.
    """

    def __init__(self, connect: Connect, *, program: str, clock: Clock = monotonic_s) -> None:
        self._connect = connect
        self._program = program
        self._clock = clock
        self._methods = asked_methods()
        self._principals = WrittenPrincipals()
        self._link: PoolLink | None = None
        self._models: dict[ModelRef, ModelDescription] = {}
        self._catalogue: Catalogue | None = None  # until a pool was reached
        self._reason = "it was not reached yet"
        self._attached = asyncio.Event()
        self._detached = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def is_attached(self) -> bool:
        """Whether there is a pool now."""
        return self._link is not None

    def start(self) -> None:
        """Begin to look for the pool; returns at once."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def wait_attached(self, timeout_s: float) -> bool:
        """Whether there is a pool within so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._attached.wait()
        return self.is_attached

    async def stop(self) -> None:
        """Leave the pool. Safe to call twice."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
        if self._link is not None:
            self._link.lose(_STOPPING)

    def resolve(self, name: str, version: str | None) -> ModelRef | None:
        """The model version that a request means, byte for byte; None if there is none. No version: the default.

        Raises:
            Unavailable: no pool was reached yet, so that nobody can say.
        """
        if self._catalogue is None:
            raise self.away()
        wanted = version if version is not None else self._catalogue.defaults.get(name, "")
        found = self._models.get(ModelRef(name, wanted))
        return found.ref if found is not None else None

    def describe(self, ref: ModelRef) -> ModelDescription | None:
        """None when the version is gone."""
        return self._models.get(ref)

    def models(self) -> tuple[ModelDescription, ...]:
        """All versions, by name and version; while the pool is away, those that it had, none of them ready."""
        return tuple(self._models.values())

    @property
    def is_warm(self) -> bool:
        """Whether there is a pool, and every model of it is ready or failed."""
        return self._link is not None and self._catalogue is not None and self._catalogue.is_warm

    @property
    def not_ready_reason(self) -> str:
        """Of the pool, while there is one; else that there is none."""
        return _AWAY if self._link is None or self._catalogue is None else self._catalogue.not_ready_reason

    async def statistics(self, ref: ModelRef) -> ModelStatistics | None:
        """None when the version is gone."""
        return cast("ModelStatistics | None", await self._ask("statistics", ref))

    async def cancel(self, principal_key: str, client_id: str) -> int:
        """Take back the requests that this principal calls so, through whichever gate they came; how many."""
        return cast("int", await self._ask("cancel", principal_key, client_id))

    async def quota_use(self, principal: Principal | None) -> tuple[QuotaUse, ...]:
        """What is used of the quotas that are about a principal, through all gates together."""
        return cast("tuple[QuotaUse, ...]", await self._ask("quota_use", principal and without_claims(principal)))

    async def quota_totals(self) -> tuple[QuotaTotal, ...]:
        """Each limit of each quota, over all holders and gates."""
        return cast("tuple[QuotaTotal, ...]", await self._ask("quota_totals"))

    async def load(self, name: str, version: str | None, *, by: str, force: bool = False) -> ModelChange:
        """Have the pool serve what lies on disk now, for all of its gates."""
        return cast("ModelChange", await self._ask("load", name, version, by=by, force=force))

    async def unload(self, name: str, version: str | None, *, by: str) -> ModelChange:
        """Have the pool serve it no more."""
        return cast("ModelChange", await self._ask("unload", name, version, by=by))

    async def admit(self, ref: ModelRef, principal: Principal, announced_bytes: int) -> Permit:
        """Room for one request, and memory for its body with it.

        Raises:
            TorchgateError: as contract.inference.Engine says. Unavailable: there is no pool now.
        """
        link = self._link
        if link is None:
            raise self.away()
        described = self._models.get(ref)
        if described is None:
            raise UnknownModel(f"There is no model '{ref.name}' version '{ref.version}'.")
        asked, number = self._principals.write(principal), link.enter()
        try:
            answer = await link.ask_permit(number, Admit(number, ref, asked, announced_bytes, described.activation))
        except BaseException:
            link.leave(number)
            raise
        if not isinstance(answer, Admitted):
            raise TypeError(f"{type(answer).__name__} to an Admit. This is a bug of the pool.")
        return RemotePermit(link, number, answer.stretch, answer.description or described, self._clock)

    def learnt(self, link: PoolLink, catalogue: Catalogue) -> None:
        """The pool has told of its models."""
        self._models = {model.ref: model for model in catalogue.models}
        self._catalogue = catalogue
        if self._link is not link:
            self._link = link
            self._attached.set()

    def lost(self, link: PoolLink, reason: str) -> None:
        """The connection is over; what was known of models is kept, but none is ready."""
        if reason not in (self._reason, _STOPPING):
            _log.warning("the pool is away: %s", reason)
        self._reason = reason
        if self._link is link:
            self._link = None
            self._attached.clear()
            self._models = {ref: _unloaded(one, f"the pool is away: {reason}") for ref, one in self._models.items()}
        self._detached.set()

    def away(self) -> TorchgateError:
        """What callers are told while there is no pool."""
        return Unavailable(
            f"{_AWAY.capitalize()} now. Try again in {_RETRY_AWAY_S:g} s.",
            detail=self._reason,
            retry_after_s=_RETRY_AWAY_S,
        )

    async def _ask(self, name: str, *values: object, **named: object) -> object:
        """Ask a method of the pool's engine."""
        link, method = self._link, self._methods[name]
        if link is None:
            raise self.away()
        return await link.ask(name, method.write_arguments(values, named), method.read_answer)

    async def _keep(self) -> None:
        """Be connected, for as long as this gate runs."""
        pause_s = _FIRST_PAUSE_S
        while True:
            link = PoolLink(self, self._program)
            if await self._attach(link):
                _log.info("the pool is there; it has %d model versions.", len(self._models))
                pause_s = _FIRST_PAUSE_S
                await self._stay(link)
                continue
            await asyncio.sleep(_REFUSED_PAUSE_S if link.refusal else pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _attach(self, link: PoolLink) -> bool:
        self._detached.clear()
        try:
            channel = await self._connect(link)
        except OSError as error:
            self.lost(link, str(error))
            return False
        link.begin(channel)
        detached = asyncio.ensure_future(self._detached.wait())
        attached = asyncio.ensure_future(self._attached.wait())
        try:
            await asyncio.wait({detached, attached}, timeout=_GREETING_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            detached.cancel()
            attached.cancel()
            if self._link is not link:
                link.lose("the pool does not say who it is")
        return self._link is link

    async def _stay(self, link: PoolLink) -> None:
        while self._link is link:
            # No wait_for: before Python 3.12 it can swallow a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_INTERVAL_S):
                    await self._detached.wait()
            link.look(_PATIENCE)


def _unloaded(model: ModelDescription, reason: str) -> ModelDescription:
    return msgspec.structs.replace(model, state="unloaded", reason=reason, ready_workers=0)
