"""What of an issuer's key set (JWKS) we use: each key by itself, so that one bad key spoils only itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from torchgate.access.identity.jws import ALGORITHMS, VerificationKey, import_key

MAX_KEYS = 100  # keys; issuers have two to ten (identity.md 1.2)
_MAX_KID_CHARACTERS = 512

Keys = Mapping[tuple[str, str], VerificationKey]
"""(kid, algorithm) → key."""


class KeysUnreadable(Exception):
    """An issuer's keys can't be had now; the sentence says why, for the log and `doctor`."""


def read_key_set(document: bytes, issuer: str, algorithms: Sequence[str]) -> Keys:
    """The keys that may verify tokens of this issuer.

    Args:
        document: the key set, as published.
        issuer: configured name: what the keys belong to.
        algorithms: allowed ones; a key that names none is bound to the first that fits it.

    Raises:
        KeysUnreadable: not a key set, too many keys, or none of use.
    """
    try:
        found = msgspec.json.decode(document)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise KeysUnreadable("the key set is not JSON") from error
    published = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(published, list):
        raise KeysUnreadable("the key set has no list of keys")
    if len(published) > MAX_KEYS:
        raise KeysUnreadable(f"the key set has {len(published)} keys; at most {MAX_KEYS} are read")
    keys: dict[tuple[str, str], VerificationKey] = {}
    ambiguous: set[tuple[str, str]] = set()
    for key in (_usable(jwk, issuer, algorithms) for jwk in published):
        if key is None:
            continue
        place = (key.kid, key.algorithm)
        if place in keys and keys[place].thumbprint != key.thumbprint:
            ambiguous.add(place)  # two keys of one name: which is meant can't be told, so neither is used
        keys[place] = key
    usable = {place: key for place, key in keys.items() if place not in ambiguous}
    if not usable:
        raise KeysUnreadable(f"none of the {len(published)} published keys can verify a token")
    return usable


def _usable(jwk: object, issuer: str, algorithms: Sequence[str]) -> VerificationKey | None:
    """The key, or None: for encryption, symmetric, private, too small, of no allowed algorithm, or malformed."""
    if not isinstance(jwk, dict) or "d" in jwk or "k" in jwk or jwk.get("use", "sig") != "sig":
        return None
    operations, kid = jwk.get("key_ops", ["verify"]), jwk.get("kid", "")
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(kid, str) or len(kid) > _MAX_KID_CHARACTERS:
        return None
    algorithm = _algorithm(jwk, algorithms)
    if algorithm is None:
        return None
    try:
        return import_key(jwk, issuer=issuer, kid=kid, algorithm=algorithm)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    except Exception:  # noqa: BLE001 - whatever the library makes of a malformed key, the other keys must count
        return None


def _algorithm(jwk: Mapping[str, object], algorithms: Sequence[str]) -> str | None:
    named = jwk.get("alg")
    if named is not None:
        return named if isinstance(named, str) and named in algorithms else None
    return next((name for name in algorithms if ALGORITHMS[name] == (jwk.get("kty"), jwk.get("crv", ""))), None)
