"""A small HTTP client of the server, for the command line: one request, one answer, standard library alone."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from torchgate.contract.kerberos import Negotiation
from torchgate.gate.checks import is_loopback
from torchgate.gate.negotiating import Received, negotiated


@dataclass(frozen=True)
class ClientAnswer:
    """One answer.

    Args:
        body: decoded JSON, or None where the answer holds none.
        request_id: the server's, for its log.
    """

    status: int
    body: Any
    request_id: str

    @property
    def error(self) -> str:
        """The server's sentence about a failure, or empty."""
        found = self.body.get("error", "") if isinstance(self.body, dict) else ""
        return str(found)


class GateClient:
    """Talks to one server.

    Args:
        url: `http://host:port`, maybe with a path where the gate is mounted.
        token: bearer token; key: API key; at most one of them.
        timeout_s: of connecting and of each wait for bytes.
        tls: for https; None: the system's authorities.
        negotiate: begins to prove the user of this process to a host, instead of token and key.

    Raises:
        ValueError: the URL is none, two credentials are given, or a proof of the user would travel in the clear.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        key: str | None = None,
        timeout_s: float = 60.0,
        tls: ssl.SSLContext | None = None,
        negotiate: Callable[[str], Negotiation] | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            hint = "; where the server has a unix socket, give the URL of its proxy" if parts.scheme == "unix" else ""
            raise ValueError(f"{url!r} is not a URL like http://127.0.0.1:8080{hint}")
        if [token, key, negotiate].count(None) < 2:
            raise ValueError("more than one of token, key and Negotiate was given; a request carries one credential")
        if negotiate is not None and parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError(
                f"the proof of a user goes by https or to this machine, and {url!r} is neither; give an https URL"
            )
        self._is_tls = parts.scheme == "https"
        self._host, self._port, self._root = parts.hostname, parts.port, parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._tls = tls
        self._negotiate = negotiate
        self._headers = {"Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            self._headers["X-API-Key"] = key

    def predict(self, model: str, request: Mapping[str, Any], *, version: str | None = None) -> ClientAnswer:
        """Ask a model.

        Args:
            request: as V2 writes it: `{"inputs": [...]}`.

        Raises:
            OSError: the server can't be reached, or hung up.
            NegotiationFailed: this user can't be proven to it, or it is another server.
        """
        return self.request("POST", f"{_model_path(model, version)}/infer", request)

    def index(self) -> ClientAnswer:
        """The models that the caller may read, with their states.

        Raises:
            OSError: as predict.
        """
        return self.request("POST", "/v2/repository/index", {})

    def load(self, model: str, *, version: str | None = None, force: bool = False) -> ClientAnswer:
        """Have the server serve what lies in a model's folder now; force: what has not changed, too.

        Raises:
            OSError: as predict.
        """
        return self._change("load", model, version, {"force": True} if force else {})

    def unload(self, model: str, *, version: str | None = None) -> ClientAnswer:
        """Have the server serve a model, or one version, no more.

        Raises:
            OSError: as predict.
        """
        return self._change("unload", model, version, {})

    def quotas(self) -> ClientAnswer:
        """What the caller has used of its own quotas.

        Raises:
            OSError: as predict.
        """
        return self.request("GET", "/v2/quotas")

    def metadata(self, model: str, *, version: str | None = None) -> ClientAnswer:
        """Inputs and outputs of a model.

        Raises:
            OSError: as predict.
        """
        return self.request("GET", _model_path(model, version))

    def is_ready(self) -> bool:
        """Whether the server can be reached and says that it is ready."""
        try:
            return self.request("GET", "/v2/health/ready").status == 200
        except OSError:
            return False

    def _change(self, verb: str, model: str, version: str | None, parameters: Mapping[str, Any]) -> ClientAnswer:
        # Sooner than our own patience ends, so that the server can say that the change goes on.
        headers = {"X-Request-Timeout-Ms": str(max(1, int(self._timeout_s * 900)))}
        path = _model_path(model, version, "/v2/repository/models")
        return self.request("POST", f"{path}/{verb}", {"parameters": parameters}, headers)

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, more: Mapping[str, str] | None = None
    ) -> ClientAnswer:
        """Any request with a JSON body, or none.

        Args:
            more: headers.

        Raises:
            OSError: as predict.
        """
        connection: http.client.HTTPConnection
        if self._is_tls:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            payload = None if body is None else json.dumps(body).encode("utf-8")
            headers = {**self._headers, **(more or {})}
            if payload is not None:
                headers["Content-Type"] = "application/json"

            def ask(credential: Mapping[str, str]) -> Received:
                connection.request(method, self._root + path, payload, {**headers, **credential})
                response = connection.getresponse()
                return Received(response.status, response.headers, response.read())

            # A redirect is an answer like any: nothing goes where the caller has not pointed.
            if self._negotiate is None:
                received = ask({})
            else:
                received = negotiated(ask, self._negotiate(self._host), is_tls=self._is_tls)
            return ClientAnswer(received.status, _json(received.body), received.headers.get("X-Request-ID", ""))
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self._host} did not answer in HTTP: {error!r}") from None
        finally:
            connection.close()


def _model_path(model: str, version: str | None, root: str = "/v2/models") -> str:
    place = f"{root}/{quote(model, safe='')}"
    return place if version is None else f"{place}/versions/{quote(version, safe='')}"


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
