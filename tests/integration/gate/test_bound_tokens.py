"""Tokens that are bound to a client's certificate (RFC 8705), over real TLS."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from tests.integration.gate.test_tls import PRESS, ROOT, Place, ask, away
from tests.rigs.gate_rig import GateRig, served
from tests.unit.access.local_issuer import LocalIssuer, tokens_of

from torchgate.contract.decision import Action

ISSUER = LocalIssuer("ES256")
OTHER = ROOT.issue()
THUMBPRINT = base64.urlsafe_b64encode(hashlib.sha256(PRESS.der).digest()).rstrip(b"=").decode()
BOUND = {"Authorization": f"Bearer {ISSUER.token(ISSUER.claims(cnf={'x5t#S256': THUMBPRINT}))}"}
PLAIN = {"Authorization": f"Bearer {ISSUER.token()}"}


def rig_of(folder: Path, paths: tuple[str, ...]) -> GateRig:
    """A gate with our own TLS, which trusts the issuer; certificates alone count on the paths."""
    rig = Place(folder).rig(paths=paths)
    rig.keys._tokens = tokens_of(ISSUER)  # type: ignore[attr-defined]
    rig.policy.allowed |= {("corp|https://id.example|alice", action) for action in Action}
    return rig


@pytest.mark.identity_case(
    "bearer", "over TLS: a bound token with its certificate, with another, with none", "200; 401; 401"
)
@pytest.mark.parametrize(("paths", "plain_with_certificate"), [((), 200), (("/",), 400)])
async def test_a_bound_token_counts_from_its_owner_alone(
    tmp_path: Path, paths: tuple[str, ...], plain_with_certificate: int
) -> None:
    """Each twice: what was remembered for its owner is good for nobody else."""
    async with served(rig_of(tmp_path, paths)) as rig:
        place = Place(tmp_path)
        for _ in range(2):
            assert await away(ask, rig.port, place.client(PRESS), headers=BOUND) == 200
            assert rig.seen[-1].principal is not None
            assert rig.seen[-1].principal.method == "bearer"
            assert await away(ask, rig.port, place.client(OTHER), headers=BOUND) == 401
            assert await away(ask, rig.port, place.client(), headers=BOUND) == 401
            assert await away(ask, rig.port, place.client(), headers=PLAIN) == 200
            assert await away(ask, rig.port, place.client(PRESS), headers=PLAIN) == plain_with_certificate
