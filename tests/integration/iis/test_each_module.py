"""Gates that a stand-in for IIS's modules starts from the web.config that `iis render` wrote, before one warm pool."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.rigs.behind_iis import JSON, Behind
from tests.rigs.certificates import LocalAuthority, now
from tests.rigs.iis_module.iis import Answer, Iis
from tests.rigs.iis_project import gate_of, render
from tests.rigs.processes import has_ended, kill
from tests.rigs.sleeping_model import HELD_MS, INFER, process_of, question

from torchgate.telemetry.audit_verify import verify

DOORS = ["ancm", "httpplatform", "httpplatform-1.2"]
CALLERS = 4
PLANT = LocalAuthority("Plant Test Root", now())
PRESS, STRANGER = PLANT.issue(), LocalAuthority("Other Test Root", now()).issue()
BY_CERTIFICATE = """
[identity]
certificate_paths = ["/v2/quotas"]

[[identity.certificates]]
name = "plant"
ca_file = "ca.pem"
"""

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=DOORS)
def behind(request: pytest.FixtureRequest, pool: Path) -> Iterator[Behind]:
    """A warm gate, mounted as an application below its site."""
    door = request.param
    project = gate_of(pool.parent / f"gate of {door}", pool, door, extra=BY_CERTIFICATE if door == "ancm" else "")
    (project.folder / "ca.pem").write_bytes(PLANT.pem)
    folder = render(project.folder, "--gate", application="/Models")
    with Iis.started(folder, door=door) as iis:
        yield Behind(door, project, iis)


def past_iis(behind: Behind, path: str, *headers: tuple[str, str]) -> int:
    """The status of a GET straight at the port of IIS's process, with ann's key."""
    connection = http.client.HTTPConnection("127.0.0.1", behind.iis.worker.port, timeout=240)
    try:
        connection.putrequest("GET", f"/Models{path}")
        for name, value in [("X-API-Key", behind.project.keys["ann"]), *headers]:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_caller_is_answered_and_known_by_its_own_address(behind: Behind) -> None:
    answer = behind.infer(headers={"Rig-Client-Address": "203.0.113.9", "X-Forwarded-For": "127.0.0.1"})
    assert answer.status == 200, behind.iis.output()
    assert answer.headers["X-Request-ID"]
    event = behind.requests()[-1]
    assert event["actor"]["user"]["uid"] == "key:ann"
    assert event["src_endpoint"]["ip"] == ("203.0.113.9" if behind.is_paired else "127.0.0.1")


@pytest.mark.parametrize(
    "header",
    [
        ("MS-ASPNETCORE-TOKEN", "00000000-0000-0000-0000-000000000000"),
        ("MS-ASPNETCORE-WINAUTHTOKEN", "4"),
        ("MS-ASPNETCORE-EVENT", "shutdown"),
        ("X-IIS-WindowsAuthToken", "4"),
        ("X-Forwarded-For", "203.0.113.1"),
        ("X-Forwarded-Proto", "https"),
    ],
)
def test_what_only_the_module_may_say_is_not_taken_from_a_client(behind: Behind, header: tuple[str, str]) -> None:
    answer = behind.ask("GET", "/whoami", dict([header]))
    assert answer.status == 200, answer
    assert json.loads(answer.body)["key"] == "key:ann"


@pytest.mark.parametrize("path", ["/iisintegration", "/IISINTEGRATION"])
def test_no_client_can_ask_the_process_to_end(behind: Behind, path: str) -> None:
    answer = behind.ask("POST", path, {"MS-ASPNETCORE-EVENT": "shutdown", "Content-Length": "0"})
    assert answer.status == 404
    assert behind.ask("GET", "/v2/health/live").status == 200


def test_who_goes_past_iis_finds_nothing_where_the_module_proves_itself(behind: Behind) -> None:
    token = behind.iis.worker.pairing
    stale = ("MS-ASPNETCORE-TOKEN", token[::-1])
    right = ("MS-ASPNETCORE-TOKEN", token)
    found = [past_iis(behind, "/whoami", *sent) for sent in ((), (stale,), (right, right), (right,))]
    assert found == ([400, 400, 400, 200] if behind.is_paired else [200] * 4)


def test_the_warm_up_path_is_for_this_machine_alone(behind: Behind) -> None:
    """IIS's own address list, and behind a module that proves itself ours, too."""
    assert behind.ask("GET", "/warm-up").status == 200
    assert behind.ask("GET", "/warm-up", {"Rig-Client-Address": "203.0.113.9"}).body == b"IIS 403.503"
    if behind.is_paired:
        hops = [("MS-ASPNETCORE-TOKEN", behind.iis.worker.pairing), ("X-Forwarded-For", "127.0.0.1, 203.0.113.9:1")]
        assert past_iis(behind, "/warm-up", *hops) == 404


