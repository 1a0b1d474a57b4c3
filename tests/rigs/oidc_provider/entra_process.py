"""A real OpenID provider in the shape of Entra ID, over TLS, for Microsoft's own client library."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import urllib.parse
from pathlib import Path

from tests.rigs.certificates import LocalAuthority, now
from tests.rigs.oidc_provider.provider_process import installed, node

TENANT = "11111111-aaaa-bbbb-cccc-222222222222"
OID = "33333333-aaaa-bbbb-cccc-444444444444"
API = "55555555-aaaa-bbbb-cccc-666666666666"
CLIENT = "77777777-aaaa-bbbb-cccc-888888888888"
GROUP = "aaaaaaaa-aaaa-bbbb-cccc-aaaaaaaaaaaa"
SECRET = "entra-secret-of-the-rig-0123456789"


class EntraProcess:
    """The provider, from construction until close.

    Args:
        folder: where its certificates go.
    """

    def __init__(self, folder: Path) -> None:
        authority = LocalAuthority("Entra's authority", now())
        self.ca_file = folder / "authority.pem"
        self.ca_file.write_bytes(authority.pem)
        certificate, key = authority.server("localhost").write(folder, "entra")
        self._process = subprocess.Popen(
            [str(node()), str(installed() / "entra.mjs"), str(certificate), str(key)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the provider ended with {self._process.wait()} before it said where it is"
        self.host: str = json.loads(line)["issuer"]

    @property
    def issuer(self) -> str:
        """Of tokens of version 2.0."""
        return f"{self.host}/{TENANT}/v2.0"

    def close(self) -> None:
        """End it: it ends with its standard input."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(120)

    def switch(self, *paths: str) -> None:
        """Turn switches that entra.mjs lists, e.g. `shape/user`."""
        for path in paths:
            self._ask("POST", f"/__{path}")

    def asked(self) -> dict[str, int]:
        """How often tokens, key sets and groups were asked for."""
        return json.loads(self._ask("GET", "/__asked"))  # type: ignore[no-any-return]

    def token(self) -> str:
        """An access token, got by azure-identity and MSAL as any program of a customer gets it."""
        from azure.identity import ClientSecretCredential  # here, so that tests which are deselected need no client

        with ClientSecretCredential(
            TENANT,
            CLIENT,
            SECRET,
            authority=self.host,
            disable_instance_discovery=True,
            connection_verify=str(self.ca_file),
        ) as credential:
            return credential.get_token(f"{API}/.default").token

    def _ask(self, method: str, path: str) -> bytes:
        address = urllib.parse.urlsplit(self.host)
        context = ssl.create_default_context(cafile=self.ca_file)
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=120, context=context)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status == 200, answer
        return answer
