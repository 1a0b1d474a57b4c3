import asyncio
import threading

import msgspec
import pytest
from tests.fakes.windows_tokens import OWN_SID, FakeAccounts

from torchgate.access.build import build_access
from torchgate.access.identity.account_names import AccountNames
from torchgate.access.identity.lookup_thread import LookupThread
from torchgate.access.identity.presented import AssertedUser, Presented
from torchgate.access.identity.windows_token import MAX_REMEMBERED
from torchgate.access.neighbours import AccessNeighbours
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.access.windows_settings import WindowsSettings
from torchgate.contract.errors import IssuerUnavailable, RejectedCredential
from torchgate.contract.windows_tokens import Account, TokenFacts

ANN = "S-1-5-21-1-2-3-1105"
OTHER_ANN = "S-1-5-21-7-8-9-1105"
ANALYSTS = "S-1-5-21-1-2-3-1200"
ADMINISTRATORS = "S-1-5-32-544"
ACCOUNTS = (
    Account(ANN, "CONTOSO\\ann", "user"),
    Account(OTHER_ANN, "OTHER\\ann", "user"),
    Account(ANALYSTS, "CONTOSO\\Analysts", "group"),
    Account(ADMINISTRATORS, "BUILTIN\\Administrators", "group"),
    Account("S-1-5-18", "NT AUTHORITY\\SYSTEM", "well_known"),
    Account("S-1-5-21-1-2-3-501", "CONTOSO\\Guest", "user"),
    Account(OWN_SID, "WEB1\\svc", "user"),
)
ROLES = {
    "analyst": ("group:CONTOSO\\Analysts",),
    "person": ("user:CONTOSO\\ann",),
    "admin": (f"sid:{ADMINISTRATORS}",),
}


class Rig:
    """Access with Windows identities, over accounts that tests can change."""

    def __init__(self, roles=ROLES, **windows) -> None:
        self.accounts = FakeAccounts(*ACCOUNTS)
        self.now_s = 0.0
        settings = AccessSettings(
            identity=IdentitySettings(windows=WindowsSettings(enabled=True, **windows)),
            roles={role: tuple(members) for role, members in roles.items()},
        )
        neighbours = AccessNeighbours(windows_accounts=self.accounts)
        self.authentication, authorisation = build_access(settings, clock=lambda: self.now_s, neighbours=neighbours)
        authorisation.stop()

    def of_token(self, facts: TokenFacts):
        return asyncio.run(self.authentication.authenticate(Presented(windows=facts)))

    def of_user(self, name: str):
        presented = Presented(asserted=AssertedUser(name, is_windows_account=True))

        async def ask():
            try:
                return await self.authentication.authenticate(presented)
            finally:
                await self.authentication.stop()

        return asyncio.run(ask())

    def refusal(self, facts: TokenFacts) -> str:
        assert self.authentication.cached(Presented(windows=facts)) is None
        with pytest.raises(RejectedCredential) as raised:
            self.of_token(facts)
        assert facts.sid not in raised.value.sentence
        return raised.value.detail


def facts(sid: str = ANN, *groups: str, **rest) -> TokenFacts:
    return TokenFacts(sid, frozenset(groups), **rest)


@pytest.mark.identity_case("Windows token", "a domain user's token", "the user's SID is the key, groups give roles")
def test_a_user_is_its_sid_and_has_the_roles_of_its_groups():
    principal = Rig().of_token(facts(ANN, ANALYSTS, logon_session="0x3e7a"))
    assert principal.key == ANN
    assert principal.method == principal.issuer == "windows"
    assert principal.roles == {"analyst", "person"}
    assert principal.marks == {f"sid:{ANN}", f"sid:{ANALYSTS}"}
    assert principal.credential_id == "0x3e7a"
    assert principal.groups_known


