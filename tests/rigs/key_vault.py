"""Azure as the real SDK sees it: a proxy on this machine behind which Entra and a Key Vault seem to be.

The SDK is told of it as of any company's proxy (HTTPS_PROXY and a certificate authority), so that names, TLS, tokens
and the vault's challenge are the real ones. Source: identity.md 4d (the shapes that the SDK uses).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TENANT = "11111111-2222-3333-4444-555555555555"
LOGIN = "login.microsoftonline.com"
VAULT = "torchgate-test"
VAULT_HOST = f"{VAULT}.vault.azure.net"
TOKEN = "token-of-the-vault"


class KeyVault:
    """A vault on this machine; `with` starts and ends it.

    Args:
        folder: where its certificates are written.
    """

    def __init__(self, folder: Path) -> None:
        self.failing = ""
        self.secrets: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.released = threading.Event()
        self.authority = folder / "authority.pem"
        self._context = _tls(folder, self.authority)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"vault": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> KeyVault:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What the SDK of the product is told by, as on any machine behind a proxy."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self._server.server_address[1]}",
            "REQUESTS_CA_BUNDLE": str(self.authority),
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": "99999999-2222-3333-4444-555555555555",
            "AZURE_CLIENT_SECRET": "a-made-up-credential",
        }

    def reset(self) -> None:
        """No secrets, no failure."""
        self.failing = ""
        self.secrets.clear()
        self.asked.clear()

    def put(self, name: str, value: str, *, created: float, **attributes: Any) -> str:
        """Add a version; its id."""
        versions = self.secrets.setdefault(name, [])
        version = f"{len(versions) + 1:032x}"
        dates = {"enabled": True, "created": int(created), "updated": int(created), **attributes}
        versions.append({"version": version, "value": value, "attributes": dates})
        return version

    def lets_through(self, host: str) -> bool:
        """Whether the proxy connects."""
        if self.failing == "hangs":
            self.released.wait(120)
        return self.failing not in {"hangs", "drops"} and host in {LOGIN, VAULT_HOST}

    def answer(self, host: str, path: str, token: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, body and headers."""
        self.asked.append(f"{host}{path}")
        if host == LOGIN:
            return self._login(path)
        if self.failing == "throttles":
            return 429, {"error": {"code": "Throttled", "message": "hunter2 in the error's text"}}, {"Retry-After": "0"}
        if self.failing == "breaks":
            return 503, {"error": {"code": "Unavailable", "message": "hunter2 in the error's text"}}, {}
        if token != f"Bearer {TOKEN}":
            challenge = f'Bearer authorization="https://{LOGIN}/{TENANT}", resource="https://vault.azure.net"'
            return 401, {"error": {"code": "Unauthorized", "message": "no token"}}, {"WWW-Authenticate": challenge}
        return (*self._vault(path.strip("/").split("/")), {})

    def _login(self, path: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        base = f"https://{LOGIN}/{TENANT}"
        if path.endswith("/openid-configuration"):
            endpoints = {"token_endpoint": f"{base}/oauth2/v2.0/token", "issuer": f"{base}/v2.0"}
            return 200, {**endpoints, "authorization_endpoint": f"{base}/oauth2/v2.0/authorize"}, {}
        if path.startswith("/common/discovery/instance"):
            names = {"preferred_network": LOGIN, "preferred_cache": LOGIN, "aliases": [LOGIN]}
            where = f"{base}/v2.0/.well-known/openid-configuration"
            return 200, {"tenant_discovery_endpoint": where, "metadata": [names]}, {}
        if self.failing == "no token":
            text = "AADSTS7000215: Invalid client secret provided: hunter2"
            return 401, {"error": "invalid_client", "error_description": text}, {}
        return 200, {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}, {}

    def _vault(self, parts: list[str]) -> tuple[int, dict[str, Any]]:
        name, version = parts[1], parts[2] if len(parts) > 2 else ""
        if self.failing == "denies" or (self.failing == "denies lists" and version == "versions"):
            return 403, {"error": {"code": "Forbidden", "message": "hunter2 in the error's text"}}
        versions = self.secrets.get(name)
        if not versions:
            return 404, {"error": {"code": "SecretNotFound", "message": "hunter2 in the error's text"}}
        if version == "versions":
            return 200, {"value": [self._bundle(name, one, whole=False) for one in versions], "nextLink": None}
        found = next((one for one in versions if one["version"] == version), None) if version else versions[-1]
        if found is None:
            return 404, {"error": {"code": "SecretNotFound", "message": "no such version"}}
        if not found["attributes"]["enabled"]:
            return 403, {
                "error": {"code": "Forbidden", "innererror": {"code": "SecretDisabled"}, "message": "disabled"}
            }
        return 200, self._bundle(name, found, whole=True)

    def _bundle(self, name: str, one: dict[str, Any], *, whole: bool) -> dict[str, Any]:
        shown = {"id": f"https://{VAULT_HOST}/secrets/{name}/{one['version']}", "attributes": one["attributes"]}
        return {**shown, "value": one["value"]} if whole else shown


class _Proxy(BaseHTTPRequestHandler):
    """One connection: first a proxy's, then, inside, that of the host that was asked for."""

    protocol_version = "HTTP/1.1"
    vault: KeyVault
    host = ""

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        if not self.vault.lets_through(self.host):
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):  # whose certificate is not believed is hung up on
            self.connection = self.vault._context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._reply()

    def _reply(self) -> None:
        path = urlsplit(self.path).path
        status, body, headers = self.vault.answer(self.host, path, self.headers.get("Authorization", ""))
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the caller has hung up
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass


def _tls(folder: Path, authority: Path) -> ssl.SSLContext:
    """A context for both names, by an authority that is written down."""
    now = datetime.datetime.now(datetime.UTC)
    first, last = now - datetime.timedelta(days=1), now + datetime.timedelta(days=30)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Torchgate's tests")])
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root_certificate = (
        x509.CertificateBuilder(root, root, root_key.public_key(), x509.random_serial_number(), first, last)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, VAULT_HOST)])
    certificate = (
        x509.CertificateBuilder(root, name, key.public_key(), x509.random_serial_number(), first, last)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(VAULT_HOST), x509.DNSName(LOGIN)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    authority.write_bytes(root_certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = folder / "vault.pem"
    # With its root: of a chain that ends before one, Wine does not say that nobody knows it.
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + authority.read_bytes() + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
