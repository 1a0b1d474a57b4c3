"""What `check` says about `[pool]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from torchgate.config import PoolSettings, StateSettings, TorchgateSettings
from torchgate.contract.findings import Finding
from torchgate.contract.windows_tokens import Account
from torchgate.pool_checks import pool_checks
from torchgate.windows_here import windows_accounts

OWN_SID = "S-1-5-21-1-2-3-1000"
KNOWN_SID = "S-1-5-21-1-2-3-1001"
AWAY_SID = "S-1-5-21-9-9-9-1001"


class FixedAccounts:
    """Implements contract.windows_tokens.WindowsAccounts for two accounts, and a domain that does not answer."""

    def own_sid(self) -> str:
        return OWN_SID

    def by_name(self, name: str) -> Account:
        raise LookupError(name)

    def by_sid(self, sid: str) -> Account:
        if sid == AWAY_SID:
            raise OSError("the domain does not answer")
        if sid not in (OWN_SID, KNOWN_SID):
            raise LookupError(sid)
        return Account(sid, "SERVER\\someone", "user")


def found(state: Path, accounts: FixedAccounts | None = None, **pool: object) -> list[Finding]:
    settings = TorchgateSettings(state=StateSettings(folder=state), pool=PoolSettings(**pool))  # type: ignore[arg-type]
    here = accounts if accounts is not None else windows_accounts()
    return [finding for finding in pool_checks(settings, here) if finding.severity != "info"]


def places(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.setting) for finding in findings]


def test_a_project_without_it_hears_nothing(tmp_path: Path):
    assert list(pool_checks(TorchgateSettings(state=StateSettings(folder=tmp_path)), windows_accounts())) == []


def test_serve_is_said_to_need_none_of_it(tmp_path: Path):
    settings = TorchgateSettings(pool=PoolSettings(folder=tmp_path / "meet"))
    assert [finding.severity for finding in pool_checks(settings, FixedAccounts())] == ["info"]


def test_an_account_of_the_other_system_is_an_error(tmp_path: Path):
    assert places(found(tmp_path, FixedAccounts(), owner="uid:1000")) == [("error", "pool.owner")]


@pytest.mark.linux("accounts of the other system")
def test_a_sid_is_no_account_here(tmp_path: Path):
    assert ("error", "pool.gates.0") in places(found(tmp_path, gates=(KNOWN_SID,), owner=f"uid:{os.geteuid()}"))


def test_an_account_that_nobody_knows_is_a_warning_and_one_that_can_not_be_asked_is_not(tmp_path: Path):
    unknown = "S-1-5-21-4-4-4-4"
    given = {"gates": (OWN_SID, KNOWN_SID, AWAY_SID, unknown), "owner": OWN_SID, "folder": tmp_path / "meet"}
    assert places(found(tmp_path, FixedAccounts(), **given)) == [("warning", "pool.gates.3")]


def test_gates_of_other_accounts_need_an_owner_and_a_folder_to_meet(tmp_path: Path):
    findings = found(tmp_path / "state", FixedAccounts(), gates=(KNOWN_SID,))
    assert places(findings) == [("warning", "pool.owner"), ("warning", "pool.folder")]


def test_a_file_is_no_folder(tmp_path: Path):
    (tmp_path / "meet").write_bytes(b"")
    own = FixedAccounts() if sys.platform == "win32" else None
    assert places(found(tmp_path, own, folder=tmp_path / "meet")) == [("error", "pool.folder")]


@pytest.mark.linux("owners and modes of folders")
def test_a_folder_of_somebody_else_is_an_error(tmp_path: Path):
    """Who owns it could put another pipe in its place."""
    other = f"uid:{os.geteuid() + 1}"
    errors = [one for one in found(tmp_path, owner=other) if one.severity == "error"]
    assert places(errors) == [("error", "pool.folder")]
    assert other in str(errors[0])


@pytest.mark.linux("owners and modes of folders")
@pytest.mark.parametrize(("mode", "expected"), [(0o777, 1), (0o1777, 0), (0o755, 0), (0o775, 1)])
def test_a_folder_around_it_that_others_write_is_a_warning(tmp_path: Path, mode: int, expected: int):
    place = tmp_path / "around" / "meet"
    place.mkdir(parents=True)
    place.parent.chmod(mode)
    assert places(found(tmp_path, folder=place)) == [("warning", "pool.folder")] * expected
