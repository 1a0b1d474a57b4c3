"""The keys of one issuer, kept fresh in the background, so that no request waits for an issuer.

The one exception: a token of a key that we have never seen waits up to 3 seconds for one refresh that all such
requests share. What an attacker can make us fetch with made-up key ids is bounded by a token bucket.

Source: identity.md 1.2 (Microsoft's published algorithm: refresh in the background, one bounded refresh on an unknown
key, last known good on errors, 24 hours at most).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import msgspec

from torchgate.access.identity.jws import VerificationKey
from torchgate.access.identity.key_sources import KeySource
from torchgate.access.identity.published_keys import Keys, KeysUnreadable, read_key_set
from torchgate.access.identity.rejection import reject, unavailable
from torchgate.access.oidc_settings import OidcSettings
from torchgate.access.token_bucket import TokenBucket
from torchgate.contract.clock import Clock

MAX_KEY_AGE_S = 24 * 3600.0  # seconds: last known good keys count that long without a successful refresh
_UNKNOWN_KEY_WAIT_S = 3.0  # seconds that a request waits for the refresh that it may have caused
_MAX_WAITERS = 64  # requests that wait at once; the rest are answered at once
_MAX_UNKNOWN_KIDS = 256  # remembered as not there
_MAX_RETRY_S = 60.0  # seconds between tries while an issuer is out of reach
_log = logging.getLogger("torchgate.access")


class IssuerStatus(msgspec.Struct, frozen=True):
    """How an issuer's keys are, for `doctor`, metrics and the log.

    Args:
        name: of the issuer.
        keys: how many are in use.
        age_s: seconds since they were last read, or None for never.
        failure: why the last refresh failed, or empty.
    """

    name: str
    keys: int
    age_s: float | None
    failure: str


class KeySet:
    """Finds the key of a token of one issuer.

    Args:
        settings: of the issuer.
        source: gives its key set.
        clock: seconds, monotonic: a jump of the wall clock changes nothing here.
        jitter: between 0 and 1, so that many servers don't ask at once.

    Thread/process: one event loop.
    """

    def __init__(
        self, settings: OidcSettings, source: KeySource, clock: Clock, jitter: Callable[[], float] = random.random
    ) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._jitter = jitter
        self._keys: Keys = {}
        self._read_at: float | None = None
        self._failure = ""
        self._failures = 0
        self._flight: asyncio.Task[None] | None = None
        self._background: asyncio.Task[None] | None = None
        self._waiters = 0
        self._unknown_kids: dict[str, float] = {}
        # Two at once, so that a key change during an attack is not missed; then two per delay.
        self._bucket = TokenBucket(2, 2 / settings.unknown_key_delay_s, clock)

    async def start(self) -> None:
        """Begin to keep the keys fresh; returns at once, without waiting for the issuer."""
        if self._background is None:
            self._background = asyncio.create_task(self._keep_fresh())

    async def stop(self) -> None:
        """End the background work."""
        tasks = [task for task in (self._background, self._flight) if task is not None and not task.done()]
        self._background = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def settings(self) -> OidcSettings:
        """Of the issuer."""
        return self._settings

    @property
    def has_keys(self) -> bool:
        """Whether there are keys that are not too old."""
        return self._read_at is not None and self._clock() - self._read_at <= MAX_KEY_AGE_S

    def holds(self, key: VerificationKey) -> bool:
        """Whether this very key still counts; a withdrawn or replaced key does not."""
        return self._keys.get((key.kid, key.algorithm)) is key and self.has_keys

    def status(self) -> IssuerStatus:
        """How the keys are now."""
        age_s = None if self._read_at is None else self._clock() - self._read_at
        return IssuerStatus(self._settings.name, len(self._keys), age_s, self._failure)

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey:
        """The one key for a token's header.

        Args:
            kid: as the token says, or None; then the issuer must have exactly one key of the algorithm.
            algorithm: as the token says, already known to be allowed.

        Raises:
            RejectedCredential: the issuer has no such key.
            IssuerUnavailable: that can't be told, because the issuer's keys are out of reach.
        """
        key = self._known(kid, algorithm)
        if key is None and not self._has_kid(kid) and self._may_look(kid or ""):
            await self._look()
            key = self._known(kid, algorithm)
            if key is None and self._is_settled:
                self._remember_unknown(kid or "")
        if key is not None:
            return key
        if self._has_kid(kid):
            raise reject("algorithm is not the key's")
        if self.has_keys and (self._is_settled or self._is_known_unknown(kid or "")):
            raise reject("unknown key")
        raise unavailable(self._settings.name)

    async def refresh(self) -> None:
        """Read the key set now; calls at the same time share one read. A failure keeps the last known good keys."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._read())
        await asyncio.wait({self._flight})

    def next_refresh_delay_s(self) -> float:
        """Seconds until the background refresh after this one: never later than the interval; sooner on failure."""
        interval_s = self._settings.refresh_interval_s
        if self._failures:
            interval_s = min(interval_s, _MAX_RETRY_S, 2.0 ** min(self._failures, 16))
        return interval_s * (0.9 + 0.1 * self._jitter())

    def _known(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        if not self.has_keys:
            return None
        if kid is not None:
            return self._keys.get((kid, algorithm))
        candidates = [key for key in self._keys.values() if key.algorithm == algorithm]
        return candidates[0] if len(candidates) == 1 else None

    def _has_kid(self, kid: str | None) -> bool:
        return self.has_keys and any(known == kid for known, _ in self._keys)

    @property
    def _is_settled(self) -> bool:
        """Whether the last read has ended, and well: then a key that is not there does not exist."""
        return not self._failure and (self._flight is None or self._flight.done())

    def _is_known_unknown(self, kid: str) -> bool:
        return self._unknown_kids.get(kid, self._clock()) > self._clock()

    def _may_look(self, kid: str) -> bool:
        if self._is_known_unknown(kid) or self._waiters >= _MAX_WAITERS:
            return False
        under_way = self._flight is not None and not self._flight.done()
        return under_way or self._bucket.take()

    async def _look(self) -> None:
        self._waiters += 1
        try:
            if self._flight is None or self._flight.done():
                self._flight = asyncio.create_task(self._read())
            await asyncio.wait({self._flight}, timeout=_UNKNOWN_KEY_WAIT_S)
        finally:
            self._waiters -= 1

    def _remember_unknown(self, kid: str) -> None:
        if len(self._unknown_kids) >= _MAX_UNKNOWN_KIDS:
            self._unknown_kids.pop(next(iter(self._unknown_kids)))
        self._unknown_kids[kid] = self._clock() + self._settings.unknown_key_delay_s

    async def _read(self) -> None:
        try:
            document = await self._source.fetch()
            # In a thread: a hundred keys take milliseconds.
            keys = await asyncio.to_thread(read_key_set, document, self._settings.name, self._settings.algorithms)
        except KeysUnreadable as error:
            self._note_failure(str(error))
            return
        except Exception as error:  # noqa: BLE001 - the background work must outlive any surprise of a source
            self._note_failure(f"unexpected {type(error).__name__}")
            return
        # The same key published again stays the same object, so that tokens verified with it stay verified.
        self._keys = {
            place: old if (old := self._keys.get(place)) is not None and old.thumbprint == key.thumbprint else key
            for place, key in keys.items()
        }
        self._read_at = self._clock()
        self._failure, self._failures = "", 0

    def _note_failure(self, reason: str) -> None:
        self._failure = reason
        self._failures += 1
        _log.warning("Keys of issuer %s can't be refreshed: %s.", self._settings.name, reason)

    async def _keep_fresh(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(self.next_refresh_delay_s())
