"""How a secret is doing: what metrics, logs and `secrets status` may know of it, which is never its value."""

from __future__ import annotations

import msgspec


class SecretStatus(msgspec.Struct, frozen=True):
    """One secret of a running server.

    Args:
        name: in `[secrets]`.
        reference: where it is to be found.
        versions: state (`current`, `previous`, `next`) → what its store calls that version.
        age_s: seconds since it was last read well.
        next_refresh_s: seconds until it is read again; None: only a restart does.
        failure: why the last refresh failed, or empty.
        failures: refreshes that failed, since the start.
        expires_in_s: seconds until the current value expires, below 0 where it has; None: it does not.
    """

    name: str
    reference: str
    versions: dict[str, str]
    age_s: float
    next_refresh_s: float | None
    failure: str = ""
    failures: int = 0
    expires_in_s: float | None = None
