"""What identity and policy cost each request: `python benchmarks/identity.py`, with a Python that has Torchgate.

A token of Entra's shape with 20 groups, seen for the first time and remembered; then the two decisions of a request,
at the door and with the facts of its body. The goal is 30 us for a remembered credential and its decisions together.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from torchgate.access.build import build_access
from torchgate.access.identity.api_key import new_api_key
from torchgate.access.identity.authenticate import Authentication
from torchgate.access.identity.presented import Presented
from torchgate.access.oidc_settings import OidcSettings
from torchgate.access.policy.authorise import Authorisation
from torchgate.access.policy_settings import PolicySettings, RuleSettings
from torchgate.access.settings import AccessSettings, ApiKeySettings, IdentitySettings
from torchgate.contract.decision import Action, ModelRef, RequestFacts, Resource

REPEATS, COUNT = 9, 5000
TENANT, OID, API = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
GROUPS = [str(uuid.UUID(int=1000 + number)) for number in range(20)]
CERTIFICATE = b"a certificate, proven by TLS"


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Signer:
    """An issuer with one key."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self.issuer = f"https://login.microsoftonline.com/{TENANT}/v2.0"

    def key_set(self) -> bytes:
        """As published."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "k", "use": "sig", "n": encoded(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
        return json.dumps({"keys": [key]}).encode()

    def token(self, **more: object) -> str:
        """An access token of a person with 20 groups."""
        now = int(time.time())
        claims = {
            "aud": API, "iss": self.issuer, "iat": now, "nbf": now, "exp": now + 3600, "azp": API, "azpacr": "1",
            "groups": GROUPS, "name": "Ann Example", "oid": OID, "preferred_username": "ann@contoso.example",
            "roles": ["Analyst"], "scp": "infer", "sub": "s" * 43, "tid": TENANT, "uti": "u" * 22, "ver": "2.0",
        } | more  # fmt: skip
        head = {"alg": "RS256", "typ": "JWT", "kid": "k"}
        message = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
        signature = self._key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{message}.{encoded(signature)}"


def main() -> None:
    """Print the table."""
    signer = Signer()
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder, "keys.json")
        keys.write_bytes(signer.key_set())
        asyncio.run(measure(signer, keys))


async def measure(signer: Signer, keys: Path) -> None:
    """First sight, then what is remembered."""
    key = new_api_key("benchmark")
    thumbprint = encoded(hashlib.sha256(CERTIFICATE).digest())
    plain, bound = signer.token(), signer.token(cnf={"x5t#S256": thumbprint})
    authentication, authorisation = access(signer, keys, key.sha256)
    print(f"Token: {len(plain)} bytes, RS256. Python {sys.version.split()[0]}.\n")
    print("| | median us | least us |\n| --- | --- | --- |")
    fresh = iter([signer.token(uti=str(number)) for number in range(REPEATS * 100)])
    await authentication.authenticate(Presented(bearer=next(fresh)))
    await awaited(
        "token seen for the first time", lambda: authentication.authenticate(Presented(bearer=next(fresh))), 90
    )
    for sent in (Presented(bearer=plain), Presented(bearer=bound, tls_certificate=CERTIFICATE)):
        await authentication.authenticate(sent)
    await remembered(authentication, authorisation, (plain, bound, key.key))
    await authentication.stop()


def access(signer: Signer, keys: Path, sha256: str) -> tuple[Authentication, Authorisation]:
    """One issuer, one API key; three grants and a denial, one of which depends on the body."""
    issuer = OidcSettings(name="entra", profile="entra", issuer=signer.issuer, audience=(API,), jwks_file=keys)
    grants = [
        RuleSettings(roles=(role,), models=("*",), actions=("infer",)) for role in ("other", "analyst", "operator")
    ]
    denial = RuleSettings(roles=("barred",), models=("secret",), actions=("*",))
    roles = {
        "analyst": ("entra:role:Analyst",),
        "operator": ("key:benchmark",),
        "other": (f"entra:group:{API}",),
        "barred": (f"entra:group:{OID}",),
    }
    identity = IdentitySettings(oidc=(issuer,), api_keys=(ApiKeySettings(id="benchmark", sha256=sha256),))
    return build_access(AccessSettings(identity, roles, PolicySettings(grants=tuple(grants), denials=(denial,))))


async def remembered(
    authentication: Authentication, authorisation: Authorisation, credentials: tuple[str, str, str]
) -> None:
    """What each further request costs."""
    plain, bound, key = credentials
    resource, facts = Resource(ModelRef("tiny", "1")), RequestFacts(rows=1, body_bytes=100)
    kinds = {
        "token, remembered": Presented(bearer=plain),
        "token bound to a certificate, remembered": Presented(bearer=bound, tls_certificate=CERTIFICATE),
        "API key": Presented(api_key=key),
    }
    for name, presented in kinds.items():
        _show(name, _times_us(lambda presented=presented: authentication.cached(presented)))
    principal = authentication.cached(kinds["token, remembered"])
    assert principal is not None
    await awaited("one decision", lambda: authorisation.authorise(principal, Action.INFER, resource))

    async def request(presented: Presented) -> None:
        found = authentication.cached(presented)
        assert found is not None
        assert (await authorisation.authorise(found, Action.INFER, resource)).allowed
        assert (await authorisation.authorise(found, Action.INFER, resource, facts)).allowed

    for name, presented in kinds.items():
        await awaited(f"**{name}, and both decisions**", lambda presented=presented: request(presented))


def _times_us(piece: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(REPEATS):
        started_at = time.perf_counter()
        for _ in range(COUNT):
            piece()
        times.append((time.perf_counter() - started_at) / COUNT * 1e6)
    return times


async def awaited(name: str, piece: Callable[[], Awaitable[object]], count: int = COUNT) -> None:
    """Measure and show."""
    times = []
    for _ in range(REPEATS):
        started_at = time.perf_counter()
        for _ in range(count):
            await piece()
        times.append((time.perf_counter() - started_at) / count * 1e6)
    _show(name, times)


def _show(name: str, times_us: list[float]) -> None:
    print(f"| {name} | {median(times_us):.1f} | {min(times_us):.1f} |", flush=True)


if __name__ == "__main__":
    main()
