"""Against a real OpenID provider: its tokens, its key changes, and all the ways in which its key set can fail."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.rigs.oidc_provider.provider_process import RESOURCE, ProviderProcess
from tests.unit.access.local_issuer import Clock, encoded, public_jwk, sign

from torchgate.access.build import build_access
from torchgate.access.identity.authenticate import Authentication
from torchgate.access.identity.presented import Presented, Proof
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.contract.clock import monotonic_s
from torchgate.contract.errors import IssuerUnavailable, RejectedCredential


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderProcess]:
    """One provider for all tests of this file; each begins with its own keys."""
    try:
        made = ProviderProcess()
    except OSError as error:
        if sys.platform == "win32" and "WINEPREFIX" in os.environ:
            pytest.skip(f"Wine: no Node there, and TORCHGATE_TEST_ISSUER is not set ({error})")
        raise
    yield made
    made.close()


class Server:
    """The access of one server that trusts the provider, on a clock that the test can turn on."""

    def __init__(self, provider: ProviderProcess, resource: str = "", **settings: object) -> None:
        self.provider = provider
        self.ahead_s = Clock(0.0)
        values = {
            "name": "rig",
            "issuer": provider.issuer,
            "audience": [f"{RESOURCE}/rs256", f"{RESOURCE}/es256", "service"],
            "allow_insecure_loopback": True,
        } | settings
        identity = IdentitySettings.model_validate_json(
            json.dumps({"oidc": [values], **({"resource": {"url": resource}} if resource else {})})
        )
        access = AccessSettings(identity=identity, roles={"analyst": ("rig:role:Analyst",)})
        self.authentication: Authentication = build_access(access, clock=lambda: monotonic_s() + self.ahead_s())[0]

    async def answer(self, token: str) -> str:
        """The principal's key, or the name of the refusal."""
        presented = Presented(bearer=token)
        try:
            principal = self.authentication.cached(presented) or await self.authentication.authenticate(presented)
        except (RejectedCredential, IssuerUnavailable) as problem:
            return f"{type(problem).__name__}: {problem.detail}"
        return principal.key

    async def read_keys(self) -> str:
        """Refresh the keys now, as the background would; why it failed, or empty."""
        (keys,) = self.authentication._key_sets
        await keys.refresh()
        return keys.status().failure


@pytest.fixture
async def server(provider: ProviderProcess) -> AsyncIterator[Server]:
    await asyncio.to_thread(provider.switch, "reset")
    made = Server(provider)
    yield made
    await made.authentication.stop()


def good(server: Server) -> str:
    return f"rig|{server.provider.issuer}|service"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_an_access_token_is_its_principal(server: Server, algorithm: str) -> None:
    token = await asyncio.to_thread(server.provider.access_token, algorithm)
    principal = await server.authentication.authenticate(Presented(bearer=token))
    assert principal.key == good(server)
    assert principal.roles == {"analyst"}
    assert {"rig:scope:models.predict", "rig:role:Analyst", "rig:sub:service"} <= principal.marks
    assert principal.expires_at is not None
    assert principal.expires_at > time.time()


async def test_start_does_not_wait_and_the_first_token_finds_the_keys(server: Server) -> None:
    token = await asyncio.to_thread(server.provider.access_token)
    await server.authentication.start()
    assert await server.answer(token) == good(server)
    assert await asyncio.to_thread(server.provider.asked) == {"jwks": 1, "discovery": 1}
    await asyncio.to_thread(server.provider.switch, "jwks/slow")
    slow = Server(server.provider)
    await slow.authentication.start()
    (issuer,) = slow.authentication.issuers()
    assert (issuer.keys, issuer.failure) == (0, ""), "it neither has keys nor has it given up"
    while (await asyncio.to_thread(server.provider.asked))["jwks"] < 2:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.01)
    await slow.authentication.stop()


@pytest.mark.identity_case("bearer", "an ID token of a real provider, whose audience is trusted", "401")
async def test_an_id_token_is_refused_in_both_profiles(server: Server) -> None:
    """The attacker presents what a login gave to the client, whose audience is trusted here."""
    token = await asyncio.to_thread(server.provider.id_token)
    assert await server.answer(token) == "RejectedCredential: token type"
    generic = Server(server.provider, profile="generic")
    assert await generic.answer(token) == "RejectedCredential: not an access token"


