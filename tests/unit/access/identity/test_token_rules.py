"""What header and claims of a rightly signed token must say: tokens of the trusted key, and still not for us."""

from __future__ import annotations

import json

import pytest
from tests.unit.access.local_issuer import NOW, LocalIssuer, new_key, public_jwk, refusal, tokens_of

ES256 = LocalIssuer("ES256")
OTHER_KEY = new_key("ES256")


@pytest.mark.identity_case("bearer", "a header with `crit`, `b64` or `zip`", "401")
@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
        {"crit": "x"},
        {"zip": "DEF"},
    ],
    ids=str,
)
async def test_a_header_that_asks_for_extensions_is_refused(header: dict[str, object]) -> None:
    assert await refusal(ES256, ES256.token(header=ES256.header(**header))) == "header extension"


@pytest.mark.identity_case("bearer", "a key id that is a number, a list, true, or 10 KB", "401")
@pytest.mark.parametrize("kid", [1, [], {}, True, "x" * 10_000])
async def test_a_malformed_key_id_is_refused(kid: object) -> None:
    assert await refusal(ES256, ES256.token(header=ES256.header(kid=kid))) == "key id malformed"


@pytest.mark.identity_case("bearer", "a key id that is a path, SQL, NUL, a look-alike or other case", "401")
@pytest.mark.parametrize(
    "kid", ["", "../../etc/passwd", "' OR 1=1 --", "\0", "kid-ES256\0", "kid\u2011ES256", "KID-ES256", "x" * 500]
)
async def test_a_key_id_of_no_key_is_refused(kid: str) -> None:
    assert await refusal(ES256, ES256.token(header=ES256.header(kid=kid))) == "unknown key"


@pytest.mark.identity_case("bearer", "no key id", "counts only where the issuer has one key of the algorithm")
async def test_a_token_without_key_id_counts_where_the_issuer_has_one_key_of_its_algorithm() -> None:
    issuer = LocalIssuer("ES256")
    token = issuer.token(header=issuer.header(kid=...))
    assert (await tokens_of(issuer).authenticate(token)).key.endswith("|alice")
    issuer.source.publish(public_jwk(issuer.key, kid="a"), public_jwk(OTHER_KEY, kid="b"))
    assert await refusal(issuer, token) == "unknown key"


@pytest.mark.identity_case("bearer", "`typ` of an ID, DPoP, logout or event token, or none, under `rfc9068`", "401")
@pytest.mark.parametrize(
    "token_type",
    ["JWT", "dpop+jwt", "logout+jwt", "secevent+jwt", "it+jwt", "", "at+jwt ", "application/JWT", 1, [], None, ...],
)
async def test_the_strict_profile_takes_no_other_type(token_type: object) -> None:
    """The attacker presents an ID token, a proof or a logout token of the same issuer."""
    assert await refusal(ES256, ES256.token(header=ES256.header(typ=token_type))) == "token type"


@pytest.mark.identity_case("bearer", "`AT+JWT`, `application/at+jwt`", "counts")
@pytest.mark.parametrize("token_type", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT"])
async def test_the_strict_profile_takes_every_spelling_of_its_type(token_type: str) -> None:
    assert await tokens_of(ES256).authenticate(ES256.token(header=ES256.header(typ=token_type)))


GENERIC = LocalIssuer("ES256", key=ES256.key, profile="generic")


@pytest.mark.parametrize("token_type", ["JWT", "jwt", "at+jwt", ...])
async def test_the_generic_profile_takes_plain_types(token_type: object) -> None:
    token = GENERIC.token(GENERIC.claims(jti=..., client_id=..., iat=...), GENERIC.header(typ=token_type))
    assert await tokens_of(GENERIC).authenticate(token)


@pytest.mark.identity_case("bearer", "`typ` of a DPoP, logout or event token under `generic`", "401")
@pytest.mark.parametrize(
    "token_type", ["dpop+jwt", "logout+jwt", "secevent+jwt", "it+jwt", "token-introspection+jwt", "", 1]
)
async def test_the_generic_profile_refuses_types_of_other_tokens(token_type: object) -> None:
    assert await refusal(GENERIC, GENERIC.token(header=GENERIC.header(typ=token_type))) == "token type"


@pytest.mark.identity_case("bearer", "an ID, refresh, offline or logout token with our audience", "401")
@pytest.mark.parametrize("issuer", [ES256, GENERIC], ids=["rfc9068", "generic"])
@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "n"},
        {"at_hash": "x"},
        {"c_hash": "x"},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"typ": "Offline"},
        {"typ": 1},
        {"token_use": "id"},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    ],
    ids=str,
)
async def test_tokens_that_are_not_access_tokens_are_refused(issuer: LocalIssuer, claims: dict[str, object]) -> None:
    """The attacker presents an ID, refresh or logout token whose audience is ours."""
    assert await refusal(issuer, issuer.token(issuer.claims(**claims))) == "not an access token"


