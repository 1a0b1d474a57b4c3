"""The grammar of role members, and who has which role."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.access.policy.roles import Roles, parse_member
from torchgate.contract.principal import Principal


def principal(
    *marks: str, issuer: str = "corp", groups_known: bool = True, deny_only: tuple[str, ...] = ()
) -> Principal:
    return Principal(
        key="k",
        name="n",
        method="bearer",
        issuer=issuer,
        marks=frozenset(marks),
        denial_marks=frozenset(deny_only),
        groups_known=groups_known,
    )


@pytest.mark.parametrize(
    ("text", "issuer", "kind", "value"),
    [
        ("entra:role:Analyst", "entra", "role", "Analyst"),
        ("entra:group:a:b", "entra", "group", "a:b"),
        ("kc:group:/staff/fraud", "kc", "group", "/staff/fraud"),
        ("corp:scope:models.predict", "corp", "scope", "models.predict"),
        ("corp:sub: x", "corp", "sub", " x"),
        ("corp:uid:00u1", "corp", "uid", "00u1"),
        ("key:ops", "key", "", "ops"),
        ("sid:S-1-5-32-544", "sid", "", "S-1-5-32-544"),
        ("group:CONTOSO\\Analysts", "group", "", "CONTOSO\\Analysts"),
        ("user:CONTOSO\\ann", "user", "", "CONTOSO\\ann"),
        ("cert:00ff", "cert", "", "00ff"),
    ],
)
def test_members_are_taken_apart(text: str, issuer: str, kind: str, value: str) -> None:
    member = parse_member(text)
    assert (member.issuer, member.kind, member.value, member.mark) == (issuer, kind, value, text)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("c:claim:a.b=v", ("a", "b"), "v"),
        ("c:claim:a=b=c", ("a",), "b=c"),
        ('c:claim:r."my.client".roles=x', ("r", "my.client", "roles"), "x"),
        ('c:claim:"https://e/x"=1', ("https://e/x",), "1"),
    ],
)
def test_claim_members_have_a_path_and_a_value(text: str, path: tuple[str, ...], value: str) -> None:
    member = parse_member(text)
    assert (member.claim, member.value) == (path, value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not a role member"),
        ("analyst", "not a role member"),
        ("key:", "not a role member"),
        ("corp:roles:X", "'role'"),
        ("corp:Role:X", "'role'"),
        ("corp:x", "Allowed: "),
        ("corp:role:", "nothing after"),
        ("corp:claim:a", "claim path"),
        ("corp:claim:a=", "claim path"),
        ("corp:claim:=v", "claim path"),
        ("corp:claim:a..b=v", "claim path"),
        ('corp:claim:"a=v', "claim path"),
    ],
)
def test_a_mistake_says_what_is_right(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_member(text)


ROLES = Roles(
    {
        "analyst": ("corp:role:Analyst", "corp:group:analysts", "key:ops"),
        "barred": ("corp:group:barred", "group:CONTOSO\\Barred"),
        "other": ("else:role:Analyst",),
        "named": ("corp:sub:alice",),
    }
)


def test_a_principal_has_the_roles_of_its_marks() -> None:
    assert ROLES.given_to(principal("corp:role:Analyst", "corp:sub:alice")).roles == {"analyst", "named"}
    assert ROLES.given_to(principal("key:ops", issuer="key")).roles == {"analyst"}
    assert ROLES.given_to(principal()).roles == frozenset()


@pytest.mark.parametrize("mark", ["corp:role:analyst", "corp:role:Analyst ", "CORP:role:Analyst", "corp:group:Analyst"])
def test_marks_are_compared_byte_for_byte(mark: str) -> None:
    assert ROLES.given_to(principal(mark)).roles == frozenset()


def test_unknown_and_deny_only_groups_count_for_denials_alone() -> None:
    unknown = ROLES.given_to(principal("corp:role:Analyst", groups_known=False))
    assert (unknown.roles, unknown.denied_roles) == ({"analyst"}, {"analyst", "barred"})
    deny_only = ROLES.given_to(principal(deny_only=("corp:group:barred",)))
    assert (deny_only.roles, deny_only.denied_roles) == (frozenset(), {"barred"})
    assert ROLES.given_to(principal(issuer="else", groups_known=False)).denied_roles == frozenset()


@given(st.text(max_size=30))
def test_any_text_is_a_member_or_a_mistake_with_a_sentence(text: str) -> None:
    try:
        assert parse_member(text).mark == text
    except ValueError as mistake:
        assert len(str(mistake)) > 10  # noqa: PT017 - either outcome is right
