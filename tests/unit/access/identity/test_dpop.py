"""Tokens that are bound to a key (DPoP): with a proof of it they count, once for each proof, and for nobody else."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.unit.access.identity.test_authenticate import KEY as API_KEY
from tests.unit.access.local_issuer import NOW, LocalIssuer, encoded, new_key, public_jwk, sign, tokens_of

from torchgate.access.build import build_access
from torchgate.access.checks import setting_checks
from torchgate.access.identity.bearer_token import BearerTokens
from torchgate.access.identity.dpop import PROOF_AGE_S, Proofs, target_of, thumbprint_of
from torchgate.access.identity.presented import Presented, Proof
from torchgate.access.identity.token_rules import check_claims
from torchgate.access.resource_settings import ResourceSettings
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.contract.errors import InvalidRequest, IssuerUnavailable, RejectedCredential
from torchgate.contract.principal import Principal

URL = "https://models.example/app"
PATH = "/v2/models/double/infer"
ISSUER = LocalIssuer("ES256", dpop="allowed")
MINE, OTHER = new_key("ES256"), new_key("ES256")
_numbers = itertools.count()


def bound(issuer: LocalIssuer = ISSUER, key: Any = MINE, **more: object) -> str:
    """A token that is bound to a key."""
    return issuer.token(issuer.claims(cnf={"jkt": thumbprint_of(public_jwk(key))} | more))


TOKEN = bound()


def made(
    claims: dict[str, object] | None = None,
    header: dict[str, object] | None = None,
    *,
    key: Any = MINE,
    algorithm: str = "ES256",
    token: str = TOKEN,
    text: Callable[[str], str] = lambda text: text,
    method: str = "POST",
    path: str = PATH,
) -> Proof:
    """A good proof with changes; a change to `...` takes a member away."""
    head = {"typ": "dpop+jwt", "alg": algorithm, "jwk": public_jwk(key)} | (header or {})
    body = {
        "jti": f"proof-{next(_numbers)}",
        "htm": "POST",
        "htu": URL + PATH,
        "iat": NOW,
        "ath": base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode(),
    } | (claims or {})
    parts = [{name: value for name, value in one.items() if value is not ...} for one in (head, body)]
    message = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    signed = sign(algorithm, key, message.encode()) if algorithm not in ("none", "HS256") else b"x"
    return Proof(text(f"{message}.{encoded(signed)}"), method, path)


def door(issuer: LocalIssuer = ISSUER, **more: Any) -> BearerTokens:
    """Tokens of one issuer, on its clock."""
    tokens = tokens_of(issuer)
    tokens._proofs = Proofs(URL, wall_clock=issuer.wall_clock, **more)
    return tokens


async def refusal(proof: Proof | None, token: str = TOKEN, at: BearerTokens | None = None) -> str:
    """Why it is refused."""
    with pytest.raises(RejectedCredential) as caught:
        await (at or door()).authenticate(token, proof=proof)
    assert token not in caught.value.detail
    return caught.value.detail


@pytest.mark.identity_case("bearer, DPoP", "a bound token with a proof of its key for this very request", "counts")
@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "Ed25519"])
async def test_a_bound_token_counts_with_a_proof(algorithm: str) -> None:
    """Each request has its own; the token itself is verified once."""
    key = new_key(algorithm)
    token, tokens = bound(key=key), door()
    for _ in range(3):
        found = await tokens.authenticate(token, proof=made(key=key, algorithm=algorithm, token=token))
        assert found.key == "corp|https://id.example|alice"
    assert tokens.cached(token) is None


@pytest.mark.identity_case("bearer, DPoP", "a proof for the second time, also after a change of the policy", "401")
async def test_a_proof_counts_once() -> None:
    """Whoever has seen a request can't send it again; its number may be another caller's, too."""
    tokens, proof = door(), made()
    await tokens.authenticate(TOKEN, proof=proof)
    again = Proof(proof.text, proof.method, proof.path)
    assert await refusal(again, at=tokens) == "DPoP: used before"
    successor = door()
    successor.inherit_proofs(tokens)
    assert await refusal(again, at=successor) == "DPoP: used before"
    theirs = bound(key=OTHER)
    await tokens.authenticate(theirs, proof=made({"jti": "same"}, key=OTHER, token=theirs))
    await tokens.authenticate(TOKEN, proof=made({"jti": "same"}))


async def test_a_proof_of_a_fast_clock_counts_once_to_its_very_last_moment() -> None:
    """It is remembered for as long as it could count, the last moment included."""
    issuer = LocalIssuer("ES256", dpop="allowed")
    token, tokens = bound(issuer), door(issuer)
    skew_s = issuer.settings.clock_skew_s
    proof = made({"iat": NOW + int(skew_s)}, token=token)
    await tokens.authenticate(token, proof=proof)
    issuer.wall_clock.at = NOW + PROOF_AGE_S + 2 * skew_s
    assert await refusal(Proof(proof.text, proof.method, proof.path), token, tokens) == "DPoP: used before"


async def test_within_its_own_request_a_proof_goes_on_to_count() -> None:
    """A stream of a mounted route asks who its caller is again and again."""
    tokens, proof = door(), made()
    for _ in range(2):
        await tokens.authenticate(TOKEN, proof=proof)


@pytest.mark.identity_case("bearer, DPoP", "a stolen bound token: as a bearer, or with the thief's own proof", "401")
async def test_a_stolen_token_is_worth_nothing_without_its_key() -> None:
    """Also once its owner has used it, and where the proof shows the owner's key and is signed by another."""
    tokens = door()
    await tokens.authenticate(TOKEN, proof=made())
    assert tokens.cached(TOKEN) is None
    assert await refusal(None, at=tokens) == "bound token sent as bearer"
    assert await refusal(made(key=OTHER), at=tokens) == "DPoP: of another key than the token's"
    assert await refusal(made(header={"jwk": public_jwk(MINE)}, key=OTHER), at=tokens) == "DPoP: signature"