def test_the_same_facts_give_the_same_principal_without_waiting():
    rig = Rig()
    while rig.of_token(facts(ANN, ANALYSTS)).name == ANN:
        threading.Event().wait(0.001)
    assert rig.authentication.cached(Presented(windows=facts(ANN, ANALYSTS))) is rig.of_token(facts(ANN, ANALYSTS))
    assert rig.authentication.cached(Presented(windows=facts(ANN))).roles == {"person"}


@pytest.mark.identity_case(
    "Windows token", "a token whose group is for denials alone (UAC, restricted token)", "no grant"
)
def test_a_group_for_denials_alone_gives_no_role_and_counts_for_denials():
    principal = Rig().of_token(TokenFacts(ANN, frozenset(), frozenset({ADMINISTRATORS})))
    assert "admin" not in principal.roles
    assert principal.denied_roles == {"admin"}


@pytest.mark.identity_case("Windows token", "the same user name of another domain", "another principal")
def test_the_same_name_of_another_domain_is_somebody_else():
    principal = Rig().of_token(facts(OTHER_ANN))
    assert principal.key == OTHER_ANN
    assert principal.roles == frozenset()


@pytest.mark.identity_case("Windows token", "a level that allows nobody to be named (anonymous)", "401")
def test_an_anonymous_token_is_refused():
    assert "anonymous" in Rig().refusal(facts(level="anonymous"))


@pytest.mark.parametrize("level", ["identification", "impersonation", "delegation"])
def test_other_levels_name_their_user(level):
    assert Rig().of_token(facts(level=level)).key == ANN


@pytest.mark.identity_case("Windows token", "the token of the server's own process", "401, always")
def test_the_token_of_our_own_process_is_refused_even_where_our_account_counts():
    rig = Rig(allow_own_account=True, allow_service_accounts=True)
    assert "own process" in rig.refusal(facts(OWN_SID, is_own_process=True, is_own_account=True))


@pytest.mark.identity_case("Windows token", "a caller with the server's own account", "401, unless allowed")
def test_callers_with_our_account_count_where_that_is_allowed():
    assert "allow_own_account" in Rig().refusal(facts(OWN_SID, is_own_account=True))
    assert Rig(allow_own_account=True).of_token(facts(OWN_SID, is_own_account=True)).key == OWN_SID


@pytest.mark.identity_case("Windows token", "SYSTEM, LocalService or NetworkService", "401, unless allowed")
@pytest.mark.parametrize("sid", ["S-1-5-18", "S-1-5-19", "S-1-5-20"])
def test_service_accounts_count_where_they_are_allowed(sid):
    assert "allow_service_accounts" in Rig().refusal(facts(sid))
    assert Rig(allow_service_accounts=True).of_token(facts(sid)).key == sid


@pytest.mark.identity_case("Windows token", "the anonymous logon, IUSR, or a Guest account", "401, always")
@pytest.mark.parametrize("sid", ["S-1-5-7", "S-1-5-17", "S-1-0-0", "S-1-5-21-1-2-3-501"])
def test_nobody_in_particular_is_refused(sid):
    rig = Rig(allow_own_account=True, allow_service_accounts=True)
    assert rig.refusal(facts(sid))


@pytest.mark.identity_case("Windows token", "a token with restricting SIDs, or whose user is for denials alone", "401")
def test_a_restricted_token_is_refused():
    """What it may do is less than its groups say, and nothing here takes the difference into account."""
    assert "restricted" in Rig().refusal(facts(is_restricted=True))


def test_groups_of_nearly_everybody_count_only_where_their_sid_is_configured():
    everyone = ("S-1-1-0", "S-1-5-11", "S-1-5-2", "S-1-5-15", "S-1-5-64-10", "S-1-18-1")
    assert Rig().of_token(facts(ANN, *everyone)).marks == {f"sid:{ANN}"}
    rig = Rig({"anybody": ("sid:S-1-5-11",)})
    principal = rig.of_token(facts(ANN, *everyone))
    assert principal.roles == {"anybody"}
    assert principal.marks == {f"sid:{ANN}", "sid:S-1-5-11"}


