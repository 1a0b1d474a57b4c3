"""Real nginx and Apache before the gate, with the very configurations of the how-to pages, and what gets past them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.rigs.certificates import Issued, LocalAuthority, now
from tests.rigs.front_ends import apache, documented, free_port, nginx, with_places
from tests.rigs.gate_rig import ALICE, DOUBLE, ONE_ROW, GateRig, gate_rig, served

from torchgate.config import read_configuration
from torchgate.gate.certificate_paths import CertificatePaths
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.door_parts import DoorNeighbours, front_door_parts
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.settings import GateSettings
from torchgate.gate.tls import tls_context
from torchgate.gate.tls_key import key_from_file
from torchgate.secret_places import private_files

pytestmark = pytest.mark.linux("nginx and Apache as Debian has them, and unix sockets")

WAIT_S = 120.0
AT = now()
ROOT = LocalAuthority("Front End Test Root", AT)
SERVER = ROOT.server("localhost", "127.0.0.1")
PRESS = ROOT.issue()
SECRET = b"correct-horse-battery"
BASIC = {"Authorization": "Basic " + base64.b64encode(b"alice:open sesame").decode("ascii")}
HOST = "models.example.com"


@dataclass
class Front:
    """A front end that listens, and the gate behind it."""

    port: int
    rig: GateRig
    client: ssl.SSLContext | None = None

    async def ask(
        self,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        path: str = "/whoami",
        method: str = "GET",
        body: bytes = b"",
        certificate: Issued | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of one request through it; a header may come twice."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        return await asyncio.to_thread(self._ask, pairs, path, method, body, certificate)

    def _ask(
        self, pairs: list[tuple[str, str]], path: str, method: str, body: bytes, certificate: Issued | None
    ) -> tuple[int, bytes]:
        if self.client is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        else:
            context = self.client
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=WAIT_S, context=context)
        try:
            connection.putrequest(method, path, skip_host=True)
            for name, value in [("Host", f"{HOST}:{self.port}"), ("Content-Length", str(len(body))), *pairs]:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Machine:
    """A folder in place of a machine: keys, users, a socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(ROOT.pem)
        self.certificate, self.key = SERVER.write(folder, "server")
        self.socket = folder / "gate.sock"
        self.users = folder / "users"
        digest = base64.b64encode(hashlib.sha1(b"open sesame").digest()).decode("ascii")
        self.users.write_text(f"alice:{{SHA}}{digest}\n", encoding="ascii")
        self.secret = folder / "secret.conf"
        self.secret.write_text(f'proxy_set_header X-Torchgate-Proxy "{SECRET.decode()}";\n', encoding="ascii")

    def client(self, certificate: Issued | None = None) -> ssl.SSLContext:
        """Trusts the front end, and shows a certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        if certificate is not None:
            context.load_cert_chain(*certificate.write(self.folder, "client"))
        return context

    def rig(self, page: str, title: str, places: Mapping[str, object]) -> GateRig:
        """A gate with the settings of a page."""
        file = self.folder / "torchgate.toml"
        file.write_text(with_places(documented(page, title), places), encoding="utf-8")
        configuration = read_configuration(file)
        assert configuration.settings is not None, configuration.findings
        settings = configuration.settings.gate
        rig = gate_rig(settings)
        neighbours = DoorNeighbours(
            certificate_paths=CertificatePaths(["/v2/models/plant"]), accepts_secret=SECRET.__eq__
        )
        rig.door = FrontDoor(FRONT_DOORS["proxy"], settings.hosts, parts=front_door_parts(settings, {}, neighbours))
        rig.keys.principals["alice"] = ALICE
        if settings.tls is not None:
            rig.tls = self.tls(settings)
        return rig

    def tls(self, settings: GateSettings) -> ssl.SSLContext:
        """The gate's own."""
        assert settings.tls is not None
        return tls_context(settings.tls, key_from_file(self.key, None, private_files()), (self.ca,))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@asynccontextmanager
async def behind_nginx(machine: Machine) -> AsyncIterator[Front]:
    """The unix socket of run-behind-nginx.md."""
    port, page = free_port(), "run-behind-nginx.md"
    servers = with_places(
        documented(page, "torchgate.conf"),
        {
            "/run/torchgate/gate.sock": machine.socket,
            "listen 443": f"listen 127.0.0.1:{port}",
            "/etc/nginx/tls/models.pem": machine.certificate,
            "/etc/nginx/tls/models.key": machine.key,
            "/etc/nginx/tls/clients.pem": machine.ca,
            "/etc/nginx/torchgate.users": machine.users,
        },
    )
    rig = machine.rig(page, "torchgate.toml", {"/run/torchgate/gate.sock": machine.socket})
    with ExitStack() as running:
        async with served(rig):
            running.enter_context(nginx(machine.folder / "nginx", port, servers))
            yield Front(port, rig, machine.client())
            running.close()


