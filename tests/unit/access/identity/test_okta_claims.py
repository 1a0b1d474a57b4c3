"""Tokens in the shape of Okta's custom authorisation servers."""

from __future__ import annotations

import pytest
from tests.unit.access.local_issuer import LocalIssuer, new_key, refusal, tokens_of

KEY = new_key("RS256")
ISSUER = "https://corp.okta.com/oauth2/default"
PROGRAM = {"uid": ..., "sub": "0oaclient"}


class Okta(LocalIssuer):
    """An issuer whose good token is a person's."""

    def __init__(self, **settings: object) -> None:
        super().__init__("RS256", key=KEY, **({"name": "okta", "profile": "okta", "issuer": ISSUER} | settings))

    def claims(self, **changes: object) -> dict[str, object]:
        """Claims as Okta documents them."""
        shape: dict[str, object] = {
            "ver": 1,
            "cid": "0oaclient",
            "uid": "00uann",
            "sub": "ann@corp.example",
            "scp": ["infer", "openid"],
            "client_id": ...,
        }
        return super().claims(**(shape | changes))

    def header(self, **changes: object) -> dict[str, object]:
        """Okta writes no type."""
        return super().header(**({"typ": ...} | changes))


OKTA = Okta()


async def failure(issuer: Okta, **claims: object) -> str:
    """Class of failure of a token with these changes."""
    return await refusal(issuer, issuer.token(issuer.claims(**claims)))


@pytest.mark.identity_case(
    "bearer", "Okta: a person's token, scopes in a list; the login name changes", "one principal"
)
async def test_a_person_is_uid_also_under_another_login_name() -> None:
    tokens = tokens_of(OKTA)
    found = await tokens.authenticate(OKTA.token())
    renamed = await tokens.authenticate(OKTA.token(OKTA.claims(sub="ann.smith@corp.example")))
    assert found.key == renamed.key == f"okta|{ISSUER}|00uann"
    assert found.marks == {"okta:uid:00uann", "okta:scope:infer", "okta:scope:openid"}


@pytest.mark.identity_case("bearer", "Okta: the login name of somebody who left, given to another", "no role by name")
async def test_a_login_name_gives_no_role() -> None:
    roles = {"analyst": ("okta:sub:ann@corp.example",)}
    assert (await tokens_of(OKTA, roles=roles).authenticate(OKTA.token())).roles == frozenset()


@pytest.mark.identity_case("bearer", "Okta: a program's token", "principal of issuer and `cid`")
async def test_a_program_is_its_client_id() -> None:
    found = await tokens_of(OKTA).authenticate(OKTA.token(OKTA.claims(**PROGRAM)))
    assert found.key == f"okta|{ISSUER}|0oaclient"
    assert "okta:sub:0oaclient" in found.marks


@pytest.mark.identity_case("bearer", "Okta: no `cid` (an ID token), no `uid` for a person, odd shapes", "401")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cid": ...}, "cid missing"),
        ({"cid": ..., "nonce": "n"}, "not an access token"),
        ({"cid": 1}, "cid missing"),
        ({"cid": ""}, "cid missing"),
        ({"uid": ...}, "uid missing"),
        ({"uid": ""}, "uid missing"),
        ({"uid": None}, "uid missing"),
        ({"uid": "a\nb"}, "uid malformed"),
    ],
    ids=str,
)
async def test_what_is_not_an_access_token_for_us_is_refused(changes: dict[str, object], reason: str) -> None:
    assert await failure(OKTA, **changes) == reason


async def test_only_the_configured_callers_and_clients_count() -> None:
    assert await failure(Okta(callers=["app"])) == "a person's token"
    assert await failure(Okta(callers=["user"]), **PROGRAM) == "a program's token"
    assert await failure(Okta(clients=["0oaother"])) == "client not allowed"


@pytest.mark.identity_case("bearer", "Okta: a token of the organisation's server under its own type", "401")
async def test_the_organisation_servers_tokens_are_refused() -> None:
    token = OKTA.token(header=OKTA.header(typ="application/okta-internal-at+jwt"))
    assert await refusal(OKTA, token) == "token type"
    assert await failure(OKTA, iss="https://corp.okta.com") == "issuer"
