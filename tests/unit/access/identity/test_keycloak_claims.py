"""Tokens in the shape of Keycloak, which writes `JWT` on all its tokens and nests its roles."""

from __future__ import annotations

import pytest
from tests.unit.access.local_issuer import LocalIssuer, new_key, public_jwk, refusal, tokens_of

KEY = new_key("RS256")


class Keycloak(LocalIssuer):
    """An issuer whose good token is as Keycloak 26 makes it."""

    def __init__(self, **settings: object) -> None:
        issuer = "https://id.example/realms/corp"
        super().__init__("RS256", key=KEY, **({"profile": "keycloak", "issuer": issuer} | settings))

    def claims(self, **changes: object) -> dict[str, object]:
        """With audience by role assignment, nested roles, and the claim `typ`."""
        shape: dict[str, object] = {
            "typ": "Bearer",
            "azp": "portal",
            "aud": ["api", "account"],
            "client_id": ...,
            "realm_access": {"roles": ["reader"]},
            "resource_access": {"api": {"roles": ["writer"]}, "my.client": {"roles": ["dotted"]}},
            "roles": ["admin"],
            "scope": "openid infer",
        }
        return super().claims(**(shape | changes))

    def header(self, **changes: object) -> dict[str, object]:
        """JWT on all tokens."""
        return super().header(**({"typ": "JWT"} | changes))


KEYCLOAK = Keycloak()


@pytest.mark.identity_case(
    "bearer", "Keycloak: roles nested below `realm_access` and clients with dots", "roles by path"
)
async def test_roles_are_those_of_the_realm_unless_configured() -> None:
    found = await tokens_of(KEYCLOAK).authenticate(KEYCLOAK.token())
    assert {mark for mark in found.marks if ":role:" in mark} == {"corp:role:reader"}
    paths = ["resource_access.api.roles", 'resource_access."my.client".roles']
    nested = Keycloak(role_claims=paths)
    found = await tokens_of(nested).authenticate(nested.token())
    assert {mark for mark in found.marks if ":role:" in mark} == {"corp:role:writer", "corp:role:dotted"}


@pytest.mark.identity_case(
    "bearer", "Keycloak: an ID, refresh, offline, logout or DPoP token by its claim `typ`", "401"
)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"typ": "ID"}, "not an access token"),
        ({"typ": "Refresh"}, "not an access token"),
        ({"typ": "Offline"}, "not an access token"),
        ({"typ": "Logout"}, "not an access token"),
        ({"typ": "DPoP"}, "not an access token"),
        ({"typ": ...}, "not an access token"),
        ({"typ": ["Bearer"]}, "not an access token"),
        ({"at_hash": "x"}, "not an access token"),
        ({"azp": ...}, "azp missing"),
        ({"azp": ["portal"]}, "azp missing"),
        ({"sub": ...}, "subject"),
    ],
    ids=str,
)
async def test_what_is_not_an_access_token_is_refused(changes: dict[str, object], reason: str) -> None:
    assert await refusal(KEYCLOAK, KEYCLOAK.token(KEYCLOAK.claims(**changes))) == reason


@pytest.mark.identity_case(
    "bearer", "Keycloak: another client's token that carries our audience by a role", "401 where clients are listed"
)
async def test_a_token_of_another_client_is_refused_where_clients_are_listed() -> None:
    listed = Keycloak(clients=["portal"])
    assert await tokens_of(listed).authenticate(listed.token())
    assert await refusal(listed, listed.token(listed.claims(azp="game"))) == "client not allowed"
    assert await refusal(listed, listed.token(listed.claims(client_id="game"))) == "client not allowed"


@pytest.mark.identity_case("issuer", "Keycloak: a token signed with the realm's encryption key", "401")
async def test_the_encryption_key_verifies_nothing() -> None:
    encryption = new_key("RS256")
    issuer = Keycloak()
    issuer.source.publish(
        public_jwk(KEY, kid=issuer.kid, use="sig", alg="RS256"),
        public_jwk(encryption, kid="enc", use="enc", alg="RSA-OAEP"),
    )
    assert await tokens_of(issuer).authenticate(issuer.token())
    token = issuer.token(header=issuer.header(kid="enc"), key=encryption)
    assert await refusal(issuer, token) == "unknown key"
