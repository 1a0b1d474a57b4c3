"""SIDs that follow from names, as Windows itself makes them."""

from __future__ import annotations

import re

import pytest

from torchgate.contract.virtual_accounts import ACCOUNT_PATTERN, as_peer, sid_of_account


@pytest.mark.parametrize(
    ("name", "sid"),
    [
        # Known to everybody who has seen the owner of a Windows file, or a fresh IIS.
        ("NT SERVICE\\TrustedInstaller", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"),
        ("IIS AppPool\\DefaultAppPool", "S-1-5-82-3006700770-424185619-1745488364-794895919-4004696415"),
        ("iis apppool\\DEFAULTAPPPOOL", "S-1-5-82-3006700770-424185619-1745488364-794895919-4004696415"),
        ("LocalSystem", "S-1-5-18"),
        ("NT AUTHORITY\\NetworkService", "S-1-5-20"),
    ],
)
def test_a_name_that_windows_makes_has_its_sid(name: str, sid: str):
    assert sid_of_account(name) == as_peer(name) == sid


@pytest.mark.parametrize("name", ["CORP\\service", "S-1-5-18", "uid:1000", "", "NT SERVICE\\", "IIS AppPool\\a\\b"])
def test_any_other_name_stays_as_it_is(name: str):
    assert sid_of_account(name) is None
    assert as_peer(name) == name


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("uid:1000", True),
        ("S-1-5-20", True),
        ("IIS AppPool\\my models", True),
        ("nt service\\torchgate-pool", True),
        ("CORP\\service", False),
        ("IIS AppPool\\a\\b", False),
        ("IIS AppPool\\", False),
        ("uid:1000\n", False),
    ],
)
def test_a_setting_takes_what_can_be_a_peer(text: str, is_one: bool):
    assert bool(re.fullmatch(ACCOUNT_PATTERN, text)) is is_one
