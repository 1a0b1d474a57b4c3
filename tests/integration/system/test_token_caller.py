"""The first sentence of the product: a caller with an issuer's token is answered, one without the right is refused.

The issuer is a real OpenID provider, the server a real process with a real worker; both callers leave an audit event
that names them and the rule that decided.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest
from tests.integration.system.test_mix_up import audit_verifies
from tests.rigs.http_connection import HttpConnection
from tests.rigs.oidc_provider.provider_process import RESOURCE, ProviderProcess
from tests.rigs.server_process import ServerProcess

from torchgate.project import create_project

BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"data":[1.5,-3]}]}'


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderProcess]:
    """An issuer whose tokens carry the role Analyst and the scope models.predict."""
    try:
        made = ProviderProcess()
    except OSError as error:
        if sys.platform == "win32" and "WINEPREFIX" in os.environ:
            pytest.skip(f"Wine: no Node there, and TORCHGATE_TEST_ISSUER is not set ({error})")
        raise
    made.switch("reset")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The project of `init`, whose development identities have made way for the issuer."""
    folder = tmp_path_factory.mktemp("token") / "project"
    create_project(folder)
    settings = f"""
[models]
allow_code = ["doubler"]

[[identity.oidc]]
name = "corp"
issuer = "{provider.issuer}"
audience = ["{RESOURCE}/rs256"]
allow_insecure_loopback = true

[roles]
analyst = ["corp:role:Analyst"]
auditor = ["corp:role:Auditor"]

[[policy.grants]]
roles = ["analyst"]
models = ["doubler"]
actions = ["infer"]

[[policy.denials]]
roles = ["analyst"]
models = ["doubler"]
actions = ["read"]
"""
    (folder / "torchgate.toml").write_text(settings, encoding="utf-8")
    with ServerProcess.start(folder) as server:
        server.wait_ready()
        yield server


@pytest.mark.torch_start
async def test_a_token_is_answered_refused_and_audited(provider: ProviderProcess, server: ServerProcess) -> None:
    """200 where the grant allows, 403 where the denial wins, 401 for tokens that are not for us; each in the trail."""
    token = provider.access_token()
    connection = HttpConnection(server.port)
    answers = {}
    for name, method, path, bearer in (
        ("allowed", "POST", "/v2/models/doubler/infer", token),
        ("denied", "GET", "/v2/models/doubler", token),
        ("another audience", "POST", "/v2/models/doubler/infer", provider.access_token("ES256")),
        ("an ID token", "POST", "/v2/models/doubler/infer", provider.id_token()),
    ):
        answers[name] = await connection.request(method, path, {"Authorization": f"Bearer {bearer}"}, BODY)
    await connection.close()
    assert {name: answer.status for name, answer in answers.items()} == {
        "allowed": 200,
        "denied": 403,
        "another audience": 401,
        "an ID token": 401,
    }
    assert answers["allowed"].json()["outputs"][0]["data"] == [3.0, -6.0]
    events = {event["api"]["request"]["uid"]: event for event in server.audit_events() if event["class_uid"] == 6003}
    allowed, denied, other, identity = (events[answer.headers["x-request-id"]] for answer in answers.values())
    assert allowed["actor"]["user"]["uid"] == denied["actor"]["user"]["uid"] == f"corp|{provider.issuer}|service"
    assert "policy.grants[0]" in json.dumps(allowed["authorizations"])
    assert "policy.denials[0]" in json.dumps(denied["authorizations"])
    assert {other["status"], identity["status"], denied["status"]} == {"Failure"}
    assert token not in json.dumps(list(events.values()))
    assert token not in server.output()
    assert audit_verifies(server.folder)
