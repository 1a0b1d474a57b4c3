"""The reader of tokens and the fake pass the same suite; what needs a second process stands at the end."""

import os
import subprocess
import sys

import pytest
from tests.rigs.handle_tables import ADMINISTRATORS, EVERYONE, FakeTable, HandleTable

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.windows_tokens import NotAToken

if sys.platform == "win32":
    from tests.rigs.handle_tables import RealTable

    TABLES = [FakeTable, RealTable]
else:
    TABLES = [FakeTable]


@pytest.fixture(params=TABLES)
def table(request) -> HandleTable:
    return request.param()


def refused(table: HandleTable, handle: int) -> str:
    with pytest.raises(NotAToken) as raised:
        table.tokens.take(handle)
    return str(raised.value)


def test_a_token_says_who_its_user_is_and_its_handle_is_closed(table):
    handle = table.token()
    facts = table.tokens.take(handle)
    assert facts.sid == table.own_sid
    assert facts.is_own_account
    assert not facts.is_own_process
    assert not facts.is_restricted
    assert facts.level == "primary"
    assert {ADMINISTRATORS, EVERYONE} <= facts.groups
    assert facts.denial_groups == frozenset()
    assert not table.is_open(handle)


@pytest.mark.parametrize("level", ["anonymous", "identification", "impersonation", "delegation"])
def test_a_token_says_what_it_allows_its_holder(table, level):
    handle = table.token(level)
    assert table.tokens.take(handle).level == level
    assert not table.is_open(handle)


def test_a_group_for_denials_alone_is_no_group_that_grants(table):
    facts = table.tokens.take(table.token(denied_group=ADMINISTRATORS))
    assert facts.denial_groups == {ADMINISTRATORS}
    assert ADMINISTRATORS not in facts.groups


def test_the_token_of_our_own_process_is_told_from_another_of_our_account(table):
    handle = table.own_token()
    assert table.tokens.take(handle).is_own_process
    assert not table.is_open(handle)


@pytest.mark.identity_case("Windows token", "the handle of an event, a file, a process or a section of ours", "401")
def test_what_is_no_token_is_not_closed(table):
    """Else a caller could take any object from under the server by naming its handle."""
    for kind, handle in table.other_things().items():
        refused(table, handle)
        assert table.is_open(handle), kind
        table.close(handle)


@pytest.mark.identity_case("Windows token", "a token's handle without the right to read it", "401")
def test_a_token_that_may_not_be_read_is_not_closed(table):
    handle = table.weak_token()
    refused(table, handle)
    assert table.is_open(handle)
    table.close(handle)


@pytest.mark.identity_case("Windows token", "the same handle again, after its request", "401")
def test_a_handle_counts_once(table):
    handle = table.token()
    table.tokens.take(handle)
    refused(table, handle)


@pytest.mark.identity_case("Windows token", "0, a pseudo-handle, a negative or huge number", "401")
@pytest.mark.parametrize(
    "handle",
    [0, -1, -4, -6, 2**31, 2**32 - 4, 2**32 - 6, 2**63, 2**64 - 6, 2**64 - 4, 2**64 - 1, 2**64 + 4, 2**200, 2**31 - 4],
)
def test_numbers_that_name_nothing_of_this_process_are_refused(table, handle):
    """-4 is our own process's token, which GetTokenInformation reads as if it were open."""
    refused(table, handle)


def test_nothing_leaks_and_nothing_is_closed_twice(table):
    event = table.other_things()["event"]
    before = table.count()
    handle = table.token()
    assert table.count() == before + 1
    table.tokens.take(handle)
    for turn in range(3000):
        facts = table.tokens.take(table.token("impersonation" if turn % 2 else "primary"))
        assert facts.sid == table.own_sid
        refused(table, event)
        refused(table, 2**31 - 4)
    assert table.count() == before
    assert table.is_open(event)


def kept(table: HandleTable, handle: int) -> CallerToken:
    taken = table.tokens.take_and_keep(handle)
    assert taken.token is not None, taken.why_not
    assert not table.is_open(handle)
    return taken.token


