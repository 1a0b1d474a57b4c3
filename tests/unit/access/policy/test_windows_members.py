import pytest
from tests.fakes.windows_tokens import FakeAccounts

from torchgate.access.build import build_access
from torchgate.access.checks import checks
from torchgate.access.neighbours import AccessNeighbours
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.access.windows_settings import WindowsSettings
from torchgate.contract.windows_tokens import Account

ACCOUNTS = FakeAccounts(
    Account("S-1-5-21-1-2-3-1200", "CONTOSO\\Analysts", "group"),
    Account("S-1-5-21-1-2-3-1105", "CONTOSO\\ann", "user"),
    Account("S-1-1-0", "NT AUTHORITY\\Everyone", "well_known"),
)


def settings(*members: str, enabled: bool = True) -> AccessSettings:
    return AccessSettings(
        identity=IdentitySettings(windows=WindowsSettings(enabled=enabled)), roles={"analyst": tuple(members)}
    )


def findings(*members: str, accounts=ACCOUNTS, enabled: bool = True) -> list[tuple[str, str, str]]:
    found = checks(settings(*members, enabled=enabled), accounts)
    return [
        (one.severity, one.setting, one.sentence)
        for one in found
        if one.setting.startswith("roles.") and "no grant and no denial" not in one.sentence
    ]


def test_names_and_sids_that_exist_are_no_finding():
    assert findings("group:CONTOSO\\Analysts", "user:contoso\\ANN", "sid:S-1-5-21-1-2-3-77", "sid:S-1-1-0") == []


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ("group:CONTOSO\\Analists", "no account 'CONTOSO\\Analists'"),
        ("user:CONTOSO\\Analysts", "is a group; write group:CONTOSO\\Analysts"),
        ("group:CONTOSO\\ann", "is a user; write user:CONTOSO\\ann"),
        ("group:NT AUTHORITY\\Everyone", "if that is meant, write sid:S-1-1-0"),
        ("group:Analysts", "write DOMAIN\\name"),
        ("user:ann@contoso.test", "write DOMAIN\\name"),
        ("user:CONTOSO/ann", "write DOMAIN\\name"),
        ("user:CONTOSO\\a?n", "write DOMAIN\\name"),
        ("user:CONTOSO\\\\ann", "write DOMAIN\\name"),
        ("user:.\\ann", "write DOMAIN\\name"),
        ("sid:S-1-5-21-x", "is not a SID"),
        ("sid:s-1-5-32-544", "is not a SID"),
        ("sid:S-1-5-032-544", "is not a SID"),
        ("sid:CONTOSO\\ann", "is not a SID"),
    ],
)
def test_a_member_that_names_nobody_is_an_error_that_says_which(member, says):
    ((severity, setting, sentence),) = findings("sid:S-1-5-21-1-2-3-77", member)
    assert (severity, setting) == ("error", "roles.analyst.1")
    assert says in sentence
    with pytest.raises(ValueError, match=r"roles\.analyst\.1"):
        build_access(settings("sid:S-1-5-21-1-2-3-77", member), neighbours=AccessNeighbours(windows_accounts=ACCOUNTS))


def test_where_there_is_no_windows_a_name_is_a_warning_of_check_and_no_server_starts():
    """A denial on a group that can't be resolved would be none."""
    ((severity, _, sentence),) = findings("group:CONTOSO\\Analysts", accounts=None)
    assert severity == "warning"
    assert "was not resolved" in sentence
    with pytest.raises(ValueError, match="sid:S-1-…"):
        build_access(settings("group:CONTOSO\\Analysts"))


def test_windows_identities_on_another_system_are_a_warning():
    found = [one.severity for one in checks(settings(), None) if one.setting == "identity.windows.enabled"]
    assert found == ["warning"]
    assert [one for one in checks(settings(), ACCOUNTS) if one.setting == "identity.windows.enabled"] == []


def test_a_domain_controller_out_of_reach_is_an_error_that_says_so():
    accounts = FakeAccounts()
    accounts.fails = OSError("the domain does not answer")
    ((severity, _, sentence),) = findings("group:CONTOSO\\Analysts", accounts=accounts)
    assert severity == "error"
    assert "can't be resolved now" in sentence


def test_windows_members_need_windows_identities():
    ((severity, _, sentence),) = findings("group:CONTOSO\\Analysts", enabled=False)
    assert severity == "error"
    assert "not configured" in sentence


def test_a_member_whose_requests_are_always_refused_is_a_warning():
    found = findings("sid:S-1-5-18", "sid:S-1-5-7", "sid:S-1-5-21-1-2-3-501")
    assert [severity for severity, _, _ in found] == ["warning"] * 3
