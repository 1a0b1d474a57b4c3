"""Users whom a proven proxy names: principals of their own, which nobody else's can be taken for."""

from __future__ import annotations

import pytest

from torchgate.access.identity.asserted_user import MAX_REMEMBERED, AssertedUsers
from torchgate.access.identity.presented import AssertedUser, Presented
from torchgate.access.policy.roles import Roles
from torchgate.contract.errors import RejectedCredential

ROLES = Roles({"analyst": ["proxy:user:alice", "proxy:group:Analysts"], "admin": ["key:admin"]})


def users() -> AssertedUsers:
    """With these roles."""
    return AssertedUsers(ROLES.given_to)


async def test_user_and_groups_give_roles() -> None:
    principal = await users().authenticate(Presented(asserted=AssertedUser("bob", ("Analysts",))))
    assert (principal.key, principal.roles) == ("proxy:user:bob", {"analyst"})
    assert principal.groups_known


def test_names_count_byte_for_byte() -> None:
    for name in ("Alice", "alice ", "ALICE", "alicé"):
        principal = users().cached(Presented(asserted=AssertedUser(name, ())))
        assert principal is not None
        assert principal.roles == frozenset()


def test_a_user_called_like_another_kinds_principal_is_not_that_one() -> None:
    """The attacker gets a proxy's account called `key:admin`."""
    principal = users().cached(Presented(asserted=AssertedUser("key:admin", ("key:admin",))))
    assert principal is not None
    assert principal.key == "proxy:user:key:admin"
    assert principal.roles == frozenset()


def test_unknown_groups_count_for_every_denial() -> None:
    principal = users().cached(Presented(asserted=AssertedUser("bob")))
    assert principal is not None
    assert not principal.groups_known
    assert principal.denied_roles == {"analyst"}


def test_the_same_assertion_is_the_same_principal_and_memory_is_bounded() -> None:
    asserted = users()
    first = asserted.cached(Presented(asserted=AssertedUser("u", ())))
    assert asserted.cached(Presented(asserted=AssertedUser("u", ()))) is first
    for number in range(MAX_REMEMBERED):
        asserted.cached(Presented(asserted=AssertedUser(f"u{number}", ())))
    assert asserted.cached(Presented(asserted=AssertedUser("u", ()))) is not first


@pytest.mark.parametrize("presented", [Presented(), Presented(asserted=AssertedUser("C\\a", is_windows_account=True))])
async def test_nobody_and_windows_accounts_are_refused(presented: Presented) -> None:
    with pytest.raises(RejectedCredential):
        await users().authenticate(presented)
