"""Mistakes in `[[shares]]`."""

from __future__ import annotations

from torchgate.engine.settings import ShareSettings
from torchgate.engine.share_checks import share_checks


def test_a_role_that_is_not_there_and_one_that_is_there_twice_are_mistakes():
    shares = [ShareSettings(role="gold"), ShareSettings(role="gold", weight=2.0), ShareSettings(role="gond")]
    found = list(share_checks(shares, {"gold"}))
    assert [(one.severity, one.setting) for one in found] == [("error", "shares.1.role"), ("error", "shares.2.role")]


def test_shares_of_roles_that_are_there_are_none():
    assert list(share_checks([ShareSettings(role="gold", weight=4.0, priority=1)], {"gold"})) == []
