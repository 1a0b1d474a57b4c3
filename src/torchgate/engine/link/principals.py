"""Who asks, on its way from gate to pool: written and read once for each caller, and not for each of its requests.

A token may carry hundreds of groups, and most requests come from callers that have just asked.
"""

from __future__ import annotations

import msgspec

from torchgate.contract.principal import Principal
from torchgate.engine.link.wire import LinkBroken

_MOST_WRITTEN = 1024
"""Principals that a gate remembers; then it forgets them all."""

_MOST_READ_BYTES = 4 << 20
"""Of encoded principals that a pool remembers of one gate; then it forgets them all."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Principal] = msgspec.msgpack.Decoder(Principal)


class WrittenPrincipals:
    """A gate's: principals as they are sent. Claims stay here: they are the policy's affair, which is decided here."""

    def __init__(self) -> None:
        self._written: dict[int, tuple[Principal, msgspec.Raw]] = {}

    def write(self, principal: Principal) -> msgspec.Raw:
        """Encoded; the same object is encoded once."""
        known = self._written.get(id(principal))
        if known is not None:
            return known[1]
        if len(self._written) >= _MOST_WRITTEN:
            self._written.clear()
        raw = msgspec.Raw(_encoder.encode(without_claims(principal)))
        self._written[id(principal)] = (principal, raw)  # kept with it: the number is nobody else's meanwhile
        return raw


class ReadPrincipals:
    """A pool's, of one gate: the same bytes are the same principal."""

    def __init__(self) -> None:
        self._read: dict[bytes, Principal] = {}
        self._bytes = 0

    def read(self, raw: msgspec.Raw) -> Principal:
        """Decoded.

        Raises:
            LinkBroken: it is no principal.
        """
        written = bytes(raw)
        principal = self._read.get(written)
        if principal is not None:
            return principal
        try:
            principal = _decoder.decode(written)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LinkBroken(f"{len(written)} bytes are no principal: {error}") from None
        self._bytes += len(written)
        if self._bytes > _MOST_READ_BYTES:
            self._read.clear()
            self._bytes = len(written)
        self._read[written] = principal
        return principal


def without_claims(principal: Principal) -> Principal:
    """As the pool knows it."""
    return msgspec.structs.replace(principal, claims={}) if principal.claims else principal
