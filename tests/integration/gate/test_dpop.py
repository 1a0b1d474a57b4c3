"""Bound tokens with proofs (DPoP) over real requests: the request that was made is the one that is proven."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.rigs.asgi_client import ask
from tests.rigs.gate_rig import DOUBLE, ONE_ROW, GateRig, gate_rig, served
from tests.unit.access.identity.test_authenticate import authentication
from tests.unit.access.identity.test_dpop import ISSUER, OTHER, TOKEN, URL, door, made

import torchgate
from torchgate.access.identity.presented import Proof
from torchgate.contract.decision import Action
from torchgate.gate.asgi import GateApp, Receive, Scope, Send
from torchgate.gate.mounted import Guard, OpenGate
from torchgate.gate.public_paths import PublicPaths


def with_proof(rig: GateRig) -> GateRig:
    """Trusts the issuer, whose alice may do everything."""
    access = authentication()
    access._tokens = door()
    rig.keys = access  # type: ignore[assignment]
    rig.policy.allowed = {("corp|https://id.example|alice", action) for action in Action}
    return rig


@pytest.fixture
async def rig() -> AsyncIterator[GateRig]:
    async with served(with_proof(gate_rig())) as rig:
        yield rig


def headers(proof: Proof, token: str = TOKEN, scheme: str = "DPoP") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}", "DPoP": proof.text}


async def status(rig: GateRig, sent: dict[str, str], method: str = "POST", path: str = DOUBLE) -> int:
    connection = rig.connect()
    try:
        return (await connection.request(method, path, sent, ONE_ROW if method == "POST" else b"")).status
    finally:
        await connection.close()


@pytest.mark.identity_case(
    "bearer, DPoP", "over HTTP: a proof again, on another path, with another method, in another mount", "401"
)
async def test_the_proof_is_of_the_request_that_was_made(rig: GateRig) -> None:
    """Method and path are those of the request line; the address is the configured one, whatever Host says."""
    proof = made({"htu": URL + DOUBLE})
    assert await status(rig, headers(proof)) == 200
    assert rig.seen[-1].principal is not None
    assert await status(rig, headers(proof)) == 401
    assert rig.seen[-1].credential_reason == "DPoP: used before"
    assert await status(rig, headers(made({"htu": URL + DOUBLE})), "GET", DOUBLE.removesuffix("/infer")) == 401
    assert await status(rig, headers(made({"htu": URL + DOUBLE})), path=DOUBLE.replace("double", "hangs")) == 401
    assert await status(rig, headers(made({"htu": f"http://127.0.0.1:{rig.port}{DOUBLE}"}))) == 401
    assert await status(rig, headers(made({"htu": URL + DOUBLE})), path=f"{DOUBLE}?x=1") == 200


@pytest.mark.identity_case("bearer, DPoP", "two proofs, none, or one beside the scheme Bearer", "400 or 401")
async def test_a_token_under_the_scheme_has_one_proof(rig: GateRig) -> None:
    """And under Bearer it is a bound token that was sent as one."""
    first, second = made({"htu": URL + DOUBLE}), made({"htu": URL + DOUBLE})
    assert await status(rig, {**headers(first), "dpop": second.text}) == 400
    assert await status(rig, {"Authorization": f"DPoP {TOKEN}"}) == 401
    assert await status(rig, headers(first, scheme="Bearer")) == 401
    assert await status(rig, {"DPoP": first.text}) == 401
    assert await status(rig, headers(Proof("not ascii \xe9"))) == 401
    assert await status(rig, headers(made({"htu": URL + DOUBLE}, key=OTHER))) == 401
    assert await status(rig, {**headers(first), "X-API-Key": "tg_a_b_c"}) == 400
    plain = ISSUER.token()
    assert await status(rig, headers(second, plain, "Bearer")) == 200
    assert await status(rig, headers(first, scheme="dpop")) == 200


async def test_a_mounted_route_asks_on_by_the_proof_of_its_request() -> None:
    """And sees none of it."""
    rig, scopes = with_proof(gate_rig()), list[Scope]()
    opened = OpenGate(GateApp(rig.services()))

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        for _ in range(2):
            await torchgate.caller().infer("double", {"x": [[1, 2]]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guard = Guard(route, lambda: opened, contextlib.nullcontext, PublicPaths(()))
    sent = headers(made({"htu": URL + "/mine", "htm": "GET"}))
    assert (await ask(guard, path="/mine", headers=sent)).status == 200
    assert (await ask(guard, path="/mine", headers=sent)).status == 401
    assert [name for name, _ in scopes[0]["headers"]] == [b"host"]
