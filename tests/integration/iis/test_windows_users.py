"""Windows users behind each module: real tokens, duplicated into the gate that the stand-in has started in its job."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rigs.behind_iis import JSON, Behind
from tests.rigs.iis_module.iis import Iis
from tests.rigs.iis_project import gate_of, render
from tests.rigs.sleeping_model import INFER, question

pytestmark = [
    pytest.mark.windows("tokens exist there alone"),
    pytest.mark.torch_start,
    pytest.mark.timeout(900),
]

if sys.platform == "win32":
    import win32api
    import win32security
    from tests.rigs.handle_tables import handles_of

    from torchgate.windows.access_list import own_sid
    from torchgate.windows.accounts import WindowsAccountLookup

ADMINISTRATORS = "S-1-5-32-544"
SETTINGS = r"""
[identity.windows]
enabled = true
paths = ["/v2", "/metrics"]
prefix = "/win"
allow_own_account = true
"""


def own_token(*, denied: str = "") -> object:
    """A token of our account; with a group that is for denials alone."""
    own = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32security.TOKEN_ALL_ACCESS)
    if denied:
        return win32security.CreateRestrictedToken(own, 0, [(win32security.ConvertStringSidToSid(denied), 0)], [], [])
    kind = win32security.TokenPrimary
    return win32security.DuplicateTokenEx(
        own, win32security.SecurityImpersonation, win32security.TOKEN_ALL_ACCESS, kind
    )


TOKENS = {"ADMIN": own_token, "PERSON": lambda: own_token(denied=ADMINISTRATORS)}


@pytest.fixture(scope="module", params=["ancm", "httpplatform"])
def behind(request: pytest.FixtureRequest, pool: Path) -> Iterator[Behind]:
    """A gate whose model paths are for Windows users alone, and the rest for API keys."""
    door = request.param
    project = gate_of(pool.parent / f"windows {door}", pool, door, extra=SETTINGS)
    settings = project.folder / "torchgate.toml"
    account = WindowsAccountLookup().by_sid(own_sid()).name
    text = settings.read_text(encoding="utf-8")
    members = f"asker = ['user:{account}', 'key:ann']\nadmin = ['group:BUILTIN\\Administrators']"
    text = text.replace('asker = ["key:ann"]', members)
    text += '\n[[policy.grants]]\nroles = ["admin"]\nactions = ["metrics"]\n'
    settings.write_text(text, encoding="utf-8")
    folder = render(project.folder, "--gate")
    with Iis.started(folder, TOKENS, door=door, shutdown_delay_s=0.05) as iis:
        yield Behind(door, project, iis)


def infer(behind: Behind, user: str, *headers: tuple[str, str]) -> int:
    """The status of a run."""
    return behind.ask("POST", INFER, {**JSON, **dict(headers)}, question(), user=user).status


@pytest.mark.identity_case("ancm", "a request through IIS's module, with the token that it duplicated", "200")
def test_a_user_of_the_domain_is_known_by_its_sid(behind: Behind) -> None:
    assert infer(behind, "PERSON") == 200, behind.iis.output()
    assert own_sid() in str(behind.requests()[-1]["actor"]["user"])


@pytest.mark.parametrize("path", ["/win/whoami", "/WIN/whoami", "/x/%2e%2e/win/whoami"])
def test_below_the_prefix_everybody_is_asked_for_windows(behind: Behind, path: str) -> None:
    found = behind.ask("GET", path, {behind.iis.application.variant.token_header: "4"}, user="PERSON")
    assert (found.status, json.loads(found.body)["key"]) == (200, own_sid())
    assert behind.ask("GET", path).body == b"IIS 401.2", "a key is not even looked at"


def test_groups_count_as_the_token_has_them(behind: Behind) -> None:
    assert [behind.ask("GET", "/metrics", user=user).status for user in ("ADMIN", "PERSON")] == [200, 403]


def test_iis_asks_who_it_is_before_anything_reaches_us(behind: Behind) -> None:
    before = len(behind.requests())
    answer = behind.ask("GET", "/v2")
    assert (answer.status, answer.headers.get_all("WWW-Authenticate")) == (401, ["Negotiate", "NTLM"])
    assert len(behind.requests()) == before


@pytest.mark.identity_case("httpplatform", "a client's own token header, on Windows and other paths", "not looked at")
def test_a_client_names_no_token_of_its_own(behind: Behind) -> None:
    """On a Windows path the module's own takes its place; elsewhere web.config's rule has emptied it."""
    for header in ("X-IIS-WindowsAuthToken", "MS-ASPNETCORE-WINAUTHTOKEN"):
        assert infer(behind, "PERSON", (header, "4")) == 200
        answer = behind.ask("GET", "/whoami", {header: "4"})
        assert (answer.status, json.loads(answer.body)["key"]) == (200, "key:ann")
        assert behind.iis.ask("GET", "/whoami", {header: "4"}).status == 401


def test_every_handle_is_closed(behind: Behind) -> None:
    infer(behind, "PERSON")
    before = handles_of(behind.pid)
    assert {behind.ask("GET", "/metrics", user=("ADMIN", "PERSON")[turn % 2]).status for turn in range(60)} == {
        200,
        403,
    }
    assert abs(handles_of(behind.pid) - before) < 20


def test_the_gate_runs_in_the_modules_job_without_standard_input(behind: Behind) -> None:
    assert behind.iis.worker.process is not None
    members = behind.iis.worker.process.members()
    assert behind.pid in members
    assert len(members) <= 2, "a gate starts nothing; its console has a conhost.exe"
    assert "serves on" in behind.iis.worker.output()
