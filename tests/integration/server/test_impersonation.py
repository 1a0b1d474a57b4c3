"""A model that acts with its callers' rights, in a running server, and what it could do wrong with them."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.rigs.server_process import ServerProcess

from torchgate.access.identity.api_key import new_api_key

pytestmark = [
    pytest.mark.windows("callers' rights exist there alone; tests/unit/engine has the same over a fake"),
    pytest.mark.torch_start,
]

if sys.platform == "win32":
    import winreg

    import win32api
    import win32con
    import win32security
    from tests.rigs.handle_tables import handles_of

    from torchgate.windows.access_list import own_sid

PAIRING = "0f8fad5b-d9cb-469f-a165-70867728950e"
ADMINISTRATORS = "S-1-5-32-544"
MODEL = Path(__file__).parents[2] / "rigs" / "impersonating"
SETTINGS = r"""
[gate]
front_door = "ancm"

[models]
allow_code = ["rights"]

[identity.windows]
enabled = true
paths = ["/v2"]
allow_own_account = true
impersonation = true

[[identity.api_keys]]
id = "program"
sha256 = "{digest}"

[roles]
person = ['sid:{sid}', 'key:program']

[[policy.grants]]
roles = ["person"]
actions = ["infer", "read"]
models = ["*"]
"""


class Site:
    """The server, and IIS before it.

    Args:
        server: as it runs.
        key: of a program that calls without Windows authentication.
    """

    def __init__(self, server: ServerProcess, key: str) -> None:
        self.server = server
        self.key = key
        self._process = win32api.OpenProcess(win32con.PROCESS_ALL_ACCESS, False, server.pid)

    def lend(self, *, denied: str = "", level: int | None = None) -> int:
        """A token of our account in the server, as IIS's module puts one there."""
        own = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32security.TOKEN_ALL_ACCESS)
        if denied:
            groups = [(win32security.ConvertStringSidToSid(denied), 0)]
            token = win32security.CreateRestrictedToken(own, 0, groups, [], [])
        else:
            kind = win32security.TokenPrimary if level is None else win32security.TokenImpersonation
            strength = win32security.SecurityImpersonation if level is None else level
            token = win32security.DuplicateTokenEx(own, strength, win32security.TOKEN_ALL_ACCESS, kind)
        here, same = win32api.GetCurrentProcess(), win32con.DUPLICATE_SAME_ACCESS
        return win32api.DuplicateHandle(here, token, self._process, 0, False, same).Detach()

    def ask(self, *words: str, denied: str = "", level: int | None = None) -> tuple[int, list[str] | str]:
        """Status, and what the model said, or the error's code."""
        return self.send(words, {"MS-ASPNETCORE-WINAUTHTOKEN": f"{self.lend(denied=denied, level=level):x}"})

    def send(self, words: tuple[str, ...], headers: dict[str, str]) -> tuple[int, list | str]:
        """One inference with these headers beside IIS's own."""
        body = {"inputs": [{"name": "word", "datatype": "BYTES", "shape": [len(words), 1], "data": list(words)}]}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=300)
        try:
            sent = {"MS-ASPNETCORE-TOKEN": PAIRING, **headers}
            connection.request("POST", "/v2/models/rights/infer", json.dumps(body), sent)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        finally:
            connection.close()
        return answer.status, told["outputs"][0]["data"] if answer.status == 200 else told["code"]

    def worker(self) -> int:
        """The process that answers now."""
        status, said = self.ask("counts")
        assert status == 200, said
        return int(said[0].split()[0])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    key_of_program = new_api_key("program")
    folder = tmp_path_factory.mktemp("impersonation") / "project with späces"
    key = f"Software\\torchgate-test-{folder.parent.name}"
    opened = winreg.CreateKey(winreg.HKEY_CURRENT_USER, key)
    closed = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor("D:P(A;;KA;;;BA)", 1)
    win32api.RegSetKeySecurity(int(opened), win32security.DACL_SECURITY_INFORMATION, closed)
    version = folder / "models" / "rights" / "1"
    version.mkdir(parents=True)
    text = (MODEL / "model.toml").read_text(encoding="utf-8")
    text = text.replace("[[inputs]]", f"[parameters]\nkey = '{key}'\n\n[[inputs]]", 1)
    (version.parent / "model.toml").write_text(text, encoding="utf-8")
    (version / "model.py").write_text((MODEL / "1" / "model.py").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "torchgate.toml").write_text(
        SETTINGS.format(sid=own_sid(), digest=key_of_program.sha256), encoding="utf-8"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"ASPNETCORE_TOKEN": PAIRING, "ASPNETCORE_APPL_PATH": "/", "ASPNETCORE_PORT": str(port)}
    try:
        with ServerProcess.start(folder, environment=environment) as server:
            server.wait_ready({"MS-ASPNETCORE-TOKEN": PAIRING})
            yield Site(server, key_of_program.key)
    finally:
        opened.Close()
        winreg.DeleteKey(winreg.HKEY_CURRENT_USER, key)