@pytest.mark.identity_case("ancm", "a client's certificate that IIS has asked for and hands on", "200; examined here")
@pytest.mark.parametrize("behind", ["ancm"], indirect=True)
def test_a_clients_certificate_is_asked_for_where_it_counts_and_examined_here(behind: Behind) -> None:
    def status(path: str, **headers: str) -> int:
        return behind.iis.ask("GET", path, {name.replace("_", "-"): value for name, value in headers.items()}).status

    own, others = (base64.b64encode(issued.der).decode("ascii") for issued in (PRESS, STRANGER))
    assert status("/v2/quotas", Rig_Tls="1", Rig_Client_Certificate=own) == 200, behind.iis.output()
    assert behind.requests()[-1]["actor"]["user"]["uid"] == f"cert:{PRESS.thumbprint}"
    assert status("/v2/quotas", Rig_Tls="1", Rig_Client_Certificate=others) == 401
    assert status("/v2/quotas", Rig_Tls="1", MS_ASPNETCORE_CLIENTCERT=own) == 401, "a client can't say it itself"
    assert status("/v2/quotas") == 403, "there IIS takes no plain http"
    assert status("/whoami", Rig_Tls="1", Rig_Client_Certificate=own) == 401, "elsewhere nobody asks for one"


def test_paths_bodies_and_methods_come_through_as_they_are_meant(behind: Behind) -> None:
    model = "/v2/models/sleeping"
    assert [behind.ask("HEAD", path).status for path in ("/v2", "/nowhere")] == [200, 404]
    assert behind.ask("GET", "/V2/models/../models/sleeping").status == behind.ask("GET", "/V2/models/sleeping").status
    assert behind.ask("GET", "/v2/x/..%2fmodels/sleeping").status == behind.ask("GET", model).status == 200
    assert behind.iis.ask("GET", "/../outside").body == b"IIS 404.0"
    assert behind.ask("POST", INFER, {**JSON, "Transfer-Encoding": "chunked"}, chunked(question())).status == 200
    too_much = behind.ask("POST", INFER, {**JSON, "Content-Length": str((64 << 20) + 1)})
    assert too_much.body == b"IIS 413.1"
    refused = behind.ask("POST", INFER, JSON, b"{")
    assert (refused.status, json.loads(refused.body)["code"]) == (400, "invalid_request")


def chunked(body: bytes) -> bytes:
    """As it is on the wire, in two parts."""
    parts = (body[:10], body[10:])
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_recycle_under_load_fails_nobody_and_loads_no_model_again(behind: Behind, pool: Path) -> None:
    """Behind HttpPlatformHandler 1.2 nothing asks a process to end: what runs in it then is lost, and nothing else.

    Whatever was answered is in the trail, of the killed gate, too.
    """
    model, is_over = behind.model(), threading.Event()

    def ask_on() -> list[Answer]:
        answers = []
        while not is_over.is_set():
            answers.append(behind.infer(20))
        return answers

    with ThreadPoolExecutor(CALLERS) as threads:
        asking = [threads.submit(ask_on) for _ in range(CALLERS)]
        try:
            with behind.under_way(pool) as slow:
                old = behind.iis.recycle()
        finally:
            is_over.set()
        answers = [slow.result(), *(answer for one in asking for answer in one.result())]
    lost = [answer for answer in answers if answer.status != 200]
    assert len(lost) <= (0 if behind.is_paired else CALLERS + 1), (lost, behind.iis.output())
    assert {answer.status for answer in lost} <= {502}
    assert {process_of(answer.body) for answer in answers if answer.status == 200} == {model}
    assert old.process is not None
    assert has_ended(old.process.pid)
    in_the_trail = [event["api"]["request"]["uid"] for event in behind.requests()]
    assert all(in_the_trail.count(one.headers["X-Request-ID"]) == 1 for one in answers if one.status == 200)
    report = verify(behind.project.folder / ".torchgate" / "audit")
    assert report.is_whole, report.problems
    assert (0, "preload: 200") in behind.iis.worker.log
    assert ((1006, "answered 202") in old.log) is behind.is_paired


@pytest.mark.parametrize("behind", ["ancm"], indirect=True)
def test_a_w3wp_that_dies_takes_its_gate_and_no_model_with_it(behind: Behind, pool: Path) -> None:
    model = behind.model()
    assert behind.iis.worker.process is not None
    members = behind.iis.worker.process.members()
    with behind.under_way(pool, milliseconds=HELD_MS) as slow:
        behind.iis.crash()
        assert slow.result().status == 502
    assert all(has_ended(pid) for pid in members)
    assert behind.model() == model


@pytest.mark.parametrize("behind", ["httpplatform"], indirect=True)
def test_a_gate_that_is_killed_is_started_again_by_the_next_request(behind: Behind, pool: Path) -> None:
    model, gate, process = behind.model(), behind.pid, behind.iis.worker.process
    assert process is not None
    with behind.under_way(pool, milliseconds=HELD_MS) as slow:
        kill(gate)
        assert slow.result().status == 502
    # As the module sees it: its threads may outlive its first one for a moment.
    assert process.wait(120)
    assert behind.model() == model
    assert behind.pid != gate
    assert [code for code, _ in behind.iis.worker.log if code == 1030] == [1030]


@pytest.mark.parametrize("behind", ["httpplatform-1.2"], indirect=True)
def test_version_1_2_of_http_platform_handler_does_not_look_for_app_offline(behind: Behind) -> None:
    gate = behind.pid
    with behind.offline(b"Back at eight."):
        assert {behind.infer(100).status for _ in range(5)} == {200}
    assert behind.pid == gate
