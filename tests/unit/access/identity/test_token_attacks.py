"""More of what an attacker tries with bearer tokens, each a known trick of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from tests.unit.access.local_issuer import NOW, LocalIssuer, encoded, new_key, public_jwk, refusal, tokens_of

from torchgate.contract.errors import RejectedCredential

ES256, RS256 = LocalIssuer("ES256"), LocalIssuer("RS256")


def with_signature(issuer: LocalIssuer, signature: Callable[[bytes], bytes], **header: object) -> str:
    """A good token, with a signature made by the attacker."""
    parts = (issuer.header(**header), issuer.claims())
    message = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{message}.{encoded(signature(message.encode()))}"


def ec_key(issuer: LocalIssuer) -> ec.EllipticCurvePrivateKey:
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    return issuer.key


def rsa_key(issuer: LocalIssuer) -> rsa.RSAPrivateKey:
    assert isinstance(issuer.key, rsa.RSAPrivateKey)
    return issuer.key


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.identity_case("bearer", "ECDSA signatures of zeros, of the curve's order, in DER, short or long", "401")
@pytest.mark.parametrize(
    "signature",
    [
        lambda message: bytes(64),
        lambda message: bytes(63) + b"\1",
        lambda message: ORDER.to_bytes(32, "big") * 2,
        lambda message: b"\xff" * 64,
        lambda message: b"\0",
        lambda message: bytes(63),
        lambda message: bytes(65),
        lambda message: ec_key(ES256).sign(message, ec.ECDSA(hashes.SHA256())),
        lambda message: ec_key(ES256).sign(message, ec.ECDSA(hashes.SHA384())),
    ],
)
async def test_no_signature_that_is_not_one_counts(signature: Callable[[bytes], bytes]) -> None:
    """Zeros were good signatures for some libraries (CVE-2022-21449)."""
    await refusal(ES256, with_signature(ES256, signature))


@pytest.mark.identity_case("bearer", "RSA signatures with another padding or hash, zeros, or one byte more", "401")
@pytest.mark.parametrize(
    "signature",
    [
        lambda message: bytes(256),
        lambda message: b"\0" * 255 + b"\1",
        lambda message: rsa_key(RS256).sign(message, padding.PKCS1v15(), hashes.SHA1()),
        lambda message: rsa_key(RS256).sign(message, padding.PKCS1v15(), hashes.SHA512()),
        lambda message: rsa_key(RS256).sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
        lambda message: b"\0" + rsa_key(RS256).sign(message, padding.PKCS1v15(), hashes.SHA256()),
        lambda message: rsa_key(RS256).sign(message, padding.PKCS1v15(), hashes.SHA256())[:-1],
    ],
)
async def test_an_rsa_signature_has_the_padding_and_hash_of_its_algorithm(
    signature: Callable[[bytes], bytes],
) -> None:
    await refusal(RS256, with_signature(RS256, signature))


@pytest.mark.identity_case("issuer", "a key set with RSA exponents 1, 2 or 0, for which anybody can sign", "left out")
@pytest.mark.parametrize("exponent", ["AQ", "Ag", "AA", "", "_____w"])
async def test_an_rsa_key_with_a_degenerate_exponent_verifies_nothing(exponent: str) -> None:
    """With exponent 1 a signature is the padded hash itself, which anybody can write down."""
    issuer = LocalIssuer("RS256", key=RS256.key)
    weak = public_jwk(RS256.key, kid="weak", alg="RS256") | {"e": exponent}
    issuer.source.publish(weak, public_jwk(RS256.key, kid=issuer.kid, alg="RS256"))

    def padded(message: bytes) -> bytes:
        digest = hashes.Hash(hashes.SHA256())
        digest.update(message)
        info = bytes.fromhex("3031300d060960864801650304020105000420") + digest.finalize()
        return b"\0\1" + b"\xff" * (256 - 3 - len(info)) + b"\0" + info

    assert await refusal(issuer, with_signature(issuer, padded, kid="weak")) in {"unknown key", "signature"}
    assert (await tokens_of(issuer).authenticate(issuer.token())).key.endswith("|alice")


@pytest.mark.identity_case("bearer", "an issuer in look-alike letters, other Unicode forms, or with white space", "401")
@pytest.mark.parametrize(
    "named",
    [
        "https://id.ex\u0430mple",  # Cyrillic a
        "https://id.example\u200b",
        "https://id\uff0eexample",  # full-width dot
        "https://id\u3002example",
        "https://id.example ",
        " https://id.example",
        "https://id.example\n",
        "https://id.example\0",
        "https://id.example:443",
        "https://id.example/.",
        "https://id.example%2f",
        "HTTPS://id.example",
    ],
    ids=ascii,
)
async def test_an_issuer_that_only_looks_like_ours_is_refused(named: str) -> None:
    assert await refusal(ES256, ES256.token(ES256.claims(iss=named))) == "issuer"


@pytest.mark.identity_case("bearer", "a token inside a token (`cty` = `JWT`)", "401")
async def test_a_nested_token_is_refused() -> None:
    inner = ES256.token().encode()
    assert await refusal(ES256, ES256.token(inner, ES256.header(cty="JWT"))) == "claims not strict JSON"
    assert await refusal(ES256, ES256.token(json.dumps(inner.decode()).encode())) == "claims not a JSON object"


@pytest.mark.identity_case("bearer", "an encrypted token (JWE), also with `alg` = `dir` in three segments", "401")
@pytest.mark.parametrize("algorithm", ["dir", "RSA-OAEP", "ECDH-ES", "PBES2-HS256+A128KW", "A256GCMKW"])
async def test_an_encrypted_token_is_refused_before_anything_is_computed(algorithm: str) -> None:
    """The attacker asks for a billion rounds of key derivation."""
    header = ES256.header(alg=algorithm, enc="A256GCM", p2c=2**31, p2s="c2FsdA", epk=public_jwk(new_key("ES256")))
    assert await refusal(ES256, ES256.token(header=header)) == "algorithm not allowed"
    segments = [*ES256.token(header=header).split("."), "AAAA", "AAAA"]
    assert await refusal(ES256, ".".join(segments)) == "not a compact JWS"


@pytest.mark.identity_case("bearer", "a token of the biggest size, deepest nested or with most members", "401, quickly")
@pytest.mark.parametrize(
    "claims",
    [
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b"[" * 12_000,
        b'{"aud":[' + b'"x",' * 2900 + b'"x"]}',
        b"{" + b",".join(b'"k%d":0' % number for number in range(1100)) + b"}",
        b'{"iss":"https://id.example","exp":' + b"1" * 11_000 + b"}",
        b'{"a":"' + b"\\u0041" * 1900 + b'"}',
    ],
    ids=["objects", "lists", "audiences", "members", "digits", "escapes"],
)
async def test_the_worst_that_fits_is_refused_quickly(claims: bytes) -> None:
    token = ES256.token(claims)
    used_s = time.thread_time()
    await refusal(ES256, token)
    assert time.thread_time() - used_s < 5.0, "of the processor; the usual is a few milliseconds"


@pytest.mark.identity_case("bearer", "claims named `__proto__`, `constructor`, or `aud` with another look", "no effect")
@pytest.mark.parametrize("name", ["__proto__", "constructor", "Aud", "AUD", "aud ", "\u0430ud", "sub\u200b", "roles "])
async def test_members_with_names_that_look_like_others_have_no_effect(name: str) -> None:
    claims = ES256.claims(**{name: {"roles": ["Admin"], "sub": "root", "aud": "x"}})
    found = await tokens_of(ES256, roles={"admin": ("corp:role:Admin",)}).authenticate(ES256.token(claims))
    assert (found.key, found.roles) == ("corp|https://id.example|alice", frozenset())


@pytest.mark.identity_case("bearer", "roles, scopes and groups with separators and colons in them", "no other role")
@pytest.mark.parametrize(
    "claims",
    [
        {"roles": ["x corp:role:Admin"]},
        {"roles": "Admin Reader"},
        {"roles": ["admin", "ADMIN", "Admin ", " Admin", "Admin\n", "Adm\u0131n", "\uff21dmin"]},
        {"scope": "x:role:Admin"},
        {"groups": ["role:Admin", "x\ncorp:role:Admin"]},
        {"sub": "alice:role:Admin"},
        {"uid": "x:role:Admin"},
    ],
    ids=ascii,
)
async def test_no_value_makes_the_mark_of_another(claims: dict[str, object]) -> None:
    """The attacker names a group, a scope or itself so that it reads like a role."""
    found = await tokens_of(ES256, roles={"admin": ("corp:role:Admin",)}).authenticate(
        ES256.token(ES256.claims(**claims))
    )
    assert found.roles == frozenset()


@pytest.mark.identity_case("bearer", "an issuer named so that its subjects read like another's", "other principals")
async def test_principals_of_two_issuers_are_never_the_same() -> None:
    """The issuer's configured name has no separator, so that no subject reaches into another's key."""
    evil = LocalIssuer("ES256", name="evil", issuer="https://evil.example")
    tokens = tokens_of(ES256, evil)
    found = await tokens.authenticate(evil.token(evil.claims(sub="x|https://id.example|alice")))
    assert found.key.startswith("evil|")
    assert not any(mark.startswith("corp:") for mark in found.marks)


@pytest.mark.identity_case("bearer", "a remembered token with another's claims under its signature", "401")
async def test_a_remembered_token_vouches_for_no_other_text() -> None:
    tokens, good = tokens_of(ES256), ES256.token()
    await tokens.authenticate(good)
    head, body, signature = good.split(".")
    forged = encoded(json.dumps(ES256.claims(sub="root")).encode())
    for other in (f"{head}.{forged}.{signature}", good + "A", good[:-1], f"{head}.{body}.{signature}=", good.lower()):
        assert tokens.cached(other) is None
        with pytest.raises(RejectedCredential):
            await tokens.authenticate(other)
    assert tokens.cached(good) is not None


async def test_a_token_whose_key_left_between_two_requests_is_not_remembered_again() -> None:
    """Whoever holds the token may send it as often as it likes."""
    issuer = LocalIssuer("ES256", key=ES256.key)
    tokens, token = tokens_of(issuer), issuer.token()
    await tokens.authenticate(token)
    issuer.source.publish(public_jwk(new_key("ES256"), kid="next", alg="ES256"))
    await tokens._issuers[issuer.settings.issuer].keys.refresh()
    for _ in range(3):
        assert tokens.cached(token) is None
        with pytest.raises(RejectedCredential):
            await tokens.authenticate(token)


@pytest.mark.parametrize("exp", [NOW + 600.0, 1.9e9 + 600, "1900000600", "0x713fb5d8", [NOW], {"t": NOW}, "NaN", "∞"])
async def test_an_expiry_that_reads_like_a_number_is_none(exp: object) -> None:
    assert await refusal(ES256, ES256.token(ES256.claims(exp=exp))) == "exp malformed"