def test_the_model_opens_what_its_caller_may_and_nothing_more(site: Site):
    """Wine asks the access list of a key in the registry with the thread's token; of a file it does not."""
    assert site.ask("opens") == (200, ["opened"])
    assert site.ask("opens", denied=ADMINISTRATORS) == (200, ["refused"])
    assert site.ask("opens_as_server", denied=ADMINISTRATORS) == (200, ["opened"])


def test_the_model_is_its_caller_in_the_block_alone(site: Site):
    status, said = site.ask("names")
    assert status == 200
    assert said[0].startswith(f"{own_sid()} 2 ")
    assert site.ask("names_from_a_thread")[1] == ["nobody (1008)"]
    assert "acts as somebody already" in site.ask("nests")[1][0]
    assert own_sid() in site.ask("nests")[1][0]


@pytest.mark.identity_case("ancm, impersonation", "an API key, for a model that acts with its caller's rights", "403")
def test_who_has_no_windows_token_is_refused(site: Site):
    assert site.send(("opens",), {"X-API-Key": site.key}) == (403, "no_caller_token")


@pytest.mark.identity_case("ancm, impersonation", "a token that only names its user (identification)", "403")
def test_a_token_for_identification_alone_gives_no_rights(site: Site):
    assert site.ask("opens", level=win32security.SecurityIdentification) == (403, "no_caller_token")
    assert site.ask("opens", level=win32security.SecurityDelegation) == (200, ["opened"])


def test_a_block_that_raises_is_left(site: Site):
    worker = site.worker()
    assert site.ask("raises") == (500, "model_error")
    assert site.ask("opens_as_server", denied=ADMINISTRATORS) == (200, ["opened"])
    assert site.worker() == worker


@pytest.mark.identity_case(
    "impersonation", "a model that keeps the batch and uses it in the next caller's run", "no rights"
)
def test_a_batch_that_the_model_keeps_gives_nothing_later(site: Site):
    worker = site.worker()
    assert site.ask("keeps") == (200, ["kept"])
    status, said = site.ask("uses_kept", denied=ADMINISTRATORS)
    assert (status, said[0][:9]) == (200, "NoCaller:")
    assert site.worker() == worker


@pytest.mark.identity_case("impersonation", "a model whose thread stays its caller after the run", "the worker ends")
def test_a_worker_in_which_somebody_is_still_the_caller_ends(site: Site):
    worker = site.worker()
    assert site.ask("takes") == (500, "worker_died")
    assert "so that nothing more runs with a caller's rights" in site.server.output()
    assert site.worker() != worker
    assert site.ask("opens", denied=ADMINISTRATORS) == (200, ["refused"])


def test_a_crash_in_the_block_costs_only_its_own_caller(site: Site):
    assert site.ask("dies", denied=ADMINISTRATORS) == (500, "worker_died")
    assert site.ask("opens") == (200, ["opened"])


def test_callers_with_different_rights_share_no_batch(site: Site):
    """A flood of two: were they ever together, one would open what the other may."""

    def ask(turn: int) -> tuple[bool, tuple[int, list[str] | str]]:
        is_denied = bool(turn % 2)
        return is_denied, site.ask("opens", denied=ADMINISTRATORS if is_denied else "")

    with ThreadPoolExecutor(16) as flood:
        answers = list(flood.map(ask, range(96)))
    assert {said for is_denied, said in map(_plain, answers) if is_denied} == {(200, "refused")}
    assert {said for is_denied, said in map(_plain, answers) if not is_denied} == {(200, "opened")}


def _plain(answer: tuple[bool, tuple[int, list[str] | str]]) -> tuple[bool, tuple[int, str]]:
    is_denied, (status, said) = answer
    return is_denied, (status, said if isinstance(said, str) else said[0])


def test_no_handle_stays_in_gate_or_worker(site: Site):
    worker = site.worker()
    for _ in range(5):
        site.ask("opens")
    before = handles_of(site.server.pid), handles_of(worker)
    for turn in range(60):
        site.ask("opens" if turn % 3 else "raises", denied=ADMINISTRATORS if turn % 2 else "")
    after = handles_of(site.server.pid), handles_of(worker)
    assert site.worker() == worker
    assert after[0] - before[0] < 10
    assert after[1] - before[1] < 10
