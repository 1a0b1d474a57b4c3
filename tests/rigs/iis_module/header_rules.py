"""What becomes of a request's head on its way through the module. Source: iis.md 1.4, 1.5, 1.6."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from tests.rigs.iis_module.configuration import Application
from tests.rigs.iis_module.variants import PAIRING_HEADER, STRIPPED_PREFIX

Headers = list[tuple[str, str]]

_OF_THE_ANSWER = frozenset({"connection", "transfer-encoding", "date"})


@dataclass(frozen=True)
class Caller:
    """What IIS knows of who asks.

    Args:
        address: of the connection.
        port: of it.
        user: name, where IIS has authenticated somebody by Negotiate or NTLM.
        certificate: base64 DER of the TLS connection's client.
        is_tls: of the connection to IIS.
    """

    address: str
    port: int
    user: str | None = None
    certificate: str | None = None
    is_tls: bool = False


def cooked_target(target: str) -> str:
    """The path as http.sys hands it on: decoded once, its dots resolved, with nothing but `?` and what no URL may have
    escaped again; the query as it came."""
    path, question, query = target.partition("?")
    decoded = unquote_to_bytes(path).decode("utf-8", "replace").replace("\\", "/")
    normal = posixpath.normpath(decoded)
    if decoded.endswith("/") and normal != "/":
        normal += "/"
    return quote("/" + normal.lstrip("/"), safe="/%!$&'()*+,;=:@-._~") + question + query


def request_headers(
    application: Application, received: Iterable[tuple[str, str]], caller: Caller, pairing: str, handle: str | None
) -> Headers:
    """What the process gets.

    Args:
        received: as the client sent it.
        pairing: the token of this process.
        handle: of the Windows token in that process; None: nothing is handed over.
    """
    variant = application.variant
    kept = [(name, value) for name, value in received if name.lower() != "connection"]
    # URL Rewrite comes first, before anybody is authenticated.
    kept = [(name, "" if name.lower() in application.blanked else value) for name, value in kept]
    if variant.has_pairing:
        kept = [(name, value) for name, value in kept if not name.lower().startswith(STRIPPED_PREFIX)]
        kept = _replaced(kept, PAIRING_HEADER, pairing)
        for name, own in (
            ("X-Forwarded-For", _hop(caller)),
            ("X-Forwarded-Proto", "https" if caller.is_tls else "http"),
        ):
            kept = _appended(kept, name, own)
        if caller.certificate is not None:
            kept = _replaced(kept, "MS-ASPNETCORE-CLIENTCERT", caller.certificate)
    if handle is not None:
        kept = _replaced(kept, variant.token_header, handle)
    return kept


def answer_headers(received: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What the client gets."""
    return ((name, value) for name, value in received if name.lower() not in _OF_THE_ANSWER)


def _hop(caller: Caller) -> str:
    return f"[{caller.address}]:{caller.port}" if ":" in caller.address else f"{caller.address}:{caller.port}"


def _replaced(headers: Headers, name: str, value: str) -> Headers:
    return [*(one for one in headers if one[0].lower() != name.lower()), (name, value)]


def _appended(headers: Headers, name: str, value: str) -> Headers:
    """Behind whatever the client has sent, in one line."""
    sent = [one for other, one in headers if other.lower() == name.lower()]
    return _replaced(headers, name, ", ".join([*sent, value]))
