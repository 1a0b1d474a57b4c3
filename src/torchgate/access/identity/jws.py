"""The only place that knows the signature library: one key, one algorithm, one answer.

Everything around a signature (segments, headers, which key) is decided by our own code before; so that another
library can take its place without a rule changing. It is imported with the first key: the settings need what stands
here, too, and a server without issuers starts sooner without it.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from joserfc import jwk

ALGORITHMS: Mapping[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""Algorithm → type and curve of the key that it needs. Asymmetric only: with HS* whoever can verify can sign."""

_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
# bits: below, forgeable (NIST SP 800-131A); above, one verification takes milliseconds
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192


class VerificationKey(msgspec.Struct, frozen=True, eq=False):
    """A public key of one issuer, bound to the one algorithm that it may verify.

    Args:
        issuer: the issuer that published it: a key never counts for another one.
        kid: as published, or empty.
        algorithm: the only one that it is used with.
        thumbprint: SHA-256 of its public members and of `token_issuer`: the same key published again is the same key.
        native: what the library made of it.
        token_issuer: the `iss` that it signs for, where its issuer publishes that (Entra does), else empty.
    """

    issuer: str
    kid: str
    algorithm: str
    thumbprint: str
    native: jwk.Key
    token_issuer: str = ""


def import_key(members: Mapping[str, object], *, issuer: str, kid: str, algorithm: str) -> VerificationKey:
    """Make a key of the public members of a JWK; all others (`x5c`, `x5u`, …) never reach the library.

    Its `issuer`, which Entra writes, says whose tokens it signs.

    Raises:
        ValueError, KeyError, TypeError: it is not a key that this algorithm can use.
    """
    from joserfc import jwk
    from joserfc.errors import JoseError

    kty, curve = ALGORITHMS[algorithm]
    public = {name: members[name] for name in _MEMBERS[kty]} | {"kty": kty}
    if curve and public["crv"] != curve:
        raise ValueError("curve of another algorithm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of small keys; we refuse them below
        try:
            native = jwk.import_key({name: str(value) for name, value in public.items()})
        except JoseError as error:
            raise ValueError(f"no {kty} key: {error}") from None
    if isinstance(native, jwk.RSAKey) and not _MIN_RSA_BITS <= native.public_key.key_size <= _MAX_RSA_BITS:
        raise ValueError("RSA key too small or too large")
    token_issuer = members.get("issuer", "")
    if not isinstance(token_issuer, str):
        raise TypeError("issuer of the key is no text")
    material = "\n".join([token_issuer, *(f"{name}={public[name]}" for name in sorted(public))])
    thumbprint = hashlib.sha256(material.encode()).hexdigest()
    return VerificationKey(issuer, kid, algorithm, thumbprint, native, token_issuer)


def is_signed(signing_input: bytes, signature: bytes, key: VerificationKey) -> bool:
    """Whether the signature over these bytes was made by the owner of this key, with the key's own algorithm."""
    from joserfc.jws import JWSRegistry

    model = JWSRegistry.algorithms[key.algorithm]
    model.check_key(key.native)
    return bool(model.verify(signing_input, signature, key.native))
