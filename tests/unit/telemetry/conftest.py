"""Events and trails for the tests of telemetry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.telemetry.events import make_event, make_refusal

from torchgate.contract.audit_event import RequestEvent
from torchgate.telemetry.audit_trail import AuditTrail
from torchgate.telemetry.checkpoint import Signer
from torchgate.telemetry.settings import AuditSettings

MakeEvent = Callable[..., RequestEvent]
MakeTrail = Callable[..., AuditTrail]


@pytest.fixture(name="make_event")
def make_event_fixture() -> MakeEvent:
    return make_event


@pytest.fixture(name="make_refusal")
def make_refusal_fixture() -> MakeEvent:
    return make_refusal


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer("torchgate-audit/test", Ed25519PrivateKey.generate())


@pytest.fixture
async def make_trail(tmp_path: Path, signer: Signer) -> AsyncIterator[MakeTrail]:
    """Makes trails in one folder (not started); closes them after the test."""
    made: list[AuditTrail] = []

    def make(**settings: object) -> AuditTrail:
        trail = AuditTrail(
            tmp_path / "Prüfpfad mit Leerzeichen", AuditSettings.model_validate(settings), signer=signer, version="9.9"
        )
        made.append(trail)
        return trail

    yield make
    for trail in made:
        await trail.close()


@pytest.fixture(scope="session")
def make_event_once() -> RequestEvent:
    return make_event()