@asynccontextmanager
async def behind_apache(machine: Machine) -> AsyncIterator[Front]:
    """The unix socket of run-behind-apache.md."""
    port, page = free_port(), "run-behind-apache.md"
    host = with_places(
        documented(page, "torchgate.conf"),
        {
            "/run/torchgate/gate.sock": machine.socket,
            "*:443": f"127.0.0.1:{port}",
            "/etc/apache2/tls/models.pem": machine.certificate,
            "/etc/apache2/tls/models.key": machine.key,
            "/etc/apache2/tls/clients.pem": machine.ca,
            "/etc/apache2/torchgate.users": machine.users,
        },
    )
    rig = machine.rig(page, "torchgate.toml", {"/run/torchgate/gate.sock": machine.socket})
    # Apache's children are www-data, and the socket's folder is the test's own: its group stands in for the page's.
    machine.folder.chmod(0o711)
    with ExitStack() as running:
        async with served(rig):
            machine.socket.chmod(0o666)
            running.enter_context(apache(machine.folder / "apache", port, host))
            yield Front(port, rig, machine.client())
            running.close()


FRONTS = pytest.mark.parametrize("behind", [behind_nginx, behind_apache], ids=["nginx", "apache"])


@FRONTS
async def test_a_person_whom_the_proxy_knows_infers(machine: Machine, behind) -> None:
    """What the proxy has examined, Authorization: Basic, is no second credential."""
    async with behind(machine) as front:
        status, body = await front.ask(BASIC, DOUBLE, "POST", ONE_ROW)
        assert (status, b"3.0" in body) == (200, True)
        event = front.rig.audit.events[-1]
        assert event.principal == ALICE
        assert (event.peer, event.front_door) == ("127.0.0.1", "proxy")


@FRONTS
async def test_who_is_not_known_does_not_get_past_the_proxy(machine: Machine, behind) -> None:
    async with behind(machine) as front:
        assert (await front.ask())[0] == 401
        assert (await front.ask({"X-Remote-User": "alice"}))[0] == 401
        assert front.rig.seen == []


@pytest.mark.identity_case("proxy", "a user, certificate and address of the client's own, past a real proxy", "ignored")
@FRONTS
async def test_the_proxy_overwrites_what_clients_send(machine: Machine, behind) -> None:
    """The attacker is a known person, and would rather be another one, from elsewhere."""
    forged = {
        "X-Remote-User": "bob",
        "X-Forwarded-For": "203.0.113.9",
        "X-Client-Cert": base64.b64encode(PRESS.der).decode("ascii"),
        "X-Client-Verify": "SUCCESS",
    }
    async with behind(machine) as front:
        assert (await front.ask({**BASIC, **forged}))[0] == 200
        event = front.rig.audit.events[-1]
        assert (event.principal, event.peer) == (ALICE, "127.0.0.1")


@pytest.mark.identity_case("proxy", "X_Remote_User beside X-Remote-User, past a real Apache", "400")
async def test_the_twin_that_apache_lets_through_is_refused(machine: Machine) -> None:
    """The attacker spells the header with underscores, which Apache hands on beside its own."""
    async with behind_apache(machine) as front:
        for twin in ("X_Remote_User", "x_remote-user", "X_Forwarded_For", "X_Client_Cert"):
            status, body = await front.ask({**BASIC, twin: "bob"})
            assert (status, b"underscores" in body) == (400, True)


async def test_nginx_lets_no_twin_through(machine: Machine) -> None:
    async with behind_nginx(machine) as front:
        assert (await front.ask({**BASIC, "X_Remote_User": "bob"}))[0] == 200
        assert front.rig.audit.events[-1].principal == ALICE


@pytest.mark.identity_case("proxy", "a known person with a bearer token or API key besides", "400")
@FRONTS
async def test_a_second_credential_is_refused(machine: Machine, behind) -> None:
    async with behind(machine) as front:
        assert (await front.ask({**BASIC, "X-API-Key": "alice-key"}))[0] == 400


@pytest.mark.identity_case("proxy", "a foreign page's request, any method, past a real proxy", "403")
@FRONTS
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_a_foreign_page_can_not_use_what_the_browser_adds(machine: Machine, behind, method: str) -> None:
    async with behind(machine) as front:
        own = f"https://{HOST}:{front.port}"
        assert (await front.ask({**BASIC, "Origin": "https://evil.example"}, method=method))[0] == 403
        assert (await front.ask({**BASIC, "Sec-Fetch-Site": "cross-site"}, method=method))[0] == 403
        assert (await front.ask({**BASIC, "Origin": own, "Sec-Fetch-Site": "same-origin"}))[0] == 200


@FRONTS
async def test_a_host_that_is_not_ours_is_refused(machine: Machine, behind) -> None:
    async with behind(machine) as front:
        pairs = [*BASIC.items()]
        connection = http.client.HTTPSConnection("localhost", front.port, timeout=WAIT_S, context=front.client)

        def ask() -> int:
            try:
                connection.request("GET", "/whoami", headers={**dict(pairs), "Host": "evil.example"})
                return connection.getresponse().status
            finally:
                connection.close()

        assert await asyncio.to_thread(ask) == 400


