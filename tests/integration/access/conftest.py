"""What tests with real issuers share."""

from __future__ import annotations

import pytest

from torchgate.access.identity import key_set


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits longer for keys than a machine stands still, but where its three seconds are the matter."""
    if "three_seconds" not in request.node.name:
        monkeypatch.setattr(key_set, "_UNKNOWN_KEY_WAIT_S", 100.0)