@pytest.mark.identity_case("Windows token", "a group or user that is called like a SID or a built-in group", "no grant")
def test_names_are_compared_nowhere():
    rig = Rig()
    rig.accounts.accounts = (*ACCOUNTS, Account("S-1-5-21-1-2-3-9999", "CONTOSO\\S-1-5-32-544", "group"))
    assert rig.of_token(facts(ANN, "S-1-5-21-1-2-3-9999")).roles == {"person"}


@pytest.mark.identity_case(
    "Windows token", "an account that was renamed, and one that has taken over its name", "the SID counts"
)
def test_a_renamed_account_keeps_its_roles_and_its_old_name_gives_none():
    rig = Rig()
    rig.accounts.accounts = (Account(ANN, "CONTOSO\\anna", "user"), Account(OTHER_ANN, "CONTOSO\\ann", "user"))
    assert "person" in rig.of_token(facts(ANN)).roles
    assert rig.of_token(facts(OTHER_ANN)).roles == frozenset()


def test_no_name_is_waited_for_and_it_is_there_later():
    rig, asked, may_answer = Rig(), threading.Event(), threading.Event()
    by_sid = rig.accounts.by_sid

    def slow(sid: str) -> Account:
        asked.set()
        may_answer.wait(120)
        return by_sid(sid)

    rig.accounts.by_sid = slow
    assert rig.of_token(facts()).name == ANN
    assert asked.wait(120)
    assert rig.of_token(facts()).name == ANN
    may_answer.set()
    while rig.of_token(facts()).name == ANN:
        threading.Event().wait(0.001)
    assert rig.of_token(facts()).name == "CONTOSO\\ann"
    assert rig.of_token(facts(ANN, ANALYSTS)).name == "CONTOSO\\ann"
    asyncio.run(rig.authentication.stop())


def test_memory_for_tokens_is_bounded():
    rig = Rig()
    users = rig.authentication._others["windows"]
    for number in range(MAX_REMEMBERED + 50):
        rig.authentication.cached(Presented(windows=facts(f"S-1-5-21-1-2-3-{number + 2000}")))
    assert len(users._remembered) == MAX_REMEMBERED
    asyncio.run(rig.authentication.stop())


class InlineThread(LookupThread):
    """Answers at once."""

    def __init__(self) -> None:
        super().__init__("inline", 1)

    def ask(self, question):
        question()
        return True


def test_names_are_asked_again_after_an_hour_and_soon_where_nobody_could_be_asked():
    accounts, now_s = FakeAccounts(*ACCOUNTS), [0.0]
    names = AccountNames(accounts, InlineThread(), lambda: now_s[0], max_names=3)
    accounts.fails = OSError("no domain controller")
    names.name_of(ANN)
    assert names.name_of(ANN) == ANN
    accounts.fails, now_s[0] = None, 61.0
    names.name_of(ANN)
    assert names.name_of(ANN) == "CONTOSO\\ann"
    accounts.accounts = (Account(ANN, "CONTOSO\\an\x1b[31mna" + "x" * 500, "user"),)
    now_s[0] = 61.0 + 3601
    assert names.name_of(ANN) == "CONTOSO\\ann"
    renamed = names.name_of(ANN)
    assert renamed.startswith("CONTOSO\\an[31mna")
    assert len(renamed) <= 128
    for number in range(10):
        names.name_of(f"S-1-5-21-1-2-3-{number}")
    assert len(names._known) == 3


@pytest.mark.identity_case(
    "asserted Windows user", "DOMAIN\\user from IIS's FastCGI", "its SID is the key, groups unknown"
)
def test_an_asserted_user_is_its_sid_with_unknown_groups():
    principal = Rig().of_user("contoso\\ANN")
    assert principal.key == ANN
    assert principal.roles == {"person"}
    assert not principal.groups_known
    assert principal.denied_roles == {"analyst", "admin"}


