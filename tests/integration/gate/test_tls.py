"""Our own TLS with real handshakes: client certificates, what is refused, and files that change."""

from __future__ import annotations

import asyncio
import base64
import http.client
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.rigs.certificates import DAY, Issued, LocalAuthority, Wish, name_of, now
from tests.rigs.event_loops import on_each_loop
from tests.rigs.gate_rig import DOUBLE, ONE_ROW, GateRig, gate_rig, served

from torchgate.access.api_key_settings import ApiKeySettings
from torchgate.access.build import build_access
from torchgate.access.certificate_settings import CertificateSettings
from torchgate.access.identity.api_key import new_api_key
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.contract.decision import Action
from torchgate.gate.asgi import GateApp
from torchgate.gate.http_server import HttpServer
from torchgate.gate.settings import GateSettings
from torchgate.gate.tls import replaceable, tls_context
from torchgate.gate.tls_key import TlsUnusable, key_from_file, key_from_secret
from torchgate.gate.tls_settings import TlsSettings
from torchgate.secret_places import private_files

WAIT_S = 120.0
AT = now()
ROOT = LocalAuthority("Test Root", AT)
STRANGER = LocalAuthority("Test Root", AT)
SERVER = ROOT.server("localhost", "127.0.0.1")
PRESS = ROOT.issue()
KEY = new_api_key("ops")
Returned = TypeVar("Returned")


