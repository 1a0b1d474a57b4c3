"""The public description of this server (RFC 9728), over HTTP: from configuration, whatever the request says."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from tests.rigs.gate_rig import DOUBLE, GUEST_KEY, GateRig, gate_rig, served
from tests.rigs.http_connection import Answer

from torchgate.access.identity.protected_resource import WELL_KNOWN
from torchgate.gate.exchange import GROUPS_UNKNOWN
from torchgate.gate.services import GateServices

DOCUMENT = b'{"resource":"https://models.example"}'


class TellingRig(GateRig):
    """A gate that tells."""

    def services(self) -> GateServices:
        """With the description."""
        return dataclasses.replace(super().services(), resource_metadata=DOCUMENT)


async def ask(rig: GateRig, path: str, headers: dict[str, str]) -> Answer:
    """One GET on a connection of its own."""
    connection = rig.connect()
    try:
        return await connection.request("GET", path, headers)
    finally:
        await connection.close()


@pytest.mark.identity_case(
    "front door", "a question for this server's issuers, with `X-Forwarded-Host` of an attacker", "what is configured"
)
@pytest.mark.parametrize("path", [WELL_KNOWN, f"{WELL_KNOWN}/a/b"])
async def test_the_description_is_what_was_configured(path: str) -> None:
    async with served(TellingRig(gate_rig().settings)) as rig:
        answer = await ask(rig, path, {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"})
        assert (answer.status, answer.body) == (200, DOCUMENT)
        assert (await ask(rig, path, {"Host": "evil.example"})).status == 400


async def test_a_server_that_tells_nothing_has_no_such_path() -> None:
    async with served(gate_rig()) as rig:
        assert (await ask(rig, WELL_KNOWN, {})).status == 404


async def test_a_denial_of_somebody_whose_groups_are_unknown_says_what_to_do_in_the_record_alone() -> None:
    async with served(gate_rig()) as rig:
        plain = await ask(rig, DOUBLE.removesuffix("/infer"), GUEST_KEY)
        rig.keys.principals = {
            key: msgspec.structs.replace(principal, groups_known=False)
            for key, principal in rig.keys.principals.items()
        }
        answer = await ask(rig, DOUBLE.removesuffix("/infer"), GUEST_KEY)
        assert answer.status == plain.status == 403
        assert answer.json()["error"] == plain.json()["error"]
        first, second = (event.decision for event in rig.seen)
        assert first is not None
        assert second is not None
        assert second.reason == f"{first.reason} {GROUPS_UNKNOWN}"