@pytest.mark.identity_case("proxy", "a client certificate that a real proxy verified, and a known person", "400")
@FRONTS
async def test_the_certificate_that_the_proxy_was_shown_arrives_in_its_own_format(machine: Machine, behind) -> None:
    """A person and a certificate are two credentials, where certificates count; elsewhere the certificate is none."""
    async with behind(machine) as front:
        front.client = machine.client(PRESS)
        assert (await front.ask(BASIC, "/v2/models/plant"))[0] == 400
        assert (await front.ask(BASIC))[0] == 200


@asynccontextmanager
async def by_secret(machine: Machine, secret_line: str | None = None) -> AsyncIterator[Front]:
    """The secret of run-behind-nginx.md."""
    port, gate_port, page = free_port(), free_port(), "run-behind-nginx.md"
    if secret_line is not None:
        machine.secret.write_text(secret_line, encoding="ascii")
    servers = with_places(
        documented(page, "by-secret.conf"),
        {
            "listen 80": f"listen 127.0.0.1:{port}",
            "127.0.0.1:8080": f"127.0.0.1:{gate_port}",
            "/etc/nginx/torchgate.secret": machine.secret,
            "/etc/nginx/torchgate.users": machine.users,
        },
    )
    rig = machine.rig(page, "by-secret.toml", {"127.0.0.1:8080": f"127.0.0.1:{gate_port}"})
    async with served(rig):
        with nginx(machine.folder / "nginx", port, servers):
            yield Front(port, rig)


async def test_nginx_proves_itself_by_a_secret(machine: Machine) -> None:
    async with by_secret(machine) as front:
        assert (await front.ask(BASIC))[0] == 200
        assert front.rig.audit.events[-1].principal == ALICE
        assert (await front.ask({**BASIC, "X-Torchgate-Proxy": "guess"}))[0] == 200


async def test_past_nginx_nobody_is_believed(machine: Machine) -> None:
    """The attacker has an account on the same machine, so a listed address, and calls the gate's port itself."""
    async with by_secret(machine) as front:
        past = Front(front.rig.port, front.rig)
        for headers in ({}, {"X-Torchgate-Proxy": "guess"}, {"X-Torchgate-Proxy": ""}):
            assert await past.ask({"X-Remote-User": "alice", "X-Forwarded-For": "1.2.3.4", **headers}) == (400, b"")
        assert {event.peer for event in front.rig.audit.events} == {"127.0.0.1"}


@pytest.mark.parametrize("line", ["", 'proxy_set_header X-Torchgate-Proxy "old";\n'])
async def test_an_nginx_without_the_right_secret_is_nobody(machine: Machine, line: str) -> None:
    """Then what the client sent in that header comes through, and is no secret either."""
    async with by_secret(machine, line) as front:
        assert await front.ask({**BASIC, "X-Torchgate-Proxy": "guess"}) == (400, b"")


@asynccontextmanager
async def by_certificate(machine: Machine, shown: Issued, expected: Issued) -> AsyncIterator[Front]:
    """The certificate of run-behind-nginx.md."""
    port, gate_port, page = free_port(), free_port(), "run-behind-nginx.md"
    certificate, key = shown.write(machine.folder, "nginx")
    servers = with_places(
        documented(page, "by-certificate.conf"),
        {
            "listen 80": f"listen 127.0.0.1:{port}",
            "127.0.0.1:8443": f"127.0.0.1:{gate_port}",
            "/etc/nginx/tls/nginx.pem": certificate,
            "/etc/nginx/tls/nginx.key": key,
            "/etc/nginx/tls/ca.pem": machine.ca,
            "/etc/nginx/torchgate.users": machine.users,
        },
    )
    places = {
        "127.0.0.1:8443": f"127.0.0.1:{gate_port}",
        "tls/gate.pem": machine.certificate,
        "tls/gate.key": machine.key,
        "tls/ca.pem": machine.ca,
        "0" * 64: expected.thumbprint,
    }
    rig = machine.rig(page, "by-certificate.toml", places)
    async with served(rig):
        with nginx(machine.folder / "nginx", port, servers):
            yield Front(port, rig)


async def test_nginx_proves_itself_by_its_certificate_which_is_no_callers(machine: Machine) -> None:
    async with by_certificate(machine, PRESS, PRESS) as front:
        assert (await front.ask(BASIC))[0] == 200
        assert front.rig.audit.events[-1].principal == ALICE
        assert (await front.ask(BASIC, "/v2/models/plant"))[0] != 400


@pytest.mark.identity_case("proxy", "another certificate of the proxy's authority", "400, empty body")
async def test_another_certificate_of_the_same_authority_is_not_the_proxy(machine: Machine) -> None:
    """The attacker has a certificate of its own, for another purpose, from the same authority."""
    async with by_certificate(machine, ROOT.issue(), PRESS) as front:
        assert await front.ask(BASIC) == (400, b"")
