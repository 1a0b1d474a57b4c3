"""What an attacker sends that is not strictly a token: two parsers could read it differently."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.unit.access.local_issuer import LocalIssuer, refusal

ES256 = LocalIssuer("ES256")


def _good() -> list[str]:
    return ES256.token().split(".")


def _last_character_changed(text: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


MALFORMED: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "a word": lambda: "opaque-reference-token",
    "two segments": lambda: ".".join(_good()[:2]),
    "empty signature": lambda: ".".join(_good()[:2]) + ".",
    "four segments": lambda: ".".join([*_good(), "AAAA"]),
    "five segments, as an encrypted token has": lambda: ".".join([*_good(), "AAAA", "AAAA"]),
    "padding": lambda: ".".join(_good()[:2]) + "." + _good()[2] + "==",
    "a space in it": lambda: ES256.token().replace(".", ". ", 1),
    "a space before": lambda: " " + ES256.token(),
    "a line end after": lambda: ES256.token() + "\n",
    "a tab after": lambda: ES256.token() + "\t",
    "the other base64 alphabet": lambda: (
        ES256.token(header=b'{"alg":"ES256","x":"\xc3\xbf\xc3\xbf?>"}').replace("_", "/").replace("-", "+") + "+"
    ),
    "non-canonical last character": lambda: _last_character_changed(ES256.token()),
    "two tokens with a comma": lambda: f"{ES256.token()}, {ES256.token()}",
    "JSON serialisation": lambda: json.dumps(
        {"payload": _good()[1], "signatures": [{"protected": _good()[0], "signature": _good()[2]}]}
    ),
    "NUL": lambda: ES256.token() + "\0",
    "letters of another alphabet": lambda: ES256.token().replace("e", "\u0435"),
    "half a surrogate pair": lambda: ES256.token() + "\ud800",
    "header is a list": lambda: ES256.token(header=b"[]"),
    "header is a number": lambda: ES256.token(header=b"1"),
    "claims are a list": lambda: ES256.token(claims=b"[]"),
    "claims are null": lambda: ES256.token(claims=b"null"),
    "claims are not JSON": lambda: ES256.token(claims=b"<saml/>"),
    "claims are not UTF-8": lambda: ES256.token(claims=b'{"sub":"\xff"}'),
    "claims with a byte order mark": lambda: ES256.token(claims=b"\xef\xbb\xbf" + json.dumps(ES256.claims()).encode()),
    "claims with something after": lambda: ES256.token(claims=json.dumps(ES256.claims()).encode() + b"{}"),
    "header in UTF-16": lambda: ES256.token(header=json.dumps(ES256.header()).encode("utf-16")),
    "a subject that is half a surrogate pair": lambda: ES256.token(claims=ES256.claims(sub="\ud800")),
    "10 000 nested lists": lambda: ES256.token(claims=b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    "10 000 nested objects in the header": lambda: ES256.token(header=b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "an integer of 5000 digits": lambda: ES256.token(claims=b'{"exp":' + b"9" * 5000 + b"}"),
    "an integer of 40 digits": lambda: ES256.token(claims=ES256.claims(extra=10**40)),
    "the subject twice": lambda: ES256.token(claims=json.dumps(ES256.claims()).encode()[:-1] + b',"sub":"admin"}'),
    "the subject twice, once in escapes": lambda: ES256.token(
        claims=json.dumps(ES256.claims()).encode()[:-1] + b',"s\\u0075b":"admin"}'
    ),
    "a member twice further in": lambda: ES256.token(
        claims=json.dumps(ES256.claims()).encode()[:-1] + b',"a":{"b":1,"b":2}}'
    ),
    "the algorithm twice": lambda: ES256.token(header=b'{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"kid-ES256"}'),
    "the key id twice": lambda: ES256.token(header=b'{"alg":"ES256","typ":"at+jwt","kid":"a","kid":"kid-ES256"}'),
}


@pytest.mark.identity_case(
    "bearer",
    "segments too few or many, JWE, JSON serialisation, padding, spaces, NUL, "
    "non-canonical base64, duplicate members, 10 000 nested lists, integers of 5000 digits",
    "401",
)
@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_not_strictly_a_token_is_refused(case: str) -> None:
    await refusal(ES256, MALFORMED[case](), max_token_bytes=65_536)


@pytest.mark.identity_case("bearer", "a token of 64 KB or 2 MB", "401, unread")
@pytest.mark.parametrize("length", [16_385, 65_536, 2_000_000])
async def test_a_token_above_the_limit_is_refused_before_it_is_read(length: int) -> None:
    """The attacker sends a good token made long: not a byte of it is decoded."""
    token = ES256.token(claims=ES256.claims(padding="x" * length))
    assert await refusal(ES256, token) == "token too large"


async def test_a_token_with_100_000_claims_is_refused() -> None:
    claims = ES256.claims() | {f"c{number}": number for number in range(100_000)}
    assert await refusal(ES256, ES256.token(claims=claims)) == "token too large"
