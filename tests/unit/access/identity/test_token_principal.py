"""Which marks a token's claims make, and which they never make."""

from __future__ import annotations

import pytest
from tests.unit.access.local_issuer import LocalIssuer, tokens_of

from torchgate.access.identity.claim_paths import parse_claim_path
from torchgate.contract.principal import Principal

ISSUER = LocalIssuer("ES256", profile="generic")
NESTED = LocalIssuer(
    "ES256",
    key=ISSUER.key,
    profile="generic",
    role_claims=["realm_access.roles", 'resource_access."my.client".roles'],
    group_claims=["https://x"],
)


async def principal(
    issuer: LocalIssuer, roles: dict[str, tuple[str, ...]] | None = None, **claims: object
) -> Principal:
    return await tokens_of(issuer, roles=roles).authenticate(issuer.token(issuer.claims(**claims)))


@pytest.mark.parametrize(
    "claims",
    [{"scope": "infer read"}, {"scp": "infer read"}, {"scope": ["infer", "read"]}, {"scp": ["infer", "read"]}],
    ids=str,
)
async def test_scopes_come_in_four_shapes(claims: dict[str, object]) -> None:
    found = await principal(ISSUER, **claims)
    assert {"corp:scope:infer", "corp:scope:read"} <= found.marks


async def test_roles_groups_subject_and_uid_are_marks() -> None:
    found = await principal(ISSUER, groups=["/staff/a", "b:c"], uid="u1")
    assert found.marks == {"corp:sub:alice", "corp:uid:u1", "corp:group:/staff/a", "corp:group:b:c"}


async def test_claims_that_no_role_asks_for_are_no_marks() -> None:
    found = await principal(ISSUER, department="fraud", email="x@example")
    assert found.marks == {"corp:sub:alice"}


@pytest.mark.parametrize(
    ("member", "claims"),
    [
        ("corp:claim:department=fraud", {"department": "fraud"}),
        ("corp:claim:department=fraud", {"department": ["risk", "fraud"]}),
        ("corp:claim:a.b.c=x", {"a": {"b": {"c": "x"}}}),
        ('corp:claim:"https://x.example/t"=gold', {"https://x.example/t": "gold"}),
        ("corp:claim:email_verified=true", {"email_verified": True}),
        ("corp:claim:level=3", {"level": 3}),
        ("corp:claim:formula=a=b", {"formula": "a=b"}),
    ],
)
async def test_a_claim_that_a_role_asks_for_gives_the_role(member: str, claims: dict[str, object]) -> None:
    found = await principal(ISSUER, {"wanted": (member,)}, **claims)
    assert found.roles == {"wanted"}
    assert member in found.marks


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"department": "Fraud"},
        {"department": "fraud "},
        {"department": {"fraud": True}},
        {"department": [["fraud"]]},
        {"department": None},
        {"department.x": "fraud"},
    ],
    ids=str,
)
async def test_a_claim_that_is_not_equal_gives_nothing(claims: dict[str, object]) -> None:
    found = await principal(ISSUER, {"wanted": ("corp:claim:department=fraud",)}, **claims)
    assert found.roles == frozenset()


async def test_roles_are_found_along_configured_paths_alone() -> None:
    """The token's own top-level `roles` is somebody else's word where the roles are configured elsewhere."""
    claims = {
        "roles": ["admin"],
        "realm_access": {"roles": ["reader"]},
        "resource_access": {"my.client": {"roles": ["writer"]}, "my": {"client": {"roles": ["admin"]}}},
    }
    found = await tokens_of(NESTED).authenticate(NESTED.token(NESTED.claims(**claims)))
    assert {mark for mark in found.marks if ":role:" in mark} == {"corp:role:reader", "corp:role:writer"}


@pytest.mark.parametrize("roles", ["Analyst", ["Analyst", 1, None, ["Admin"], {"value": "Admin"}]])
async def test_only_texts_are_roles(roles: object) -> None:
    issuer = LocalIssuer("ES256", key=ISSUER.key)
    found = await tokens_of(issuer).authenticate(issuer.token(issuer.claims(roles=roles)))
    assert {mark for mark in found.marks if ":role:" in mark} == {"corp:role:Analyst"}


@pytest.mark.parametrize(
    "claims", [{"_claim_names": {"groups": "src1"}}, {"hasgroups": True}], ids=["left out", "left out, implicit flow"]
)
async def test_groups_that_were_left_out_count_for_denials(claims: dict[str, object]) -> None:
    """The token says that there are groups too many to send: nobody knows that the caller is not in a denied one."""
    roles = {"barred": ("corp:group:g1",), "elsewhere": ("other:group:g1",), "named": ("corp:role:x",)}
    found = await principal(ISSUER, roles, **claims)
    assert not found.groups_known
    assert found.roles == frozenset()
    assert found.denied_roles == {"barred"}


async def test_a_name_is_cleaned_and_the_subject_stands_in_for_it() -> None:
    assert (await principal(ISSUER, preferred_username="Ann\r\n\x1b[31mroot" + "x" * 500)).name.startswith(
        "Ann[31mroot"
    )
    assert len((await principal(ISSUER, preferred_username="x" * 500)).name) == 128
    assert (await principal(ISSUER, client_id=...)).name == "alice"
    assert (await principal(ISSUER, name="bjørn 🙂 Юрий")).name == "bjørn 🙂 Юрий"


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", '"a', 'a"b', '""', "a=b", '"a"b'])
def test_a_text_that_is_no_claim_path_is_a_mistake(path: str) -> None:
    with pytest.raises(ValueError, match="claim path"):
        parse_claim_path(path)


def test_a_quoted_name_may_have_dots() -> None:
    assert parse_claim_path('resource_access."my.client".roles') == ("resource_access", "my.client", "roles")
