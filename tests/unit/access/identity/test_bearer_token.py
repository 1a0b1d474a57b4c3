"""What an attacker sends as a bearer token, and what honest issuers send.

Each case of the tables says what is sent. Whatever it is, the answer is a principal or a CredentialProblem.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.access.local_issuer import (
    NOW,
    Clock,
    LocalIssuer,
    encoded,
    new_key,
    public_jwk,
    refusal,
    sign,
    tokens_of,
)

from torchgate.contract.errors import CredentialProblem, IssuerUnavailable, RejectedCredential
from torchgate.contract.principal import Principal

ES256 = LocalIssuer("ES256")
RS256 = LocalIssuer("RS256")
OTHER_KEY = new_key("ES256")


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
async def test_a_good_token_of_each_algorithm_is_believed(algorithm: str) -> None:
    key = RS256.key if algorithm[:2] in {"RS", "PS"} else None
    issuer = LocalIssuer(algorithm, key=key, algorithms=[algorithm])
    principal = await tokens_of(issuer).authenticate(issuer.token())
    assert principal.key == "corp|https://id.example|alice"
    assert (principal.method, principal.issuer, principal.credential_id) == ("bearer", "corp", "token-1")
    assert principal.expires_at == NOW + 600


def _hmac_token(issuer: LocalIssuer, algorithm: str, secret: bytes, **header: object) -> str:
    message = f"{encoded(json.dumps(issuer.header(alg=algorithm, **header)).encode())}." + encoded(
        json.dumps(issuer.claims()).encode()
    )
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    return f"{message}.{encoded(hmac.new(secret, message.encode(), digest).digest())}"


@pytest.mark.identity_case("bearer", "`alg` none in any spelling, missing, or no text", "401")
@pytest.mark.parametrize(
    "algorithm", ["none", "None", "nOnE", "NONE", "", [], 1, None, {}, True, ..., "HS256", "es256"]
)
async def test_a_token_without_an_allowed_algorithm_is_refused(algorithm: object) -> None:
    """The attacker says that the token needs no signature, or names something that is no algorithm."""
    header = ES256.header(alg=algorithm)
    assert await refusal(ES256, ES256.token(header=header)) == "algorithm not allowed"
    head, body, _ = ES256.token(header=header).split(".")
    for signature in ("", "AA"):
        await refusal(ES256, f"{head}.{body}.{signature}")


@pytest.mark.identity_case("bearer", "HS256/384/512 with the public key (PEM, DER, JWK, modulus) as secret", "401")
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("form", ["pem", "der", "jwk", "modulus", "x"])
@pytest.mark.parametrize("issuer", [ES256, RS256], ids=["ec", "rsa"])
async def test_a_token_signed_with_the_public_key_as_shared_secret_is_refused(
    algorithm: str, form: str, issuer: LocalIssuer
) -> None:
    """The attacker takes what everybody can download and uses it as an HMAC secret."""
    public = issuer.key.public_key()
    encoding = serialization.Encoding.DER if form == "der" else serialization.Encoding.PEM
    secret = public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = public_jwk(issuer.key)
    if form == "jwk":
        secret = json.dumps(jwk).encode()
    elif form in {"modulus", "x"}:
        text = jwk.get("n", jwk.get("x", ""))
        secret = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert await refusal(issuer, _hmac_token(issuer, algorithm, secret)) == "algorithm not allowed"


@pytest.mark.identity_case("bearer", "the key of one algorithm under the name of another", "401")
@pytest.mark.parametrize("label", ["PS256", "RS384", "RS512", "PS384", "ES256", "ES384"])
async def test_a_key_verifies_only_its_own_algorithm(label: str) -> None:
    """The attacker relabels: the key of one algorithm under the name of another that is allowed too."""
    issuer = LocalIssuer(
        "RS256", key=RS256.key, algorithms=["RS256", "RS384", "RS512", "PS256", "PS384", "ES256", "ES384"]
    )
    genuine = issuer.token(header=issuer.header(alg=label))
    assert await refusal(issuer, genuine) == "algorithm is not the key's"
    if label[:2] in {"PS", "RS"}:
        message = (
            f"{encoded(json.dumps(issuer.header(alg=label)).encode())}.{encoded(json.dumps(issuer.claims()).encode())}"
        )
        resigned = f"{message}.{encoded(sign(label, issuer.key, message.encode()))}"
        assert await refusal(issuer, resigned) == "algorithm is not the key's"


@pytest.mark.identity_case("bearer", "a token signed by a stranger", "401")
async def test_a_token_signed_by_a_stranger_is_refused() -> None:
    assert await refusal(ES256, ES256.token(key=OTHER_KEY)) == "signature"


@pytest.mark.identity_case("bearer", "one bit of header, claims or signature changed", "401")
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_changed_token_is_refused(place: int) -> None:
    """The attacker changes one bit of header, claims or signature of a good token."""
    segments = ES256.token().split(".")
    raw = bytearray(base64.urlsafe_b64decode(segments[place] + "=="))
    raw[len(raw) // 2] ^= 1
    segments[place] = encoded(bytes(raw))
    await refusal(ES256, ".".join(segments))


@pytest.mark.identity_case(
    "bearer",
    "`jwk`, `jku`, `x5u`, `x5c` or a URL as key id, with the attacker's key",
    "401, and no connection is made",
)
@pytest.mark.parametrize(
    "member",
    [
        {"jwk": public_jwk(OTHER_KEY)},
        {"jku": "{url}/keys"},
        {"x5u": "{url}/chain.pem"},
        {"x5c": ["MIIB"]},
        {"jwk": public_jwk(OTHER_KEY), "kid": ...},
        {"kid": "{url}/keys"},
    ],
    ids="+".join,
)
async def test_a_key_that_the_token_brings_is_ignored_and_nothing_is_fetched(member: dict[str, object]) -> None:
    """The attacker signs with an own key and says in the header where to find it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        filled = {k: v.replace("{url}", url) if isinstance(v, str) else v for k, v in member.items()}
        header = ES256.header(**filled)
        assert await refusal(ES256, ES256.token(header=header, key=OTHER_KEY)) in {"signature", "unknown key"}
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.identity_case(
    "bearer",
    "a token in the name of one issuer signed by another configured one, same key id",
    "401",
)
async def test_keys_of_one_issuer_never_count_for_another() -> None:
    """The attacker owns one configured issuer and signs tokens in the name of the other, with either key id."""
    good = LocalIssuer("ES256", key=ES256.key)
    evil = LocalIssuer("ES256", name="evil", issuer="https://evil.example")
    tokens = tokens_of(good, evil)
    assert (await tokens.authenticate(good.token())).issuer == "corp"
    assert (await tokens.authenticate(evil.token())).issuer == "evil"
    for issuer, key in ((good, evil.key), (evil, good.key)):
        for kid in (good.kid, evil.kid, ...):
            token = issuer.token(header=issuer.header(kid=kid), key=key)
            with pytest.raises(RejectedCredential, match=r".*") as caught:
                await tokens.authenticate(token)
            assert caught.value.detail == "signature"