@pytest.mark.identity_case(
    "bearer",
    "a stolen token that is bound to a key or certificate, as a plain bearer token",
    "401",
)
@pytest.mark.parametrize("cnf", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, None, "x"])
async def test_a_bound_token_is_refused_as_bearer(cnf: object) -> None:
    """The attacker has stolen a token that is bound to a key or certificate, and sends it as a plain bearer token."""
    assert await refusal(ES256, ES256.token(ES256.claims(cnf=cnf))) == "bound token sent as bearer"


@pytest.mark.identity_case("bearer", "no `client_id`, `jti` or `iat` under `rfc9068`", "401")
@pytest.mark.parametrize("missing", ["client_id", "jti", "iat"])
async def test_the_strict_profile_asks_for_every_claim_of_its_standard(missing: str) -> None:
    assert await refusal(ES256, ES256.token(ES256.claims(**{missing: ...}))) == f"{missing} missing"


TIMES = {
    "expired beyond the skew": ({"exp": NOW - 31}, "expired"),
    "expired at the edge of the skew": ({"exp": NOW - 30}, "expired"),
    "no expiry": ({"exp": ...}, "no expiry"),
    "expiry is text": ({"exp": str(NOW + 600)}, "exp malformed"),
    "expiry is a fraction": ({"exp": NOW + 600.5}, "exp malformed"),
    "expiry is true": ({"exp": True}, "exp malformed"),
    "expiry is null": ({"exp": None}, "exp malformed"),
    "expiry is a list": ({"exp": [NOW + 600]}, "exp malformed"),
    "expiry is negative": ({"exp": -1}, "exp malformed"),
    "expiry is after the year 9999": ({"exp": 253_402_300_800}, "exp malformed"),
    "expiry is 2 ** 62": ({"exp": 2**62}, "exp malformed"),
    "not valid before beyond the skew": ({"nbf": NOW + 31}, "not yet valid"),
    "not-before is text": ({"nbf": "0"}, "nbf malformed"),
    "issued in the future beyond the skew": ({"iat": NOW + 31}, "issued in the future"),
    "issued is a fraction": ({"iat": NOW - 0.5}, "iat malformed"),
    "issued is true": ({"iat": True}, "iat malformed"),
}


@pytest.mark.identity_case(
    "bearer",
    "a token expired, not yet valid or issued in the future, "
    "or times that are text, fractions, true, lists, negative or huge",
    "401",
)
@pytest.mark.parametrize("case", TIMES)
async def test_times_are_whole_numbers_within_the_skew(case: str) -> None:
    changes, failure = TIMES[case]
    assert await refusal(ES256, ES256.token(ES256.claims(**changes))) == failure


@pytest.mark.identity_case("bearer", "an expiry of NaN, Infinity or 1e400", "401")
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
async def test_an_expiry_that_is_no_number_is_refused(number: str) -> None:
    """The attacker's issuer writes what some parsers read as a time that never comes."""
    text = json.dumps(ES256.claims(exp="@")).replace('"@"', number)
    assert await refusal(ES256, ES256.token(text.encode())) == "claims not strict JSON"


@pytest.mark.identity_case("bearer", "times off by less than the allowance for clocks", "counts")
@pytest.mark.parametrize("changes", [{"exp": NOW - 29}, {"nbf": NOW + 30}, {"iat": NOW + 30}], ids=str)
async def test_the_skew_is_allowed(changes: dict[str, object]) -> None:
    assert await tokens_of(ES256).authenticate(ES256.token(ES256.claims(**changes)))


