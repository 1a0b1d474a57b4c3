"""API keys: `tg_<id>_<secret>_<checksum>`, made here, stored as SHA-256, compared in constant time.

A random key of 190 bits needs no slow hash: nobody can try them all. The checksum tells a mistyped key from an
unknown one without a look at any hash, and lets scanners of source code tell a real key from a look-alike; it
protects nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from torchgate.access.api_key_settings import ApiKeySettings
from torchgate.access.identity.rejection import reject
from torchgate.contract.principal import Principal

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_CHARACTERS = 32  # 62 ** 32 is more than 2 ** 190
_CHECKSUM_CHARACTERS = 6  # 62 ** 6 is more than 2 ** 32, the size of a CRC-32
_KEY = re.compile(rf"(tg_([A-Za-z0-9-]{{1,64}})_[A-Za-z0-9]{{{_SECRET_CHARACTERS}}})_([A-Za-z0-9]{{6}})")
_NOBODYS_DIGEST = b"\0" * 32  # compared with for unknown ids, so that time tells nothing about which ids exist


class NewApiKey(msgspec.Struct, frozen=True):
    """A key just made: shown once, and what the settings keep of it."""

    key: str
    id: str
    sha256: str

    def __repr__(self) -> str:
        return f"NewApiKey(id={self.id!r}, key not shown)"


def new_api_key(key_id: str) -> NewApiKey:
    """A new random key of this id.

    Raises:
        ValueError: the id has other characters than letters, digits and `-`, or is too long.
    """
    body = f"tg_{key_id}_{''.join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARACTERS))}"
    key = f"{body}_{_checksum(body)}"
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key_id!r} can't be the id of a key; use 1 to 64 letters, digits and '-'")
    return NewApiKey(key, key_id, hashlib.sha256(key.encode("ascii")).hexdigest())


class _Accepted(msgspec.Struct, frozen=True):
    digest: bytes
    expires_at: float | None
    principal: Principal


_Values = tuple[_Accepted | None, _Accepted | None]


class ApiKeys:
    """Examines API keys; each check is a hash and one comparison, without I/O.

    Args:
        keys: as configured, each id once.
        with_roles: gives a principal its roles.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        keys: Sequence[ApiKeySettings],
        *,
        with_roles: Callable[[Principal], Principal],
        wall_clock: Callable[[], float],
    ) -> None:
        self._with_roles = with_roles
        self._wall_clock = wall_clock
        self._accepted: Mapping[str, _Values] = {}
        self.replace(keys)

    def replace(self, keys: Sequence[ApiKeySettings]) -> None:
        """From now on these keys count and no others; nothing of the former ones is remembered anywhere."""
        self._accepted = {key.id: _accepted_values(key, self._with_roles) for key in keys}

    def authenticate(self, text: str) -> Principal:
        """The principal of a key.

        Raises:
            RejectedCredential: malformed, unknown, wrong or expired.
        """
        found = _KEY.fullmatch(text)
        if found is None:
            raise reject("API key malformed")
        if _checksum(found[1]) != found[3]:
            raise reject("API key mistyped: its checksum is another")
        digest = hashlib.sha256(text.encode("ascii")).digest()
        matching = None
        for accepted in self._accepted.get(found[2], (None, None)):
            expected = _NOBODYS_DIGEST if accepted is None else accepted.digest
            if hmac.compare_digest(digest, expected) and accepted is not None:
                matching = accepted
        if matching is None:
            raise reject("API key unknown or wrong")
        if matching.expires_at is not None and self._wall_clock() >= matching.expires_at:
            raise reject("API key expired")
        return matching.principal


def _accepted_values(key: ApiKeySettings, with_roles: Callable[[Principal], Principal]) -> _Values:
    """The current and the former value; always two places, so that each check takes equally long."""
    mark = f"key:{key.id}"
    ends_at = key.expires.timestamp() if key.expires is not None else None
    principal = with_roles(
        Principal(
            key=mark,
            name=key.name or key.id,
            method="api_key",
            issuer="key",
            marks=frozenset({mark}),
            credential_id=key.id,
            expires_at=ends_at,
        )
    )
    principal = msgspec.structs.replace(principal, roles=principal.roles | frozenset(key.roles))
    current = _Accepted(bytes.fromhex(key.sha256), ends_at, principal)
    if key.previous_sha256 is None or key.previous_expires is None:
        return current, None
    previous_ends_at = min(key.previous_expires.timestamp(), ends_at if ends_at is not None else float("inf"))
    outgoing = msgspec.structs.replace(principal, expires_at=previous_ends_at)
    return current, _Accepted(bytes.fromhex(key.previous_sha256), previous_ends_at, outgoing)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("utf-8"))
    digits = []
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
