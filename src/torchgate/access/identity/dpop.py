"""Proofs that a caller holds the key that its token is bound to (DPoP): one for each request, which counts once.

A stolen token is worth nothing without the key, and a stolen proof nothing for another request, another token, or a
second time.

Source: RFC 9449, sections 4.2, 4.3, 7.1 and 11.1; RFC 7638 (thumbprints of keys).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from torchgate.access.identity.jws import ALGORITHMS, VerificationKey, import_key, is_signed
from torchgate.access.identity.presented import Proof
from torchgate.access.identity.rejection import reject
from torchgate.access.identity.token_text import TokenParts, take_apart
from torchgate.contract.errors import IssuerUnavailable

PROOF_ALGORITHMS = ("ES256", "ES384", "Ed25519", "EdDSA")
"""Elliptic curves alone: it is the caller who brings the key, and a key of RSA can be made to cost much."""

PROOF_AGE_S = 60.0
"""From its `iat`, beside the clocks' allowance. Proofs are made for a request and not kept."""

MAX_PROOF_BYTES = 4096
MAX_REMEMBERED = 200_000
"""Proofs of callers whose token and signature were good; some 30 MB. Beyond, proofs get 503 until some have ended."""

_MAX_ID_CHARACTERS = 256
_MAX_URL_CHARACTERS = 2048
_SECRET_MEMBERS = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})
_PORTS = {"https": 443, "http": 80}
_URL = re.compile(rf"[\x21-\x7e]{{1,{_MAX_URL_CHARACTERS}}}")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Target(NamedTuple):
    """A URL without query and fragment, in the one spelling that equal ones share."""

    scheme: str
    host: str
    port: int
    path: str


class Proofs:
    """Examines proofs, and remembers those that counted for as long as they could count.

    Args:
        public_url: of this server as its clients know it, maybe with a path where it is mounted.
        wall_clock: Unix seconds.
        max_remembered: how many at a time.

    Raises:
        ValueError: the URL is none.

    Process: one event loop. Each process remembers its own.
    """

    def __init__(
        self, public_url: str, *, wall_clock: Callable[[], float], max_remembered: int = MAX_REMEMBERED
    ) -> None:
        self._public_url = public_url.rstrip("/")
        self._wall_clock = wall_clock
        self._max_remembered = max_remembered
        self._counted: dict[bytes, float] = {}  # in the order of their ends
        if target_of(self._public_url) is None:
            raise ValueError(f"{public_url!r} is not the URL of a server")

    def examine(self, proof: Proof, token: str, thumbprint: str, skew_s: float) -> None:
        """Let a proof count, for this request and never again.

        Args:
            token: that it came with.
            thumbprint: of the key that the token is bound to (`cnf.jkt`).
            skew_s: that the caller's clock and ours may differ.

        Raises:
            RejectedCredential: it proves nothing here.
            IssuerUnavailable: too many are remembered.
        """
        if proof.has_counted:
            return  # the same request once more, in its middle
        parts = take_apart(proof.text, MAX_PROOF_BYTES)
        key = _own_key(parts.header, thumbprint)
        self._examine_claims(parts.claims, proof, token, skew_s)
        if not is_signed(parts.signing_input, parts.signature, key):
            raise reject("DPoP: signature")
        self._count(parts, thumbprint, skew_s)
        proof.has_counted = True

    def _examine_claims(self, claims: Mapping[str, object], proof: Proof, token: str, skew_s: float) -> None:
        if claims.get("htm") != proof.method:
            raise reject("DPoP: method")
        named, wanted = claims.get("htu"), target_of(self._public_url + proof.path)
        if wanted is None or not isinstance(named, str) or target_of(named) != wanted:
            raise reject("DPoP: URL")
        issued = claims.get("iat")
        if type(issued) is not int:
            raise reject("DPoP: iat")
        if not -skew_s <= self._wall_clock() - issued <= PROOF_AGE_S + skew_s:
            raise reject("DPoP: made too long ago, or in the future")
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        if not _is_same(claims.get("ath"), _encoded(digest)):
            raise reject("DPoP: of another token")

    def _count(self, parts: TokenParts, thumbprint: str, skew_s: float) -> None:
        named = parts.claims.get("jti")
        if not isinstance(named, str) or not 0 < len(named) <= _MAX_ID_CHARACTERS:
            raise reject("DPoP: jti")
        now = self._wall_clock()
        while self._counted and (oldest := next(iter(self._counted))) and self._counted[oldest] < now:
            del self._counted[oldest]
        place = hashlib.sha256(f"{thumbprint}\n{named}".encode("utf-8", "surrogatepass")).digest()
        if place in self._counted:
            raise reject("DPoP: used before")
        if len(self._counted) >= self._max_remembered:
            raise IssuerUnavailable(
                "The credential can't be examined now, because too many were in the last minutes. Try again later.",
                detail="DPoP: as many proofs are remembered as can be",
                retry_after_s=PROOF_AGE_S,
            )
        # A proof from a clock that is ahead counts longest: so all end in the order in which they came.
        self._counted[place] = now + PROOF_AGE_S + 2 * skew_s


def thumbprint_of(jwk: Mapping[str, object]) -> str:
    """Of a public key of an elliptic curve.

    Source: RFC 7638, section 3.2; RFC 8037, section 2.
    """
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _encoded(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()).decode()


def target_of(url: str) -> Target | None:
    """What a URL names; None: nothing that a request could be sent to.

    Source: RFC 3986, sections 6.2.2 and 6.2.3; escapes of what needs none are undone, and no other.
    """
    if not _URL.fullmatch(url) or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    path = _ESCAPE.sub(_undone, parts.path or "/")
    return Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def _undone(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _own_key(header: Mapping[str, object], thumbprint: str) -> VerificationKey:
    """The key in a proof's head, which must be the one that the token is bound to."""
    kind, algorithm, jwk = header.get("typ"), header.get("alg"), header.get("jwk")
    if not isinstance(kind, str) or kind.lower() != "dpop+jwt" or "crit" in header:
        raise reject("DPoP: no proof")
    if not isinstance(algorithm, str) or algorithm not in PROOF_ALGORITHMS:
        raise reject("DPoP: algorithm")
    if not isinstance(jwk, dict) or not _SECRET_MEMBERS.isdisjoint(jwk) or jwk.get("kty") != ALGORITHMS[algorithm][0]:
        raise reject("DPoP: key")
    try:
        key = import_key(jwk, issuer="", kid="", algorithm=algorithm)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise reject("DPoP: key") from None
    if not _is_same(thumbprint, thumbprint_of(jwk).encode()):
        raise reject("DPoP: of another key than the token's")
    return key


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _is_same(named: object, expected: bytes) -> bool:
    return isinstance(named, str) and hmac.compare_digest(named.encode("utf-8", "surrogatepass"), expected)
