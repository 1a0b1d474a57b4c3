"""Tokens that azure-identity and MSAL get from a real provider in the shape of Entra ID, over TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.rigs.oidc_provider.entra_process import API, CLIENT, GROUP, OID, SECRET, TENANT, EntraProcess

from torchgate.access.build import build_access
from torchgate.access.identity.authenticate import Authentication
from torchgate.access.identity.presented import Presented
from torchgate.access.neighbours import AccessNeighbours
from torchgate.access.secret_settings import SecretRefreshSettings
from torchgate.access.secrets.live_secrets import LiveSecrets
from torchgate.access.secrets.secret import Secret, SecretValue
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


def access(entra: EntraProcess, secrets: LiveSecrets | None = None, **settings: object) -> Authentication:
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
    references = {"graph": "file:graph"} if secrets is not None else {}
    access = AccessSettings(identity=identity, roles=roles, secrets=references)
    return build_access(access, neighbours=AccessNeighbours(secrets=secrets))[0]


async def principal(entra: EntraProcess, **settings: object) -> Principal:
    """Of a token of the provider as it is switched now."""
    authentication = access(entra, **settings)
    token = await asyncio.to_thread(entra.token)
    try:
        return await authentication.authenticate(Presented(bearer=token))
    finally:
        await authentication.stop()


class GivenSecret:
    """A source of one value."""

    reference = "file:graph"
    changes = False
    is_near = True

    def __init__(self, value: str) -> None:
        self._value = value

    def read(self) -> Secret:
        """The value."""
        return Secret(SecretValue(self._value.encode(), "of the test"))


@asynccontextmanager
async def asking_graph(
    entra: EntraProcess, secret: str = SECRET, **graph: object
) -> AsyncIterator[tuple[Authentication, str]]:
    """A server that looks groups up, and a token without them."""
    secrets = LiveSecrets({"graph": GivenSecret(secret)}, SecretRefreshSettings())
    await secrets.start()
    values = {"client_id": CLIENT, "client_secret": "graph", "endpoint": entra.host} | graph
    authentication = access(entra, secrets, graph=values)
    await asyncio.to_thread(entra.switch, "shape/overage")
    try:
        yield authentication, await asyncio.to_thread(entra.token)
    finally:
        await authentication.stop()
        await secrets.stop()


async def failure(entra: EntraProcess, **settings: object) -> str:
    """Why such a token is refused."""
    with pytest.raises((RejectedCredential, IssuerUnavailable)) as caught:
        await principal(entra, **settings)
    return caught.value.detail


@pytest.mark.identity_case("bearer", "Entra: what azure-identity and MSAL get, over TLS", "its principal")
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


@pytest.mark.identity_case("bearer", "Entra: `_claim_sources` that names a place of the attacker's", "never asked")
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


@pytest.mark.identity_case(
    "bearer", "Entra: groups left out where Graph is asked for them", "roles by groups; asked once"
)
async def test_left_out_groups_are_looked_up_once_and_remembered(entra: EntraProcess) -> None:
    async with asking_graph(entra) as (authentication, token):
        sent = Presented(bearer=token)
        found = await authentication.authenticate(sent)
        assert found.groups_known
        assert found.roles == {"caller"}
        assert authentication.cached(sent) is found
        others = [await asyncio.to_thread(entra.token) for _ in range(3)]
        again = await asyncio.gather(*(authentication.authenticate(Presented(bearer=one)) for one in others))
        assert [one.roles for one in again] == [{"caller"}] * 3
        asked = await asyncio.to_thread(entra.asked)
        assert (asked["graph"], asked["steal"]) == (1, 0)


@pytest.mark.identity_case(
    "bearer", "Entra: groups left out while Graph is down or refuses", "groups unknown, which denies"
)
@pytest.mark.parametrize("fault", ["graph/down", "graph/html", "graph/many", "graph/odd", "graph/empty"])
async def test_groups_stay_unknown_while_graph_fails(entra: EntraProcess, fault: str) -> None:
    async with asking_graph(entra) as (authentication, token):
        await asyncio.to_thread(entra.switch, fault)
        for _ in range(2):
            found = await authentication.authenticate(Presented(bearer=token))
            assert not found.groups_known
            assert (found.roles, found.denied_roles) == (frozenset(), {"caller"})
        assert (await asyncio.to_thread(entra.asked))["graph"] == 1, "a failure is remembered for a while"


async def test_a_wrong_secret_for_graph_leaves_groups_unknown_and_is_not_told(
    entra: EntraProcess, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "wrong-secret-of-the-rig-0123456789"
    async with asking_graph(entra, secret=wrong) as (authentication, token):
        found = await authentication.authenticate(Presented(bearer=token))
        assert not found.groups_known
    assert "status 401" in caplog.text or "status 400" in caplog.text
    assert wrong not in caplog.text
    assert token not in caplog.text


@pytest.mark.parametrize("there", [True, False])
async def test_a_slow_or_missing_graph_costs_the_first_request_its_time_and_nothing_more(
    entra: EntraProcess, there: bool
) -> None:
    await asyncio.to_thread(entra.switch, "graph/slow")
    endpoint = {} if there else {"endpoint": "https://localhost:9"}
    async with asking_graph(entra, timeout_s=0.5, **endpoint) as (authentication, token):
        assert not (await authentication.authenticate(Presented(bearer=token))).groups_known
        assert authentication.cached(Presented(bearer=token)) is not None