@pytest.mark.identity_case(
    "bearer", "a DPoP-bound token of a real provider without its proof, and the proof as a token", "401"
)
async def test_a_token_bound_by_dpop_is_refused_as_bearer(server: Server) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public_jwk(key)}
    claims = {
        "htm": "POST",
        "htu": f"{server.provider.issuer}/token",
        "iat": int(time.time()),
        "jti": hashlib.sha256(str(monotonic_s()).encode()).hexdigest(),
    }
    message = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    proof = f"{message}.{encoded(sign('ES256', key, message.encode()))}"
    token = await asyncio.to_thread(server.provider.access_token, "RS256", "bound", DPoP=proof)
    assert await server.answer(token) == "RejectedCredential: bound token sent as bearer"
    assert await server.answer(proof) == "RejectedCredential: issuer"


@pytest.mark.identity_case("bearer, DPoP", "a bound token of a real provider, with a proof of its key", "counts")
async def test_a_token_bound_by_dpop_counts_with_a_proof_where_it_is_allowed(provider: ProviderProcess) -> None:
    """The provider has seen the key, and so have we; the token itself is no bearer token here either."""
    await asyncio.to_thread(provider.switch, "reset")
    url, key = "https://models.example", ec.generate_private_key(ec.SECP256R1())

    def proof(method: str, htu: str, **more: str) -> str:
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public_jwk(key)}
        claims = {"htm": method, "htu": htu, "iat": int(time.time()), "jti": os.urandom(16).hex(), **more}
        message = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
        return f"{message}.{encoded(sign('ES256', key, message.encode()))}"

    granted = proof("POST", f"{provider.issuer}/token")
    token = await asyncio.to_thread(provider.access_token, "RS256", "bound", DPoP=granted)
    server = Server(provider, resource=url, dpop="required")
    mine = Proof(proof("GET", f"{url}/whoami", ath=encoded(hashlib.sha256(token.encode()).digest())), "GET", "/whoami")
    found = await server.authentication.authenticate(Presented(bearer=token, proof=mine))
    assert found.key == f"rig|{provider.issuer}|bound"
    assert await server.answer(token) == "RejectedCredential: bound token sent as bearer"
    plain = await asyncio.to_thread(provider.access_token)
    assert await server.answer(plain) == "RejectedCredential: a token that is bound to no key, where all must be"
    await server.authentication.stop()


@pytest.mark.identity_case(
    "issuer",
    "a real provider changes and withdraws keys",
    "the new one counts at once, the old one until the next refresh",
)
async def test_keys_change_without_a_restart(server: Server) -> None:
    """A new key counts at once, the old one until it is withdrawn, and then no longer than to the next refresh."""
    old = await asyncio.to_thread(server.provider.access_token)
    assert await server.answer(old) == good(server)
    await asyncio.to_thread(server.provider.switch, "rotate")
    new = await asyncio.to_thread(server.provider.access_token)
    assert new.split(".")[0] != old.split(".")[0]
    assert [await server.answer(token) for token in (new, old)] == [good(server)] * 2
    await asyncio.to_thread(server.provider.switch, "retire")
    assert await server.read_keys() == ""
    assert await server.answer(new) == good(server)
    assert await server.answer(old) == "RejectedCredential: unknown key"


FAULTS = {
    "jwks/down": "status 503",
    "jwks/reset": "Connection|RemoteDisconnected",
    "jwks/huge": "more than 524288 bytes",
    "jwks/html": "content type 'text/html'",
    "jwks/redirect": "status 302",
    "discovery/issuer": "names another issuer",
    "discovery/host": "on another host",
    "discovery/insecure": "no usable jwks_uri",
}


