"""Tokens that azure-identity and MSAL get from a real provider in the shape of Entra ID, over TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from tests.rigs.oidc_provider.entra_process import API, CLIENT, GROUP, OID, TENANT, EntraProcess

from torchgate.access.build import build_access
from torchgate.access.identity.authenticate import Authentication
from torchgate.access.identity.presented import Presented
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.contract.errors import IssuerUnavailable, RejectedCredential
from torchgate.contract.principal import Principal

pytestmark = pytest.mark.linux("the provider needs Node on this machine, which Wine can't run")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EntraProcess]:
    """One for all tests of this file; each begins with its own switches."""
    made = EntraProcess(tmp_path_factory.mktemp("entra"))
    yield made
    made.close()


@pytest.fixture
async def entra(provider: EntraProcess) -> EntraProcess:
    """With all switches as at the start."""
    await asyncio.to_thread(provider.switch, "reset")
    return provider


def access(entra: EntraProcess, **settings: object) -> Authentication:
    """The identity of a server that trusts the provider."""
    values = {
        "name": "entra",
        "profile": "entra",
        "issuer": entra.issuer,
        "audience": [API],
        "ca_file": str(entra.ca_file),
    } | settings
    identity = IdentitySettings.model_validate_json(json.dumps({"oidc": [values]}))
    roles = {"caller": ("entra:role:Model.Infer", f"entra:group:{GROUP}")}
    return build_access(AccessSettings(identity=identity, roles=roles))[0]


async def principal(entra: EntraProcess, **settings: object) -> Principal:
    """Of a token of the provider as it is switched now."""
    authentication = access(entra, **settings)
    token = await asyncio.to_thread(entra.token)
    try:
        return await authentication.authenticate(Presented(bearer=token))
    finally:
        await authentication.stop()


async def failure(entra: EntraProcess, **settings: object) -> str:
    """Why such a token is refused."""
    with pytest.raises((RejectedCredential, IssuerUnavailable)) as caught:
        await principal(entra, **settings)
    return caught.value.detail


async def test_a_program_that_uses_azure_identity_is_its_principal(entra: EntraProcess) -> None:
    found = await principal(entra)
    assert found.key == f"entra|{TENANT}|{OID}"
    assert found.roles == {"caller"}
    assert (await principal(entra, callers=["app"], clients=[CLIENT])).key == found.key
    assert await failure(entra, callers=["user"]) == "a program's token"
    assert await failure(entra, clients=[API]) == "client not allowed"
    assert await failure(entra, audience=["api://models"]) == "audience"


async def test_a_person_is_the_principal_with_groups(entra: EntraProcess) -> None:
    await asyncio.to_thread(entra.switch, "shape/user")
    found = await principal(entra, callers=["user"])
    assert (found.name, found.roles) == ("ann@contoso.example", {"caller"})
    assert await failure(entra, callers=["app"]) == "a person's token"


async def test_groups_that_were_left_out_are_unknown_and_nobody_asks_where_the_token_says(entra: EntraProcess) -> None:
    """The attacker, if it could, would name a place of its own in `_claim_sources`."""
    await asyncio.to_thread(entra.switch, "shape/overage")
    found = await principal(entra)
    assert not found.groups_known
    assert (found.roles, found.denied_roles) == (frozenset(), {"caller"})
    assert (await asyncio.to_thread(entra.asked))["steal"] == 0


@pytest.mark.parametrize(
    ("shape", "settings", "reason"),
    [
        ("guest", {"allow_guests": False}, "guest, or acct missing"),
        ("user", {"allow_guests": False}, "guest, or acct missing"),
        ("neither", {}, "neither scp nor roles"),
        ("other", {}, "issuer"),
    ],
)
async def test_tokens_for_others_are_refused(
    entra: EntraProcess, shape: str, settings: dict[str, object], reason: str
) -> None:
    await asyncio.to_thread(entra.switch, f"shape/{shape}")
    assert await failure(entra, **settings) == reason


async def test_each_version_is_read_by_its_own_metadata(entra: EntraProcess) -> None:
    first = f"{entra.host}/{TENANT}/"
    assert await failure(entra, issuer=first) == "issuer", "a token of version 2.0"
    await asyncio.to_thread(entra.switch, "version/one", "keys/none")
    assert (await principal(entra, issuer=first)).key == f"entra|{TENANT}|{OID}"
    assert await failure(entra) == "issuer"


async def test_many_tenants_are_read_by_common_metadata_and_bound_keys(entra: EntraProcess) -> None:
    template, listed = f"{entra.host}/{{tenantid}}/v2.0", [TENANT]
    assert (await principal(entra, issuer=template, tenants=listed)).key == f"entra|{TENANT}|{OID}"
    assert await failure(entra, issuer=template, tenants=[API]) == "issuer"
    for switch in ("keys/other", "keys/none"):
        await asyncio.to_thread(entra.switch, switch)
        assert await failure(entra, issuer=template, tenants=listed) == "key of another issuer"