class Place:
    """Files of a server and of clients, and a gate with our own TLS over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(ROOT.pem)
        self.password: bytes | None = None
        self.certificate, self.key = SERVER.write(folder, "server")

    def settings(self, **tls: Any) -> TlsSettings:
        return TlsSettings(certificate_file=self.certificate, key_file=self.key, **tls)

    def rig(self, paths: tuple[str, ...] = ("/",), **tls: Any) -> GateRig:
        tls = {"client_certificates": "optional", **tls}
        rig = gate_rig(GateSettings(bind="127.0.0.1:0", tls=self.settings(**tls)))
        identity = IdentitySettings(
            certificates=(CertificateSettings(name="plant", ca_file=self.ca),),
            api_keys=(ApiKeySettings(id="ops", sha256=KEY.sha256),),
        )
        authentication, authorisation = build_access(AccessSettings(identity=identity, folder=self.folder))
        authorisation.stop()
        rig.keys = authentication  # type: ignore[assignment]
        rig.policy.allowed = {(key, action) for key in (f"cert:{PRESS.thumbprint}", "key:ops") for action in Action}
        rig.certificate_paths = paths
        rig.tls = replaceable(self.context(**tls))
        return rig

    def context(self, authorities: tuple[Path, ...] = (), **tls: Any) -> ssl.SSLContext:
        key = key_from_file(self.key, self.password, private_files())
        return tls_context(self.settings(**tls), key, authorities or (self.ca,))

    def client(self, issued: Issued | None = None, **changes: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        for name, value in changes.items():
            setattr(context, name, value)
        if issued is not None:
            context.load_cert_chain(*issued.write(self.folder, "client"))
        return context


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def ask(
    port: int, context: ssl.SSLContext, path: str = DOUBLE, headers: dict[str, str] | None = None, body: bytes = ONE_ROW
) -> int:
    """The status of one request; OSError where TLS refuses."""
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=WAIT_S)
    try:
        connection.request("POST", path, body, headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


async def away(function: Callable[..., Returned], *arguments: Any, **named: Any) -> Returned:
    """In a thread, while the server runs on the loop."""
    return await asyncio.to_thread(function, *arguments, **named)


@pytest.mark.identity_case("client certificate", "a good one, over our own TLS", "its principal")
@on_each_loop
async def test_a_client_with_a_certificate_is_served(place: Place) -> None:
    async with served(place.rig()) as rig:
        assert await away(ask, rig.port, place.client(PRESS)) == 200
        assert rig.seen[-1].principal is not None
        assert rig.seen[-1].principal.key == f"cert:{PRESS.thumbprint}"


@on_each_loop
async def test_large_bodies_and_many_requests_pass_one_connection(place: Place) -> None:
    def talk(port: int) -> list[int]:
        connection = http.client.HTTPSConnection("localhost", port, context=place.client(PRESS), timeout=WAIT_S)
        statuses = []
        for size in (0, 1000, 5_000_000):
            connection.request("POST", DOUBLE, ONE_ROW + b" " * size)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        return statuses

    async with served(place.rig()) as rig:
        assert await away(talk, rig.port) == [200, 200, 200]


@on_each_loop
async def test_a_certificate_counts_on_its_paths_and_elsewhere_it_is_no_credential(place: Place) -> None:
    async with served(place.rig(paths=("/v2/repository",))) as rig:
        client = place.client(PRESS)
        assert await away(ask, rig.port, client) == 401
        assert await away(ask, rig.port, client, headers={"X-API-Key": KEY.key}) == 200
        assert await away(ask, rig.port, client, "/v2/repository/index", body=b"{}") == 200


@pytest.mark.identity_case("client certificate", "one and an API key, on a path for certificates", "400")
async def test_two_credentials_are_one_too_many(place: Place) -> None:
    async with served(place.rig()) as rig:
        assert await away(ask, rig.port, place.client(PRESS), headers={"X-API-Key": KEY.key}) == 400
        assert await away(ask, rig.port, place.client(PRESS), headers={"Authorization": "Bearer a.b.c"}) == 401


@pytest.mark.identity_case("client certificate", "a foreign page's request, to which the browser adds it", "403")
async def test_a_foreign_page_can_not_use_the_certificate_in_the_browser(place: Place) -> None:
    async with served(place.rig()) as rig:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert await away(ask, rig.port, place.client(PRESS), headers=headers) == 403


@pytest.mark.identity_case("client certificate", "its text in a header, without any proof", "401")
@pytest.mark.parametrize("header", ["X-ARR-ClientCert", "MS-ASPNETCORE-CLIENTCERT", "X-Client-Cert", "SSL_CLIENT_CERT"])
async def test_a_certificate_in_a_header_is_nobody(place: Place, header: str) -> None:
    async with served(place.rig()) as rig:
        spoofed = {header: base64.b64encode(PRESS.der).decode()}
        assert await away(ask, rig.port, place.client(), headers=spoofed) in {400, 401}


@pytest.mark.identity_case("client certificate", "none, where one is optional", "401")
async def test_without_one_where_it_is_optional_somebody_else_may_be_proven(place: Place) -> None:
    async with served(place.rig()) as rig:
        assert await away(ask, rig.port, place.client()) == 401
        assert await away(ask, rig.port, place.client(), headers={"X-API-Key": KEY.key}) == 200


REFUSED: dict[str, Callable[[], Issued | None]] = {
    "none where one is required": lambda: None,
    "of another authority of the same name": STRANGER.issue,
    "expired": lambda: ROOT.issue(Wish(starts=AT - 2 * DAY, ends=AT - DAY)),
    "not yet valid": lambda: ROOT.issue(Wish(starts=AT + DAY)),
    "a server's": lambda: ROOT.server("localhost"),
}


@pytest.mark.identity_case("client certificate", "none where one is required, or a bad one", "no TLS connection")
@pytest.mark.parametrize("case", REFUSED)
async def test_tls_refuses_before_anything_is_asked(place: Place, case: str) -> None:
    async with served(place.rig(client_certificates="required")) as rig:
        with pytest.raises(OSError):  # noqa: PT011 - how the client hears of it is TLS's and the system's choice
            await away(ask, rig.port, place.client(REFUSED[case]()))
        assert await away(ask, rig.port, place.client(PRESS)) == 200
        assert len(rig.seen) == 1


async def test_old_versions_of_tls_are_not_spoken(place: Place) -> None:
    old = place.client(PRESS, minimum_version=ssl.TLSVersion.TLSv1_2, maximum_version=ssl.TLSVersion.TLSv1_2)
    async with served(place.rig()) as rig:
        assert await away(ask, rig.port, old) == 200
    async with served(place.rig(minimum_version="1.3")) as rig:
        with pytest.raises(OSError):  # noqa: PT011 - as above
            await away(ask, rig.port, old)
        assert await away(ask, rig.port, place.client(PRESS)) == 200


def _say(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as plain:
        plain.settimeout(WAIT_S)
        plain.sendall(data)
        said = b""
        try:
            while more := plain.recv(4096):
                said += more
        except ConnectionError:
            pass
        return said


@on_each_loop
async def test_what_is_no_tls_gets_no_http_and_hurts_nobody(place: Place) -> None:
    async with served(place.rig()) as rig:
        for data in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 400, b"\0" * 5000):
            assert not (await away(_say, rig.port, data)).startswith(b"HTTP/")
        assert await away(ask, rig.port, place.client(PRESS)) == 200


@on_each_loop
async def test_a_handshake_that_does_not_come_is_ended(place: Place) -> None:
    async with served(place.rig(handshake_timeout_s=1.0)) as rig:
        assert await away(_say, rig.port, b"\x16\x03\x01") == b""
        assert rig.seen == []


async def test_a_handshake_that_is_under_way_holds_no_stop_up(place: Place) -> None:
    """Its connection would come after all others were told to end."""
    rig = place.rig(handshake_timeout_s=60)
    settings = rig.settings.model_copy(update={"head_timeout_s": 600.0})
    server = HttpServer(GateApp(rig.services()), settings, tls=rig.tls)
    await server.start()
    _, writer = await asyncio.open_connection("localhost", server.port)
    running = http.client.HTTPSConnection("localhost", server.port, context=place.client(PRESS), timeout=WAIT_S)
    await away(running.request, "POST", "/v2/models/hangs/infer", ONE_ROW)
    await rig.engine.has_begun.wait()
    stop = asyncio.create_task(server.stop(600))
    await asyncio.sleep(0)  # until the stop waits for the running request
    with pytest.raises(OSError):  # noqa: PT011 - reset, or the end where TLS's answer should be
        await asyncio.wait_for(writer.start_tls(place.client(PRESS), server_hostname="localhost"), WAIT_S)
    running.close()
    await asyncio.wait_for(stop, WAIT_S)
    writer.transport.abort()


@on_each_loop
async def test_a_new_certificate_serves_the_next_connection_and_leaves_the_standing_ones(place: Place) -> None:
    def served_by(connection: http.client.HTTPSConnection) -> bytes:
        connection.request("POST", DOUBLE, ONE_ROW)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        der = connection.sock.getpeercert(binary_form=True)  # type: ignore[attr-defined]
        assert isinstance(der, bytes)
        return der

    async with served(place.rig()) as rig:
        standing = http.client.HTTPSConnection("localhost", rig.port, context=place.client(PRESS), timeout=WAIT_S)
        assert await away(served_by, standing) == SERVER.der
        successor = ROOT.server("localhost")
        successor.write(place.folder, "server")
        rig.tls.in_force = place.context(client_certificates="optional")  # type: ignore[union-attr]
        fresh = http.client.HTTPSConnection("localhost", rig.port, context=place.client(PRESS), timeout=WAIT_S)
        assert await away(served_by, fresh) == successor.der
        assert await away(served_by, standing) == SERVER.der
        standing.close()
        fresh.close()


async def test_an_authority_taken_away_vouches_for_nobody_new(place: Place) -> None:
    async with served(place.rig(client_certificates="required")) as rig:
        assert await away(ask, rig.port, place.client(PRESS)) == 200
        other = place.folder / "other.pem"
        other.write_bytes(STRANGER.pem)
        rig.tls.in_force = place.context((other,), client_certificates="required")  # type: ignore[union-attr]
        with pytest.raises(OSError):  # noqa: PT011 - as above
            await away(ask, rig.port, place.client(PRESS))


def test_files_that_make_no_pair_are_refused_with_their_names(place: Place) -> None:
    other = ROOT.server("localhost")
    cases: dict[str, tuple[Callable[[], object], str]] = {
        "another's key": (lambda: place.key.write_bytes(other.key_pem()), r"server\.key"),
        "no key": (lambda: place.key.write_bytes(b"x"), r"server\.key"),
        "an encrypted key": (lambda: place.key.write_bytes(SERVER.key_pem(b"secret")), "key_password"),
        "no certificate": (lambda: place.certificate.write_bytes(b"x"), r"server\.pem"),
        "no file": (place.key.unlink, r"server\.key"),
    }
    for break_it, said in cases.values():
        SERVER.write(place.folder, "server")
        break_it()
        with pytest.raises(TlsUnusable, match=said):
            place.context()


def test_an_encrypted_key_is_opened_by_its_password(place: Place) -> None:
    place.key.write_bytes(SERVER.key_pem(b"correct horse"))
    place.password = b"correct horse"
    assert place.context()
    place.password = b"battery staple"
    with pytest.raises(TlsUnusable) as caught:
        place.context()
    assert "battery" not in str(caught.value)


def test_a_key_in_a_secret_is_written_encrypted_and_for_a_moment(place: Place) -> None:
    written: list[bytes] = []

    class Watching:
        def write_new(self, file: Path, content: bytes) -> None:
            written.append(content)
            private_files().write_new(file, content)

        def readers(self, file: Path) -> str:
            return private_files().readers(file)

    before = sorted(place.folder.iterdir())
    settings = TlsSettings(certificate_file=place.certificate, key_secret="tls")
    for value, password in ((SERVER.key_pem(), None), (SERVER.key_pem(b"horse"), b"horse")):
        assert tls_context(settings, key_from_secret("tls", value, password, place.folder, Watching()))
    assert sorted(place.folder.iterdir()) == before
    assert all(content.startswith(b"-----BEGIN ENCRYPTED") for content in written)
    for value in (b"", b"x", SERVER.key_pem(b"horse"), SERVER.pem):
        with pytest.raises(TlsUnusable, match="'tls' holds no private key"):
            key_from_secret("tls", value, None, place.folder, Watching())


@pytest.mark.linux("permissions of files; on Windows the folder's access list says who may read")
def test_a_key_that_others_may_read_is_refused(place: Place) -> None:
    place.key.chmod(0o640)
    with pytest.raises(TlsUnusable, match="may be read by"):
        place.context()


@pytest.mark.linux("curl as its users have it")
async def test_curl_with_a_certificate_is_served(place: Place) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl: apt-get install curl")
    certificate, key = PRESS.write(place.folder, "client")
    async with served(place.rig(client_certificates="required")) as rig:
        url = f"https://localhost:{rig.port}/v2/models/double"
        arguments = ["-sS", "--cacert", str(place.ca), "-o", "/dev/null", "-w", "%{http_code}", url]
        with_it = await asyncio.create_subprocess_exec(
            curl, "--cert", str(certificate), "--key", str(key), *arguments, stdout=asyncio.subprocess.PIPE
        )
        assert (await with_it.communicate())[0] == b"200"
        without = await asyncio.create_subprocess_exec(
            curl, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert (await without.communicate())[0] == b"000"


@pytest.mark.identity_case("client certificate", "the common name of another, self-signed", "no TLS connection")
async def test_a_self_made_certificate_is_refused(place: Place) -> None:
    forger = LocalAuthority("press-7", AT)
    forged = forger.issue(Wish(subject=name_of("press-7", "Plant"), key=forger.issued.key))
    async with served(place.rig()) as rig:
        with pytest.raises(OSError):  # noqa: PT011 - as above
            await away(ask, rig.port, place.client(forged))