@pytest.mark.identity_case("bearer", "a token that lives or has lived longer than the settings allow", "401")
@pytest.mark.parametrize(
    ("limit", "changes", "failure"),
    [
        ({"max_lifetime_s": 3600}, {"exp": 253_402_300_799}, "lifetime too long"),
        ({"max_lifetime_s": 3600}, {"iat": ...}, "lifetime too long"),
        ({"max_age_s": 60}, {"iat": NOW - 91}, "too old"),
        ({"max_age_s": 60}, {"iat": ...}, "too old"),
    ],
    ids=str,
)
async def test_limits_on_lifetime_and_age_hold(
    limit: dict[str, object], changes: dict[str, object], failure: str
) -> None:
    issuer = LocalIssuer("ES256", key=ES256.key, profile="generic", **limit)
    assert await refusal(issuer, issuer.token(issuer.claims(**changes))) == failure


@pytest.mark.identity_case(
    "bearer",
    "an issuer with a slash more, other case, http, `good@evil`, or a prefix of the good one",
    "401",
)
@pytest.mark.parametrize(
    "named",
    [
        ..., None, 1, [], ["https://id.example"], "", "https://id.example/", "http://id.example", "https://ID.example",
        "https://id.example@evil.example", "https://id.exampl", "https://id.example.evil", "https://evil/?https://id.example",
    ],
    ids=str,
)  # fmt: skip
async def test_an_issuer_that_is_not_the_configured_one_byte_for_byte_is_refused(named: object) -> None:
    assert await refusal(ES256, ES256.token(ES256.claims(iss=named))) == "issuer"


@pytest.mark.identity_case(
    "bearer",
    "no audience, another service's, a prefix of ours, other case, or an odd shape",
    "401",
)
@pytest.mark.parametrize(
    "audience",
    [..., None, 1, "", "API", "api ", "ap", "apiX", [], ["other"], {"api": 1}, [["api"]], ["api", 1]],
    ids=str,
)
async def test_an_audience_that_is_not_ours_is_refused(audience: object) -> None:
    """The attacker replays a token that was issued for another service."""
    assert (await refusal(ES256, ES256.token(ES256.claims(aud=audience)))).startswith("audience")


@pytest.mark.identity_case("bearer", "our audience in a list with others", "counts")
async def test_an_audience_among_others_is_ours() -> None:
    assert await tokens_of(ES256).authenticate(ES256.token(ES256.claims(aud=["account", "api"])))


@pytest.mark.identity_case(
    "bearer",
    "a subject that is empty, no text, too long, or has line ends or terminal codes",
    "401",
)
@pytest.mark.parametrize(
    "subject", [..., None, 1, "", [], {}, "x" * 256, "a\nb", "a\x1b[31m", "\x7f", "\x85"], ids=repr
)
async def test_a_subject_that_is_no_plain_text_is_refused(subject: object) -> None:
    """The attacker wants a line of its own in our log."""
    assert await refusal(ES256, ES256.token(ES256.claims(sub=subject))) == "subject"


@pytest.mark.identity_case(
    "bearer",
    "a token with our audience that was issued to another client than the listed ones",
    "401",
)
@pytest.mark.parametrize(
    ("claims", "is_allowed"),
    [
        ({}, True),
        ({"azp": "client"}, True),
        ({"azp": "other"}, False),
        ({"client_id": "other"}, False),
        ({"client_id": ..., "azp": "client"}, True),
        ({"client_id": ..., "azp": ["client"]}, False),
        ({"client_id": ...}, False),
    ],
    ids=str,
)
async def test_only_listed_clients_tokens_count(claims: dict[str, object], is_allowed: bool) -> None:
    """The attacker has a token with our audience that was issued to another client."""
    issuer = LocalIssuer("ES256", key=ES256.key, profile="generic", clients=["client"])
    token = issuer.token(issuer.claims(**claims))
    if is_allowed:
        assert await tokens_of(issuer).authenticate(token)
    else:
        assert await refusal(issuer, token) == "client not allowed"
