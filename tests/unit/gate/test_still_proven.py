"""A caller once more in the middle of its request: what proved it then must prove it now."""

from __future__ import annotations

import pytest
from tests.rigs.gate_rig import ALICE, GUEST, GateRig, gate_rig
from tests.unit.access.local_issuer import NOW, LocalIssuer, tokens_of

from torchgate.access.identity.presented import Presented
from torchgate.contract.errors import IssuerUnavailable, NoCredential, RejectedCredential
from torchgate.contract.principal import Principal
from torchgate.gate.asgi import read_request
from torchgate.gate.exchange import Exchange
from torchgate.gate.still_proven import prove_again


class Tokens:
    """Bearer tokens of one issuer, as the gate asks for them."""

    def __init__(self, issuer: LocalIssuer, **roles: tuple[str, ...]) -> None:
        self._tokens = tokens_of(issuer, roles=roles)

    def cached(self, presented: Presented) -> Principal | None:
        """What was verified before."""
        return self._tokens.cached(presented.bearer or "")

    async def authenticate(self, presented: Presented) -> Principal:
        """Verified now."""
        return await self._tokens.authenticate(presented.bearer or "")

    def challenges(self) -> tuple[str, ...]:
        """One."""
        return ("Bearer",)


@pytest.fixture
def rig() -> GateRig:
    return gate_rig()


def _exchange(rig: GateRig) -> Exchange:
    async def receive() -> dict[str, object]:
        raise AssertionError("nobody reads")

    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": [], "client": ("127.0.0.1", 1)}
    return Exchange(rig.services(), read_request(scope, receive))


def _visit(rig: GateRig, principal: Principal | None, **presented: str) -> Exchange:
    visit = _exchange(rig)
    visit.principal, visit.presented = principal, Presented(**presented) if presented else None  # type: ignore[arg-type]
    return visit


@pytest.mark.identity_case("bearer", "a token that expires while a stream of a mounted route lasts", "401 from then on")
async def test_a_token_counts_until_it_expires(rig: GateRig) -> None:
    """With the allowance for clocks that a new request has, and no more."""
    issuer = LocalIssuer()
    tokens = rig.keys = Tokens(issuer, analyst=("corp:sub:alice",))  # type: ignore[assignment]
    presented = {"bearer": issuer.token()}
    before = await tokens.authenticate(Presented(**presented))
    visit = _visit(rig, before, **presented)
    issuer.wall_clock.at = NOW + 599
    assert (await prove_again(_exchange(rig), visit)).roles == {"analyst"}
    issuer.wall_clock.at = NOW + 600 + issuer.settings.clock_skew_s
    question = _exchange(rig)
    with pytest.raises(RejectedCredential):
        await prove_again(question, visit)
    assert (question.principal, question.credential_reason) == (before, "expired")


async def test_the_roles_are_those_of_now(rig: GateRig) -> None:
    """What counts now may know other roles than what counted when the request came."""
    issuer = LocalIssuer()
    presented = {"bearer": issuer.token()}
    before = await Tokens(issuer, analyst=("corp:sub:alice",)).authenticate(Presented(**presented))
    rig.keys = Tokens(issuer, barred=("corp:sub:alice",))  # type: ignore[assignment]
    question = _exchange(rig)
    now = await prove_again(question, _visit(rig, before, **presented))
    assert (before.roles, now.roles, question.principal) == ({"analyst"}, {"barred"}, now)


async def test_a_credential_that_is_somebody_elses_by_now_proves_nobody(rig: GateRig) -> None:
    """A request is its caller's to its end."""
    question = _exchange(rig)
    with pytest.raises(RejectedCredential):
        await prove_again(question, _visit(rig, GUEST, api_key="alice-key"))
    assert question.principal == GUEST
    assert (await prove_again(_exchange(rig), _visit(rig, ALICE, api_key="alice-key"))) == ALICE


async def test_where_it_cant_be_known_nothing_is_answered(rig: GateRig) -> None:
    """An issuer that is out of reach, and a request that never proved anybody."""
    with pytest.raises(IssuerUnavailable):
        await prove_again(_exchange(rig), _visit(rig, ALICE, bearer="unreachable"))
    with pytest.raises(NoCredential):
        await prove_again(_exchange(rig), _visit(rig, None, api_key="alice-key"))
    with pytest.raises(NoCredential):
        await prove_again(_exchange(rig), _visit(rig, ALICE))