CLAIMS: list[tuple[dict[str, object], str]] = [
    ({"htm": "GET"}, "method"),
    ({"htm": "post"}, "method"),
    ({"htm": ...}, "method"),
    ({"htu": URL + "/v2/models/other/infer"}, "URL"),
    ({"htu": f"https://models.example{PATH}"}, "URL"),
    ({"htu": f"http://models.example/app{PATH}"}, "URL"),
    ({"htu": f"https://models.example:8443/app{PATH}"}, "URL"),
    ({"htu": f"https://evil.example/app{PATH}"}, "URL"),
    ({"htu": f"https://models.example@evil.example/app{PATH}"}, "URL"),
    ({"htu": URL + PATH.replace("/infer", "%2Finfer")}, "URL"),
    ({"htu": URL + PATH + "\n"}, "URL"),
    ({"htu": "https://[/"}, "URL"),
    ({"htu": ["x"]}, "URL"),
    ({"htu": ...}, "URL"),
    ({"iat": NOW - int(PROOF_AGE_S) - 31}, "made too long ago, or in the future"),
    ({"iat": NOW + 31}, "made too long ago, or in the future"),
    ({"iat": str(NOW)}, "iat"),
    ({"iat": True}, "iat"),
    ({"iat": ...}, "iat"),
    ({"ath": ...}, "of another token"),
    ({"ath": "x"}, "of another token"),
    ({"ath": encoded(hashlib.sha256(b"another").digest())}, "of another token"),
    ({"jti": ...}, "jti"),
    ({"jti": ""}, "jti"),
    ({"jti": "x" * 257}, "jti"),
    ({"jti": 1}, "jti"),
]


@pytest.mark.identity_case(
    "bearer, DPoP", "a proof for another method, URL or token, an old one, one without a number", "401"
)
@pytest.mark.parametrize(("claims", "told"), CLAIMS)
async def test_a_proof_of_something_else_proves_nothing(claims: dict[str, object], told: str) -> None:
    assert await refusal(made(claims)) == f"DPoP: {told}"


