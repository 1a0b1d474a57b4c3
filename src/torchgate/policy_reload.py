"""Another policy while the server runs: whole or not at all, and only once it is in the audit trail.

All that access remembers goes with the policy before: verified tokens carry roles, and decisions their rules. A request
that has begun keeps what it began with, so that the decisions in its record are of one policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from torchgate.access.identity.authenticate import Authentication
from torchgate.access.policy.authorise import Authorisation
from torchgate.access.settings import AccessSettings
from torchgate.config import Configuration
from torchgate.contract.audit_event import PolicyEvent
from torchgate.contract.audit_sink import AuditSink
from torchgate.contract.errors import AuditUnavailable, Conflict
from torchgate.contract.policy_status import PolicyStatus
from torchgate.contract.principal import Principal
from torchgate.gate.reign import Reign
from torchgate.policy_files import Digest, FilesWrong, NewSettings, PolicyFiles

Access = tuple[Authentication, Authorisation]
Build = Callable[[AccessSettings], Access]
"""`build_access` with all that does not change while the server runs."""
PutInForce = Callable[[Authentication, Authorisation], Reign]

_SETTLE_S = 0.5
"""A changed file must stay as it is for so long: half a file, while it is being written, can be a policy of its own."""
_MAX_MISTAKES = 5  # told to who asked; the log has all
_STAYS = "What was in force stays in force."
_log = logging.getLogger("torchgate.policy")


class PolicyReload:
    """Has the policy in force, looks at its files, and puts a changed one in its place (contract KeepsPolicy).

    Args:
        configuration: that the server started with; its files are read again.
        access: in force now, started; ended by `stop` together with its successors.
        build: makes a successor, in a thread.
        audit: takes the event before the change counts.

    Thread/process: one event loop.
    """

    def __init__(self, configuration: Configuration, access: Access, build: Build, audit: AuditSink) -> None:
        self._files = PolicyFiles(configuration)
        self._watched = configuration.access_settings()  # as last read, whether it came into force or not
        self._access = access
        self._living = [access]
        self._ends: set[asyncio.Task[None]] = set()
        self._build = build
        self._audit = audit
        self._put_in_force: PutInForce | None = None
        self._change = asyncio.Lock()
        self._interval_s = self._watched.policy.reload_interval_s
        self._status = PolicyStatus(access[1].policy_version, time.time())
        self._trouble = ""
        self._taken = self._files.started_with(access[1].hook_origin)

    def status(self) -> PolicyStatus:
        """How it is now."""
        authentication, authorisation = self._access
        hangs = "The hook (policy.hook) hangs, and whatever it would be asked is denied."
        troubles = (
            *((self._trouble,) if self._trouble else ()),
            *((hangs,) if authorisation.is_degraded else ()),
            *authentication.troubles(),
        )
        return msgspec.structs.replace(self._status, troubles=troubles)

    async def reload(self, by: Principal) -> PolicyStatus:
        """Put in force what the files say now; asked for by a principal with the right to administer.

        Raises:
            Conflict: it can't be; the policy before stays in force.
        """
        await self._reload(by)
        if self._trouble:
            raise Conflict(self._trouble)
        return self.status()

    @asynccontextmanager
    async def watching(self, put_in_force: PutInForce) -> AsyncIterator[None]:
        """Look at the files while the block runs.

        Args:
            put_in_force: lets each request from now on be examined by a new pair; the reign that this ends.
        """
        self._put_in_force = put_in_force
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def stop(self) -> None:
        """End the access in force, and what is left of those before."""
        for task in self._ends:
            task.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)
        for access in tuple(self._living):
            await self._end(access)

    async def look_once(self, settle_s: float = 0.0) -> None:
        """One look at the files, and what follows from it.

        Args:
            settle_s: seconds for which a changed file must not change again.
        """
        seen = await self._digest()
        if seen == self._taken:
            return
        await asyncio.sleep(settle_s)
        if await self._digest() != seen:
            return  # still being written: the next look comes
        try:
            await self._reload(None)
        except Exception:  # noqa: BLE001 - a watch that has ended would go unnoticed
            _log.exception("The policy could not be read again.")
            self._trouble = f"The policy could not be read again, for a reason that the log has. {_STAYS}"

    async def _watch(self) -> None:
        while True:
            interval_s = self._interval_s
            await asyncio.sleep(interval_s or 1.0)
            if interval_s:
                await self.look_once(min(_SETTLE_S, interval_s))

    async def _reload(self, by: Principal | None) -> None:
        """Put in force what the files say, or remember the trouble."""
        async with self._change:
            seen = await self._digest()
            try:
                new, access, is_steady = await asyncio.to_thread(self._read, seen)
            except FilesWrong as wrong:
                self._taken = await self._digest()
                await self._refuse(by, wrong.mistakes)
                return
            if is_steady:
                await self._accept(by, access, new)
            else:
                await self._discard(access)
                self._trouble = f"The files of the policy change while they are read. {_STAYS}"

    def _read(self, before: Digest) -> tuple[NewSettings, Access, bool]:
        """What the files say, the pair that goes by it, and whether they said the same before and after."""
        new = self._files.read()
        self._watched = new.access
        seen = self._files.digest(new.access)
        try:
            access = self._build(new.access)
        except ValueError as error:
            raise FilesWrong((str(error),)) from None
        is_steady = seen[0] == before[0] and self._files.digest(new.access) == seen
        if is_steady:
            self._taken = seen
        return new, access, is_steady

    async def _accept(self, by: Principal | None, access: Access, new: NewSettings) -> None:
        before, version = self._status.version, access[1].policy_version
        if self._put_in_force is None:
            raise RuntimeError("a policy can be changed only while the server serves")
        changed = f"Policy {version} takes the place of {before}."
        sentence = "The policy was read again, and is the same." if version == before else changed
        try:
            await self._audit.write(PolicyEvent(time.time(), before, version, sentence, by))
        except AuditUnavailable:
            await self._discard(access)
            self._taken = ()  # the next look tries again
            self._trouble = f"The audit trail can't take the change of the policy. {_STAYS}"
            return
        former = self._access
        access[0].inherit(former[0])
        access[1].inherit(former[1])
        await access[0].start()
        self._living.append(access)
        self._access, self._trouble, self._interval_s = access, "", new.access.policy.reload_interval_s
        reign = self._put_in_force(*access)
        since = self._status.since if version == before else time.time()
        reloads, refused = self._status.reloads + 1, self._status.refused_reloads
        self._status = PolicyStatus(version, since, reloads, refused, waits_for_restart=new.waits_for_restart)
        _log.info("%s", sentence)
        self._end_later(reign, former)

    async def _refuse(self, by: Principal | None, mistakes: Sequence[str]) -> None:
        for mistake in mistakes:
            _log.warning("The policy stays as it is: %s", mistake)
        place, more = f"{self._files.folder}{os.sep}", len(mistakes) - _MAX_MISTAKES
        told = [mistake.replace(place, "") for mistake in mistakes[:_MAX_MISTAKES]]
        if more > 0:
            told.append(f"And {more} more; the log has them.")
        version, refused = self._status.version, self._status.refused_reloads + 1
        self._trouble = f"Policy {version} stays in force, because the files have mistakes: {' '.join(told)}"
        self._status = msgspec.structs.replace(self._status, refused_reloads=refused)
        with contextlib.suppress(AuditUnavailable):  # nothing has changed, and an answer about it is audited itself
            await self._audit.write(PolicyEvent(time.time(), version, version, self._trouble, by, is_refused=True))

    async def _digest(self) -> Digest:
        return await asyncio.to_thread(self._files.digest, self._watched)

    def _end_later(self, reign: Reign, former: Access) -> None:
        """End what was in force once its last request has its answer; its threads and keys are needed until then."""

        async def end() -> None:
            await reign.wait_unused()
            await self._end(former)

        task = asyncio.create_task(end())
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _end(self, access: Access) -> None:
        """End what no other that lives has taken over."""
        self._living.remove(access)
        await self._discard(access)

    async def _discard(self, access: Access) -> None:
        await access[0].stop(heirs=[authentication for authentication, _ in self._living])
        access[1].stop(heirs=[authorisation for _, authorisation in self._living])
