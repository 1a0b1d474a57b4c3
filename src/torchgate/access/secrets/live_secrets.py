"""All secrets of a server: there from the start, and kept fresh in the background."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping

from torchgate.access.secret_settings import SecretRefreshSettings
from torchgate.access.secrets.live_secret import LiveSecret
from torchgate.access.secrets.reading import Reading
from torchgate.access.secrets.secret import Secret, SecretUnreadable
from torchgate.access.secrets.source import SecretSource
from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.secret_status import SecretStatus
from torchgate.contract.settings_file import nearest

_MAX_RETRY_S = 60.0  # seconds between tries while a store is out of reach
_MIN_DELAY_S = 0.5  # seconds, also where a value expires at once
_log = logging.getLogger("torchgate.access")


class SecretsMissing(Exception):
    """Secrets that must be there at start are not; the sentence has all of them, and what to do."""


class _Refresh:
    """One secret, and how its refreshes went."""

    def __init__(self, live: LiveSecret, reading: Reading, read_at: float) -> None:
        self.live = live
        self.reading = reading
        self.read_at = read_at
        self.next_at: float | None = None
        self.failure = ""
        self.failures_in_a_row = 0
        self.failures = 0


class LiveSecrets:
    """Reads every secret at start, then again and again; a failure keeps the last known good values.

    Args:
        sources: name → where it is read.
        settings: `[secret_refresh]`.
        clock: seconds, monotonic.
        wall_clock: Unix seconds: expiry goes by it.
        jitter: between 0 and 1, so that many servers don't ask at once.
        on_change: is told name and versions, in words, when a secret has other values than before.

    Thread/process: one event loop; each read runs in a thread of its own.
    """

    def __init__(
        self,
        sources: Mapping[str, SecretSource],
        settings: SecretRefreshSettings,
        *,
        clock: Clock = monotonic_s,
        wall_clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        on_change: Callable[[str, str], None] | None = None,
    ) -> None:
        self._sources = dict(sources)
        self._settings = settings
        self._clock = clock
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._on_change = on_change
        self._refreshes: dict[str, _Refresh] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Read all of them, at the same time; then keep them fresh.

        Raises:
            SecretsMissing: some can't be read.
        """
        readings = {name: Reading(source, name) for name, source in self._sources.items()}
        first = await asyncio.gather(*map(self._first, readings.values()))
        missing = []
        for (name, reading), found in zip(readings.items(), first, strict=True):
            if isinstance(found, Secret):
                live = LiveSecret(name, found, self._wall_clock())
                self._refreshes[name] = _Refresh(live, reading, self._clock())
                self._tell_found(live, reading.source)
            else:
                missing.append(f"  secrets.{name} ({reading.source.reference}): {found}")
        if missing:
            raise SecretsMissing(
                "these secrets can't be read, and without them nothing is answered:\n"
                + "\n".join(missing)
                + "\n`torchgate secrets status`, run as the server's account, examines them one by one."
            )
        self._tasks = [
            asyncio.create_task(self._keep_fresh(one), name=f"secret {one.live.name}")
            for one in self._refreshes.values()
            if one.reading.source.changes
        ]

    async def stop(self) -> None:
        """End the background work; a read that hangs is left to its thread, which ends with the process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def get(self, name: str) -> LiveSecret:
        """The secret of that name, to be kept and asked each time.

        Raises:
            ValueError: `[secrets]` has none.
        """
        if name not in self._refreshes:
            known = list(self._refreshes)
            hint = nearest(name, known) if known else "[secrets] is empty."
            raise ValueError(f"there is no secret {name!r} in [secrets]. {hint}")
        return self._refreshes[name].live

    async def refresh(self, name: str) -> None:
        """Read one now."""
        one = self._refreshes[name]
        try:
            secret = await one.reading.read(self._settings.timeout_s)
        except SecretUnreadable as error:
            self._note_failure(one, str(error))
            return
        had_failed, one.failure, one.failures_in_a_row = bool(one.failure), "", 0
        one.read_at = self._clock()
        if had_failed:
            _log.info("Secret %s can be read again.", name)
        for remark in secret.remarks:
            if remark not in one.live.secret.remarks:
                _log.warning("Secret %s: %s", name, remark)
        self._replace(one, secret)

    def statuses(self) -> Iterator[SecretStatus]:
        """How each is doing now."""
        now, wall_now = self._clock(), self._wall_clock()
        for name, one in self._refreshes.items():
            secret = one.live.secret
            expires_at = secret.current.expires_at
            yield SecretStatus(
                name,
                one.reading.source.reference,
                {state: value.version for state, value in secret.by_state()},
                now - one.read_at,
                None if one.next_at is None else max(0.0, one.next_at - now),
                one.failure,
                one.failures,
                None if expires_at is None else expires_at - wall_now,
            )

    async def _first(self, reading: Reading) -> Secret | SecretUnreadable:
        try:
            return await reading.read(self._settings.timeout_s)
        except SecretUnreadable as error:
            return error

    def _tell_found(self, live: LiveSecret, source: SecretSource) -> None:
        lasting = "" if source.changes else " A new value there counts after a restart alone."
        _log.info("Secret %s from %s: %s.%s", live.name, source.reference, live.secret.versions(), lasting)
        for remark in live.secret.remarks:
            _log.warning("Secret %s: %s", live.name, remark)

    def _replace(self, one: _Refresh, secret: Secret) -> None:
        if not one.live.replace(secret, self._wall_clock()):
            return
        versions = secret.versions()
        _log.info("Secret %s has changed: %s.", one.live.name, versions)
        if self._on_change is not None:
            self._on_change(one.live.name, versions)

    def _note_failure(self, one: _Refresh, reason: str) -> None:
        one.failure = reason
        one.failures += 1
        one.failures_in_a_row += 1
        age_s = self._clock() - one.read_at
        _log.warning(
            "Secret %s can't be refreshed, and what was read %.0f s ago goes on to count: %s",
            one.live.name,
            age_s,
            reason,
        )
        self._replace(one, one.live.secret)  # what has expired since counts no more

    def delay_s(self, name: str) -> float:
        """Seconds until the background refresh after this one: sooner on failure, or where a value expires."""
        one = self._refreshes[name]
        settings = self._settings
        delay_s = settings.file_interval_s if one.reading.source.is_near else settings.interval_s
        if one.failures_in_a_row:
            delay_s = min(delay_s, _MAX_RETRY_S, 2.0 ** min(one.failures_in_a_row, 16))
        delay_s *= 0.9 + 0.1 * self._jitter()
        now = self._wall_clock()
        ends = [value.expires_at - now for _, value in one.live.secret.by_state() if value.expires_at is not None]
        return max(_MIN_DELAY_S, min([delay_s, *(end for end in ends if end > 0)]))

    async def _keep_fresh(self, one: _Refresh) -> None:
        name = one.live.name
        while True:
            delay_s = self.delay_s(name)
            one.next_at = self._clock() + delay_s
            await asyncio.sleep(delay_s)
            await self.refresh(name)