PRIVATE = public_jwk(MINE) | {"d": "AAAA"}
SMALL = rsa.generate_private_key(65537, 2048)


@pytest.mark.identity_case(
    "bearer, DPoP",
    "a proof that is unsigned, signed with a shared secret, of another type, or shows a private key",
    "401",
)
@pytest.mark.parametrize(
    ("header", "more", "told"),
    [
        ({"typ": "JWT"}, {}, "no proof"),
        ({"typ": ...}, {}, "no proof"),
        ({"crit": ["b64"], "b64": False}, {}, "no proof"),
        ({}, {"algorithm": "none"}, "algorithm"),
        ({}, {"algorithm": "HS256"}, "algorithm"),
        ({"alg": ["ES256"]}, {}, "algorithm"),
        ({}, {"algorithm": "RS256", "key": SMALL}, "algorithm"),
        ({"alg": "ES384"}, {}, "key"),
        ({"jwk": PRIVATE}, {}, "key"),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, {}, "key"),
        ({"jwk": public_jwk(SMALL)}, {}, "key"),
        ({"jwk": ...}, {}, "key"),
        ({"jwk": "x"}, {}, "key"),
        ({"jwk": {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}}, {}, "key"),
    ],
)
async def test_what_is_no_proof_proves_nothing(header: dict[str, object], more: dict[str, Any], told: str) -> None:
    assert await refusal(made(header=header, **more)) == f"DPoP: {told}"


@pytest.mark.parametrize(
    "text",
    [
        lambda text: text[:-4] + "AAAA",
        lambda text: text + "=",
        lambda text: "x" * 5000,
        lambda text: "",
        lambda text: text + "." + text,
    ],
)
async def test_a_broken_proof_proves_nothing(text: Callable[[str], str]) -> None:
    await refusal(made(text=text))


@pytest.mark.parametrize(
    "htu",
    [
        URL + PATH + "?x=1#y", f"HTTPS://Models.Example:443/app{PATH}",
        URL + PATH.replace("double", "d%6Fuble"), URL + PATH.replace("double", "%64ouble"),
    ],
)  # fmt: skip
async def test_other_spellings_of_the_same_url_are_the_same(htu: str) -> None:
    """As RFC 3986 has it; the query is no part of it."""
    await door().authenticate(TOKEN, proof=made({"htu": htu}))


async def test_a_path_that_no_url_can_have_is_nobodys() -> None:
    """Two things that are none are not the same."""
    assert await refusal(made({"htu": "no URL"}, path="/caf\xe9")) == "DPoP: URL"
    assert target_of("no URL") is None


@pytest.mark.identity_case("bearer, DPoP", "a token that is bound to no key, or to two things, with a proof", "401")
async def test_a_token_under_the_scheme_is_bound_to_one_key() -> None:
    plain, both = ISSUER.token(), bound(ISSUER, MINE, **{"x5t#S256": "x"})
    tokens = door()
    assert (await tokens.authenticate(plain)).name
    assert await refusal(made(token=plain), plain, tokens) == "DPoP: the token is bound to no key"
    assert await refusal(made(token=both), both, tokens) == "bound token sent as bearer"


@pytest.mark.identity_case(
    "bearer, DPoP", "where it is off, a bound token with its proof; where it is required, a plain token", "401"
)
async def test_the_settings_of_the_issuer_decide() -> None:
    """Off unless they say otherwise."""
    off, required = LocalIssuer("ES256"), LocalIssuer("ES256", dpop="required")
    token = bound(off)
    assert await refusal(made(token=token), token, door(off)) == "bound token sent as bearer"
    assert await refusal(None, required.token(), door(required)) == "a token that is bound to no key, where all must be"
    token = bound(required)
    await door(required).authenticate(token, proof=made(token=token))


