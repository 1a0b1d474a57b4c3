"""An issuer in this process that signs whatever it is told to: also what no honest issuer would.

It signs with `cryptography` alone, so that the library that verifies is not its own oracle.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from torchgate.access.identity.bearer_token import BearerTokens, Issuer
from torchgate.access.identity.key_set import KeySet
from torchgate.access.identity.published_keys import KeysUnreadable
from torchgate.access.identity.token_principal import TokenPrincipals
from torchgate.access.oidc_settings import OidcSettings
from torchgate.access.policy.roles import Roles
from torchgate.contract.errors import RejectedCredential

NOW = 1_900_000_000
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def new_key(algorithm: str) -> PrivateKey:
    """A key for an algorithm."""
    if algorithm[:2] in {"RS", "PS"}:
        return rsa.generate_private_key(65537, 2048)
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    return ec.generate_private_key(curves[algorithm]) if algorithm in curves else ed25519.Ed25519PrivateKey.generate()


def sign(algorithm: str, key: PrivateKey, message: bytes) -> bytes:
    """A signature as JWS has it."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    digest = _HASHES[algorithm[2:]]()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if algorithm.startswith("PS"):
        return key.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(message, padding.PKCS1v15(), digest)


def public_jwk(key: PrivateKey, **members: object) -> dict[str, Any]:
    """The public key as an issuer publishes it."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {
            "kty": "RSA",
            "n": encoded(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": encoded(numbers.e.to_bytes(3, "big")),
        } | members
    if isinstance(public, ec.EllipticCurvePublicKey):
        size = (public.curve.key_size + 7) // 8
        point = public.public_numbers()
        name = {256: "P-256", 384: "P-384", 521: "P-521"}[public.curve.key_size]
        return {
            "kty": "EC",
            "crv": name,
            "x": encoded(point.x.to_bytes(size, "big")),
            "y": encoded(point.y.to_bytes(size, "big")),
        } | members
    return {"kty": "OKP", "crv": "Ed25519", "x": encoded(public.public_bytes_raw())} | members


class GivenKeys:
    """A key source that gives what the test puts in, and counts how often it is asked."""

    def __init__(self, *jwks: Mapping[str, Any]) -> None:
        self.document = json.dumps({"keys": jwks}).encode()
        self.failure = ""
        self.asked = 0

    def publish(self, *jwks: Mapping[str, Any]) -> None:
        """Publish these keys from now on."""
        self.document = json.dumps({"keys": jwks}).encode()

    async def fetch(self) -> bytes:
        """What is published, or the failure."""
        self.asked += 1
        if self.failure:
            raise KeysUnreadable(self.failure)
        return self.document


class Clock:
    """A clock that the test sets."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


class LocalIssuer:
    """One issuer with one key, and the settings that trust it."""

    def __init__(self, algorithm: str = "ES256", *, key: PrivateKey | None = None, **settings: object) -> None:
        self.algorithm = algorithm
        self.key = key or new_key(algorithm)
        self.kid = f"kid-{algorithm}"
        values = {"name": "corp", "issuer": "https://id.example", "audience": ["api"]} | settings
        self.settings = OidcSettings.model_validate_json(json.dumps(values))
        self.source = GivenKeys(public_jwk(self.key, kid=self.kid, alg=algorithm, use="sig"))
        self.clock = Clock(1000.0)
        self.wall_clock = Clock(float(NOW))

    def claims(self, **changes: object) -> dict[str, Any]:
        """Claims of a good RFC 9068 access token; a change to `...` takes one away."""
        claims = {
            "iss": self.settings.issuer,
            "aud": "api",
            "sub": "alice",
            "exp": NOW + 600,
            "iat": NOW - 10,
            "client_id": "client",
            "jti": "token-1",
        } | changes
        return {name: value for name, value in claims.items() if value is not ...}

    def header(self, **changes: object) -> dict[str, Any]:
        """Header of a good access token; a change to `...` takes a member away."""
        header = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.kid} | changes
        return {name: value for name, value in header.items() if value is not ...}

    def token(self, claims: object = None, header: object = None, key: PrivateKey | None = None) -> str:
        """A signed token; claims and header may be objects, or bytes taken as they are."""
        head = _bytes(self.header() if header is None else header)
        body = _bytes(self.claims() if claims is None else claims)
        message = f"{encoded(head)}.{encoded(body)}"
        return f"{message}.{encoded(sign(self.algorithm, key or self.key, message.encode()))}"

    def key_set(self) -> KeySet:
        """The keys of this issuer, not started: they are read when first asked for."""
        return KeySet(self.settings, self.source, self.clock, jitter=lambda: 1.0)

    def issuer(self, roles: Mapping[str, tuple[str, ...]] | None = None) -> Issuer:
        """As BearerTokens takes it."""
        members = Roles(roles or {}).claim_members(self.settings.name)
        return Issuer(self.settings, self.key_set(), TokenPrincipals(self.settings, members))


def tokens_of(*issuers: LocalIssuer, roles: Mapping[str, tuple[str, ...]] | None = None, **limits: int) -> BearerTokens:
    """The examination of bearer tokens of these issuers, on the clocks of the first."""
    return BearerTokens(
        [issuer.issuer(roles) for issuer in issuers],
        **({"max_token_bytes": 16_384, "max_verified": 1000} | limits),
        with_roles=Roles(roles or {}).given_to,
        wall_clock=issuers[0].wall_clock,
    )


async def refusal(issuer: LocalIssuer, token: str, **limits: int) -> str:
    """The class of failure of a token that must be refused, by a fresh server that says nothing of the token."""
    with pytest.raises(RejectedCredential) as caught:
        await tokens_of(issuer, **limits).authenticate(token)
    assert token[:20] not in caught.value.sentence + caught.value.detail or not token
    return caught.value.detail


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()