@pytest.mark.identity_case(
    "issuer",
    "a token of an issuer whose keys were never read",
    "503 with Retry-After; other issuers' tokens count",
)
async def test_tokens_of_an_issuer_out_of_reach_are_neither_accepted_nor_refused() -> None:
    """At start without keys: 503 for that issuer, and the other issuer's tokens count."""
    dark = LocalIssuer("ES256", name="dark", issuer="https://dark.example")
    dark.source.failure = "down"
    tokens = tokens_of(ES256, dark)
    with pytest.raises(IssuerUnavailable) as caught:
        await tokens.authenticate(dark.token())
    assert caught.value.retry_after_s
    assert await tokens.authenticate(ES256.token())


@pytest.mark.identity_case("bearer", "a remembered token after its expiry", "401")
async def test_a_believed_token_is_remembered_until_it_expires() -> None:
    issuer = LocalIssuer("ES256", key=ES256.key)
    tokens, token = tokens_of(issuer), issuer.token()
    assert tokens.cached(token) is None
    principal = await tokens.authenticate(token)
    assert tokens.cached(token) is principal
    issuer.wall_clock.at = NOW + 599.9
    assert tokens.cached(token) is principal
    issuer.wall_clock.at = NOW + 600
    assert tokens.cached(token) is None
    assert await tokens.authenticate(token), "within the skew it is examined each time"
    assert tokens.cached(token) is None
    issuer.wall_clock.at = NOW + 630
    with pytest.raises(RejectedCredential):
        await tokens.authenticate(token)