async def test_more_proofs_than_can_be_remembered_are_put_off() -> None:
    """None is forgotten before it has ended, or it would count twice; then there is room again."""
    issuer = LocalIssuer("ES256", dpop="allowed")
    token = bound(issuer)
    tokens = door(issuer, max_remembered=2)
    for _ in range(2):
        await tokens.authenticate(token, proof=made(token=token))
    with pytest.raises(IssuerUnavailable):
        await tokens.authenticate(token, proof=made(token=token))
    issuer.wall_clock.at = NOW + PROOF_AGE_S + 61
    await tokens.authenticate(token, proof=made({"iat": int(issuer.wall_clock.at)}, token=token))


async def test_a_forged_proof_takes_no_room() -> None:
    """Only a caller with a good token and its key is remembered."""
    tokens = door(max_remembered=1)
    for _ in range(3):
        await refusal(made(header={"jwk": public_jwk(MINE)}, key=OTHER), at=tokens)
    await tokens.authenticate(TOKEN, proof=made())


async def test_the_whole_of_access_takes_proofs_where_its_settings_say_so() -> None:
    """And names the scheme; keys and other tokens do not become better by it."""
    oidc = ISSUER.settings
    identity = IdentitySettings(oidc=(oidc,), resource=ResourceSettings(url=URL))
    access, authorisation = build_access(AccessSettings(identity=identity), wall_clock=ISSUER.wall_clock)
    authorisation.stop()
    access._tokens = tokens = door()
    assert access.challenges()[0] == 'DPoP algs="ES256 ES384 Ed25519 EdDSA"'
    presented = Presented(bearer=TOKEN, proof=made())
    assert access.cached(presented) is None
    assert isinstance(await access.authenticate(presented), Principal)
    assert access.cached(Presented(bearer=TOKEN)) is None
    for token in (API_KEY.key, "tgdev_" + "x" * 40):
        with pytest.raises(RejectedCredential):
            await access.authenticate(Presented(bearer=token, proof=made(token=token)))
    assert "TOKEN" not in repr(presented)
    assert TOKEN not in repr(presented) + repr(presented.proof)
    assert tokens.cached(TOKEN) is None


@pytest.mark.identity_case(
    "bearer, DPoP", "a token under the scheme DPoP that is bound to the client's certificate, where that counts", "400"
)
async def test_under_the_scheme_no_certificate_stands_in_for_the_key() -> None:
    """Whatever stands in the header DPoP, it would not be looked at."""
    certificate = b"a certificate, DER"
    digest = base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()
    token = ISSUER.token(ISSUER.claims(cnf={"x5t#S256": digest}))
    identity = IdentitySettings(oidc=(ISSUER.settings,), resource=ResourceSettings(url=URL))
    access, authorisation = build_access(AccessSettings(identity=identity), wall_clock=ISSUER.wall_clock)
    authorisation.stop()
    access._tokens = door()
    good = Presented(bearer=token, certificate=certificate)
    assert isinstance(await access.authenticate(good), Principal)
    with pytest.raises(InvalidRequest):
        await access.authenticate(Presented(bearer=token, certificate=certificate, proof=Proof("none")))


def test_proofs_without_a_url_of_ours_are_a_mistake_of_the_settings() -> None:
    """It is never taken from a request."""
    findings = list(setting_checks(AccessSettings(identity=IdentitySettings(oidc=(ISSUER.settings,)))))
    assert [(finding.severity, finding.setting) for finding in findings] == [("error", "identity.oidc.0.dpop")]


@pytest.mark.parametrize(("cnf", "counts"), [({"jkt": "x"}, True), (..., False)])
def test_keycloaks_own_claim_counts_where_the_token_is_bound(cnf: object, counts: bool) -> None:
    """It calls such tokens DPoP, and no others."""
    claims = ISSUER.claims(cnf=cnf, typ="DPoP")
    with contextlib.nullcontext() if counts else pytest.raises(RejectedCredential):
        check_claims(claims, ISSUER.settings, NOW)
    with pytest.raises(RejectedCredential):
        check_claims(claims, LocalIssuer("ES256").settings, NOW)


def test_the_thumbprint_is_the_standards() -> None:
    """RFC 8037, appendix A.3."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "x"}
    assert thumbprint_of(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert isinstance(MINE, ec.EllipticCurvePrivateKey)
