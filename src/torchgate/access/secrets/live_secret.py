"""What uses a secret holds: always the values that count now, at the cost of a compare."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import NoReturn

from torchgate.access.secrets.secret import Secret

_log = logging.getLogger("torchgate.access")


class LiveSecret:
    """A secret whose values change under way; keep it, and ask it each time.

    Verification accepts any of its values; what signs or sends takes the current one alone.

    Args:
        name: in `[secrets]`.
        secret: the first values.
        now: Unix seconds.

    Thread/process: read from any thread; replaced by the one that refreshes it.
    """

    __slots__ = ("_accepted", "_digests", "_listeners", "_secret", "name")

    def __init__(self, name: str, secret: Secret, now: float) -> None:
        self.name = name
        self._listeners: list[Callable[[], None]] = []
        self._take(secret, now)

    def accepts(self, candidate: bytes) -> bool:
        """Whether it is one of the values; takes as long whichever it is, and where it is none."""
        digest = hashlib.sha256(candidate).digest()
        is_accepted = False
        for known in self._digests:
            is_accepted |= hmac.compare_digest(digest, known)
        return is_accepted

    def current(self) -> bytes:
        """The value to sign with or to send."""
        return self._secret.current.value

    def accepted(self) -> tuple[bytes, ...]:
        """All values that count when verifying, current first; for what is verified by more than a compare."""
        return self._accepted

    @property
    def secret(self) -> Secret:
        """The values by state."""
        return self._secret

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have somebody told, on the event loop, that the values are others now, e.g. to load a key anew."""
        self._listeners.append(listener)

    def replace(self, secret: Secret, now: float) -> bool:
        """Take the values as they are now, all at once; whether verification or `current` sees others than before.

        Args:
            now: Unix seconds; expired values are dropped.
        """
        before = (self.current(), self._accepted)
        self._take(secret, now)
        if before == (self.current(), self._accepted):
            return False
        for listener in self._listeners:
            try:
                listener()
            except Exception as error:  # noqa: BLE001 - one listener's mistake must not end the refresh
                # Without the traceback: what the listener had in hand may be in the error's text.
                _log.error("What uses secret %s did not take its change: %s.", self.name, type(error).__name__)
        return True

    def _take(self, secret: Secret, now: float) -> None:
        accepted = secret.accepted(now)
        self._secret = secret
        self._digests = tuple(one.digest for one in accepted)
        self._accepted = tuple(one.value for one in accepted)

    def __repr__(self) -> str:
        return f"LiveSecret({self.name}: not shown)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret's value is not copied out of its process")