@pytest.mark.identity_case(
    "issuer",
    "key set or discovery answers 503, a reset, 24 MB, HTML, a redirect, another issuer or another host",
    "known keys count; tokens of new ones get 503",
)
@pytest.mark.parametrize("fault", FAULTS)
async def test_known_keys_go_on_and_unknown_ones_wait_while_the_issuer_fails(server: Server, fault: str) -> None:
    old = await asyncio.to_thread(server.provider.access_token)
    assert await server.answer(old) == good(server)
    await asyncio.to_thread(server.provider.switch, "rotate")
    new = await asyncio.to_thread(server.provider.access_token)
    await asyncio.to_thread(server.provider.switch, fault)
    assert re.search(FAULTS[fault], await server.read_keys())
    assert await server.answer(old) == good(server)
    assert (await server.answer(new)).startswith("IssuerUnavailable")
    fresh = Server(server.provider)
    assert (await fresh.answer(old)).startswith("IssuerUnavailable"), "a start without keys"
    await asyncio.to_thread(server.provider.switch, f"{fault.split('/', maxsplit=1)[0]}/ok")
    server.ahead_s.at += 60
    assert await server.answer(new) == good(server)


@pytest.mark.identity_case("issuer", "a key set that takes 20 s", "known keys wait for nothing; new ones 3 s at most")
async def test_nobody_waits_longer_than_three_seconds_for_a_slow_issuer(server: Server) -> None:
    old = await asyncio.to_thread(server.provider.access_token)
    assert await server.answer(old) == good(server)
    await asyncio.to_thread(server.provider.switch, "rotate")
    new = await asyncio.to_thread(server.provider.access_token)
    await asyncio.to_thread(server.provider.switch, "jwks/slow")
    waiting = [asyncio.create_task(server.answer(new)) for _ in range(20)]
    await asyncio.sleep(0)
    assert await server.answer(old) == good(server)
    assert not any(one.done() for one in waiting), "a known key waits for nothing"
    assert all(answer.startswith("IssuerUnavailable") for answer in await asyncio.gather(*waiting))
    assert server.authentication.issuers()[0].failure == "", "the read that they waited for is still under way"
    assert (await asyncio.to_thread(server.provider.asked))["jwks"] == 2, "twenty requests shared one read"


@pytest.mark.identity_case("issuer", "an issuer that is not there, or without TLS", "503")
async def test_an_issuer_that_is_not_there_is_unavailable(provider: ProviderProcess, tmp_path: Path) -> None:
    """Nothing listens; no such name; a certificate authority file that is not there."""
    token = await asyncio.to_thread(provider.access_token)
    for changes in (
        {"jwks_uri": "http://127.0.0.1:9/jwks"},
        {"jwks_uri": "https://issuer.invalid/jwks"},
        {"jwks_uri": provider.issuer.replace("http:", "https:") + "/jwks"},
        {"jwks_uri": provider.issuer.replace("http:", "https:") + "/jwks", "ca_file": str(tmp_path / "none.pem")},
        {"jwks_file": str(tmp_path / "none.json")},
    ):
        server = Server(provider, **changes)
        assert (await server.answer(token)).startswith("IssuerUnavailable")
        assert server.authentication.issuers()[0].failure
        await server.authentication.stop()


@pytest.mark.identity_case("bearer", "tokens of a real provider in the shapes of Okta and Keycloak", "their principals")
@pytest.mark.parametrize(
    ("shape", "place", "settings", "key", "marks"),
    [
        ("okta", "/oauth2/default", {}, "00uann", {"rig:uid:00uann", "rig:scope:models.predict", "rig:group:Staff"}),
        (
            "keycloak",
            "/realms/corp",
            {"role_claims": ['resource_access."my.client".roles'], "clients": ["service"]},
            "service",
            {"rig:role:Analyst", "rig:sub:service"},
        ),
    ],
)
async def test_tokens_in_the_shape_of_other_products_are_their_principals(
    server: Server, shape: str, place: str, settings: dict[str, object], key: str, marks: set[str]
) -> None:
    await asyncio.to_thread(server.provider.switch, f"shape/{shape}")
    issuer = server.provider.issuer + place
    shaped = Server(server.provider, profile=shape, issuer=issuer, **settings)
    token = await asyncio.to_thread(server.provider.access_token)
    principal = await shaped.authentication.authenticate(Presented(bearer=token))
    assert principal.key == f"rig|{issuer}|{key}"
    assert marks <= principal.marks
    assert await server.answer(token) == "RejectedCredential: issuer"
    await shaped.authentication.stop()
    other = Server(server.provider, profile=shape, issuer=issuer, **settings | {"clients": ["other"]})
    assert await other.answer(token) == "RejectedCredential: client not allowed"
    await other.authentication.stop()
