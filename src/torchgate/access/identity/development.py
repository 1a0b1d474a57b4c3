"""Made-up identities for development: a token written at start, and the roles that the settings give it.

They exist only with front door `direct` on loopback; the gate sees to that before it asks here (DESIGN 4.4).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence

from torchgate.access.identity.rejection import reject
from torchgate.access.settings import DevelopmentIdentity
from torchgate.contract.principal import Principal

TOKEN_PREFIX = "tgdev_"  # noqa: S105 - what such a token begins with, not a secret


def new_development_token() -> str:
    """A new random token (256 bits)."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


class DevelopmentTokens:
    """Examines development tokens.

    Args:
        identities: as configured; empty where they are not enabled.
        tokens: name → token. An identity without a token can't be used.

    Raises:
        ValueError: a token does not begin with TOKEN_PREFIX, or is short enough to be guessed.
    """

    def __init__(self, identities: Sequence[DevelopmentIdentity], tokens: Mapping[str, str]) -> None:
        self._principals: list[tuple[bytes, Principal]] = []
        for identity in identities:
            token = tokens.get(identity.name)
            if token is None:
                continue
            if not token.startswith(TOKEN_PREFIX) or len(token) < len(TOKEN_PREFIX) + 22:
                raise ValueError(
                    f"the token of development identity {identity.name!r} is not {TOKEN_PREFIX} and at least "
                    "22 random characters; make one with new_development_token()"
                )
            self._principals.append((hashlib.sha256(token.encode()).digest(), _principal(identity)))

    def __bool__(self) -> bool:
        return bool(self._principals)

    def authenticate(self, token: str) -> Principal:
        """The principal of a token that begins with TOKEN_PREFIX.

        Raises:
            RejectedCredential: nobody's token.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = [principal for known, principal in self._principals if hmac.compare_digest(known, digest)]
        if not found:
            raise reject("development token unknown")
        return found[0]


def _principal(identity: DevelopmentIdentity) -> Principal:
    mark = f"development:{identity.name}"
    return Principal(
        key=mark,
        name=identity.name,
        method="development",
        issuer="development",
        marks=frozenset({mark}),
        roles=frozenset(identity.roles),
        credential_id=identity.name,
    )