def test_a_token_is_kept_by_a_duplicate_until_it_is_given_back(table):
    before = table.count()
    taken = table.tokens.take_and_keep(table.token())
    assert taken.facts == table.tokens.take(table.token())
    assert taken.token.is_open
    assert table.count() == before + 1
    taken.token.close()
    taken.token.close()
    assert not taken.token.is_open
    assert table.count() == before


@pytest.mark.identity_case("Windows token", "the handle of a token that we keep for another request", "401")
def test_nobody_can_name_what_we_keep(table):
    """Windows looks at no more than the handle's upper bits: 1 to 3 more name the same object."""
    token = kept(table, table.token())
    number = table.number_of(token)
    for named in range(number, number + 4):
        refused(table, named)
        with pytest.raises(NotAToken):
            table.tokens.take_and_keep(named)
    assert token.is_open
    assert table.is_open(number)
    token.close()
    assert not table.is_open(number)


def test_a_number_that_we_kept_once_may_be_somebodys_token_later(table):
    kept(table, table.token()).close()
    for _ in range(50):
        assert table.tokens.take(table.token()).sid == table.own_sid


@pytest.mark.identity_case("Windows token", "a token that only names its user, for a model that needs rights", "403")
@pytest.mark.parametrize("level", ["anonymous", "identification"])
def test_what_gives_no_rights_is_not_kept_and_still_a_name(table, level):
    before = table.count()
    taken = table.tokens.take_and_keep(table.token(level))
    assert (taken.token, taken.facts.level) == (None, level)
    assert "can't be impersonated" in taken.why_not
    assert table.count() == before


def test_nothing_is_kept_of_what_is_no_token(table):
    before, things = table.count(), table.other_things()
    for handle in (*things.values(), 0, -4, 2**31, 2**64 - 4):
        with pytest.raises(NotAToken):
            table.tokens.take_and_keep(handle)
    assert all(table.is_open(handle) for handle in things.values())
    assert table.count() == before + len(things)
    for handle in things.values():
        table.close(handle)


def test_only_tokens_that_allow_the_same_are_alike(table):
    """Two of one user: in one of them its groups count, in the other for denials alone."""
    first = table.token()
    second = table.twin(first)
    tokens = [kept(table, one) for one in (first, second, table.token(denied_group=ADMINISTRATORS))]
    assert tokens[0].likeness == tokens[1].likeness != tokens[2].likeness
    for token in tokens:
        token.close()


def test_keeping_leaks_nothing(table):
    before = table.count()
    for turn in range(500):
        kept(table, table.token(denied_group="" if turn % 2 else ADMINISTRATORS)).close()
    assert table.count() == before


@pytest.mark.windows("a second process duplicates a token into ours")
@pytest.mark.identity_case("Windows token", "a token that another process duplicated into ours, as IIS does", "200")
def test_a_token_from_another_process_is_read_as_iis_hands_it_over():
    table = RealTable()
    before = table.count()
    program = """if True:
        import sys, win32api, win32con, win32security as w
        pid = int(sys.argv[1])
        own = w.OpenProcessToken(win32api.GetCurrentProcess(), w.TOKEN_ALL_ACCESS)
        token = w.DuplicateTokenEx(own, w.SecurityImpersonation, w.TOKEN_ALL_ACCESS, w.TokenPrimary)
        target = win32api.OpenProcess(win32con.PROCESS_DUP_HANDLE, False, pid)
        there = win32api.DuplicateHandle(win32api.GetCurrentProcess(), token, target, 0, False, 2)
        print("%x" % there.Detach())
    """
    printed = subprocess.run(
        [sys.executable, "-c", program, str(os.getpid())], stdout=subprocess.PIPE, check=True, timeout=240
    ).stdout
    handle = int(printed, 16)
    facts = table.tokens.take(handle)
    assert facts.sid == table.own_sid
    assert not facts.is_own_process
    refused(table, handle)
    assert table.count() <= before + 1