@pytest.mark.identity_case("issuer", "a remembered token whose key was withdrawn or replaced", "401")
async def test_a_believed_token_dies_with_its_key() -> None:
    """Withdrawn, or replaced by another of the same name; the same key published again changes nothing."""
    issuer = LocalIssuer("ES256", key=ES256.key)
    tokens, token = tokens_of(issuer), issuer.token()
    keys = tokens._issuers[issuer.settings.issuer].keys
    await tokens.authenticate(token)
    await keys.refresh()
    assert tokens.cached(token) is not None
    issuer.source.publish(public_jwk(OTHER_KEY, kid=issuer.kid))
    await keys.refresh()
    assert tokens.cached(token) is None
    with pytest.raises(RejectedCredential):
        await tokens.authenticate(token)


@pytest.mark.identity_case("issuer", "a remembered token after a day without the issuer", "503")
async def test_a_believed_token_dies_with_keys_that_are_too_old() -> None:
    issuer = LocalIssuer("ES256", key=ES256.key)
    tokens, token = tokens_of(issuer), issuer.token()
    await tokens.authenticate(token)
    issuer.source.failure = "down"
    issuer.clock.at += 24 * 3600
    assert tokens.cached(token) is not None
    issuer.clock.at += 1
    assert tokens.cached(token) is None
    with pytest.raises(IssuerUnavailable):
        await tokens.authenticate(token)


async def test_memory_for_believed_tokens_is_bounded() -> None:
    tokens = tokens_of(ES256, max_verified=16)
    good = [ES256.token(ES256.claims(jti=str(number))) for number in range(40)]
    for token in good:
        await tokens.authenticate(token)
    assert [tokens.cached(token) is not None for token in good] == [False] * 24 + [True] * 16


async def test_a_refused_token_is_never_remembered() -> None:
    tokens, forged = tokens_of(ES256), ES256.token(key=OTHER_KEY)
    with pytest.raises(RejectedCredential):
        await tokens.authenticate(forged)
    assert tokens.cached(forged) is None


FUZZED = tokens_of(LocalIssuer("ES256", key=ES256.key))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.identity_case("bearer", "any text as a token (fuzzed)", "401")
@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")) | st.text(max_size=300))
def test_any_text_as_a_token_is_a_principal_or_a_credential_problem(text: str) -> None:
    _principal_or_problem(text)


@pytest.mark.identity_case(
    "bearer",
    "any JSON for any member of header and claims (fuzzed)",
    "the principal of that issuer, or 401",
)
@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "jwk", "b64", "x"]), JSON),
    st.dictionaries(
        st.sampled_from([*ES256.claims(), "nbf", "cnf", "nonce", "typ", "scope", "roles", "_claim_names"]), JSON
    ),
)
def test_any_claims_of_the_real_issuer_are_a_principal_or_a_credential_problem(
    header: dict[str, object], claims: dict[str, object]
) -> None:
    """Signed by the trusted key, a good token with any members replaced by any JSON."""
    _principal_or_problem(ES256.token(ES256.claims() | claims))
    _principal_or_problem(ES256.token(ES256.claims() | claims, ES256.header() | header))


def _principal_or_problem(token: str) -> None:
    try:
        principal = asyncio.run(FUZZED.authenticate(token))
    except CredentialProblem as problem:
        assert not problem.detail.startswith("unexpected")  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(principal, Principal)
        assert principal.key.startswith("corp|https://id.example|")
        assert principal.expires_at is not None
        assert Clock(NOW)() < principal.expires_at + 30
