"""Proof that a worker's orders come from the pool that loaded its model, each once and in order.

The channel is the worker's own; but whoever else comes to hold its other end (a handle that went astray, another
pool, code of another model) must not have rows run in a principal's name. The key comes with Load, the first message
of a channel that nobody else has yet, and is on no command line and in no environment.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import msgspec

from torchgate.contract.worker_wire import Order, Sealed, WireError, decode_order, encode_order

KEY_BYTES = 32
_SEAL_BYTES = 16


def new_channel_key() -> bytes:
    """A key for one worker's channel."""
    return secrets.token_bytes(KEY_BYTES)


class Sealer:
    """The pool's side of one channel.

    Args:
        key: of this channel alone.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def seal(self, order: Order) -> Sealed:
        """The order as only this channel's worker takes it, and only next."""
        self._number += 1
        body = encode_order(order)
        return Sealed(self._number, _seal(self._key, self._number, body), msgspec.Raw(body))


class Opener:
    """The worker's side of one channel.

    Args:
        key: as Load brought it.

    Raises:
        WireError: it is none.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise WireError(f"a channel key of {len(key)} bytes")
        self._key = key
        self._number = 0

    def opened(self, sealed: Sealed) -> Order:
        """The order.

        Raises:
            WireError: it is not the pool's, not the next one, or none at all.
        """
        body = bytes(sealed.order)
        if not hmac.compare_digest(sealed.seal, _seal(self._key, sealed.number, body)):
            raise WireError("an order that this worker's pool did not seal")
        if sealed.number != self._number + 1:
            raise WireError(f"order {sealed.number} after order {self._number}")
        self._number = sealed.number
        return decode_order(body)


def _seal(key: bytes, number: int, body: bytes) -> bytes:
    try:
        mark = number.to_bytes(8, "little")
    except OverflowError:
        raise WireError("an order with a number that none has") from None
    return hashlib.blake2b(body, digest_size=_SEAL_BYTES, key=key, salt=mark).digest()