@pytest.mark.identity_case(
    "asserted Windows user", "a name with ?, /, @, NUL, no domain, two backslashes, or a SID in its place", "401"
)
@pytest.mark.parametrize(
    "name",
    ["CONTOSO\\bj?rn", "CONTOSO/ann", "ann@contoso.test", "ann", "\\ann", "CONTOSO\\", "A\\B\\ann", ANN,
     "CONTOSO\\a\0n",
     "CONTOSO\\ann\n", ".\\ann", "", " ", "CONTOSO\\*", "x" * 600 + "\\ann", "CONTOSO\\nobody"],
)  # fmt: skip
def test_what_is_no_name_of_an_account_is_refused(name):
    with pytest.raises(RejectedCredential):
        Rig().of_user(name)


@pytest.mark.identity_case("asserted Windows user", "BUILTIN\\Administrators or another group as the user", "401")
def test_a_group_is_no_user():
    """Its SID would be a mark that roles with that group match."""
    with pytest.raises(RejectedCredential):
        Rig().of_user("BUILTIN\\Administrators")


@pytest.mark.parametrize("name", ["NT AUTHORITY\\SYSTEM", "CONTOSO\\Guest", "WEB1\\svc"])
def test_asserted_users_are_held_to_the_rules_of_tokens(name):
    with pytest.raises(RejectedCredential):
        Rig().of_user(name)


def test_a_domain_controller_out_of_reach_is_our_trouble_not_the_callers():
    rig = Rig()
    rig.accounts.fails = OSError("no domain controller")
    with pytest.raises(IssuerUnavailable) as raised:
        rig.of_user("CONTOSO\\ann")
    assert "ann" not in raised.value.sentence


def test_an_asserted_name_is_asked_once_for_all_who_wait_and_again_after_a_quarter_of_an_hour():
    rig = Rig()
    rig.accounts.questions.clear()
    presented = Presented(asserted=AssertedUser("CONTOSO\\ann", is_windows_account=True))

    async def ask() -> None:
        both = await asyncio.gather(*(rig.authentication.authenticate(presented) for _ in range(5)))
        assert {principal.key for principal in both} == {ANN}
        assert rig.accounts.questions == ["CONTOSO\\ann"]
        assert rig.authentication.cached(presented) is not None
        rig.now_s = 901.0
        assert rig.authentication.cached(presented) is None
        rig.accounts.accounts = (Account(OTHER_ANN, "CONTOSO\\ann", "user"),)
        assert (await rig.authentication.authenticate(presented)).key == OTHER_ANN
        await rig.authentication.stop()

    asyncio.run(ask())


def test_names_are_refused_while_too_many_wait():
    rig, may_answer = Rig(), threading.Event()
    rig.accounts.by_name = lambda name: may_answer.wait(120) and Account(ANN, name, "user")

    async def ask() -> None:
        presented = [
            Presented(asserted=AssertedUser(f"CONTOSO\\user{number}", is_windows_account=True)) for number in range(100)
        ]
        tasks = [asyncio.ensure_future(rig.authentication.authenticate(one)) for one in presented]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        refused = [task for task in tasks if task.done()]
        assert refused
        assert all(isinstance(task.exception(), IssuerUnavailable) for task in refused)
        may_answer.set()
        taken = await asyncio.gather(*(task for task in tasks if task not in refused))
        assert len(taken) + len(refused) == 100
        await rig.authentication.stop()

    asyncio.run(ask())


def test_tokens_and_users_are_refused_where_windows_identities_are_not_enabled():
    authentication, authorisation = build_access(AccessSettings())
    authorisation.stop()
    for presented in (
        Presented(windows=facts()),
        Presented(asserted=AssertedUser("CONTOSO\\ann", is_windows_account=True)),
    ):
        with pytest.raises(RejectedCredential):
            asyncio.run(authentication.authenticate(presented))


def test_facts_are_equal_only_where_all_of_them_are():
    assert facts(ANN, ANALYSTS) != facts(ANN)
    assert msgspec.structs.replace(facts(), level="anonymous") != facts()
