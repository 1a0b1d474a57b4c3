"""One route, and how a path finds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from torchgate.contract.decision import Action
from torchgate.contract.errors import InvalidRequest, MethodNotAllowed, TorchgateError, UnknownPath
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse
from torchgate.gate.request_path import decode_path

Handler = Callable[[Exchange], Awaitable[HttpResponse]]


@dataclass(frozen=True)
class Route:
    """One line of the table.

    Args:
        method: GET answers HEAD too.
        pattern: with `{model}`, `{version}`, `{request}`; a trailing `{rest}` takes everything.
        action: what policy is asked; None for public routes.
        handler: gives the answer once everything before it has allowed.
        summary: for the generated documents.
    """

    method: str
    pattern: str
    action: Action | None
    handler: Handler
    summary: str

    @property
    def is_public(self) -> bool:
        """Answered without a credential."""
        return self.action is None

    @property
    def names_model(self) -> bool:
        """Whether the path names a model."""
        return "{model}" in self.pattern


@dataclass(slots=True)
class Match:
    """What a path and a method found: a route, or what is wrong with them; never both."""

    path: str
    route: Route | None = None
    model: str = ""
    version: str | None = None
    problem: TorchgateError | None = None
    is_public: bool = False


class RouteTable:
    """All routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_pattern: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            methods = self._by_pattern.setdefault(route.pattern, {})
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route
        self._prefixes = [
            (pattern.removesuffix("{rest}"), methods)
            for pattern, methods in self._by_pattern.items()
            if pattern.endswith("{rest}")
        ]

    def match(self, method: str, raw_path: bytes) -> Match:
        """The route of a request; never raises, so that a refusal still has its path."""
        try:
            path = decode_path(raw_path)
        except InvalidRequest as mistake:
            return Match(raw_path[:512].decode("latin-1"), problem=mistake)
        methods, model, version = self._find(path)
        if methods is None:
            return Match(path, problem=UnknownPath("Not Found: this server has no such path. See /openapi.json."))
        route = methods.get(method)
        if route is not None:
            return Match(path, route, model, version, is_public=route.is_public)
        problem = MethodNotAllowed("Method Not Allowed: see the Allow header.", allowed=tuple(sorted(methods)))
        is_public = all(other.is_public for other in methods.values())
        return Match(path, None, model, version, problem, is_public)

    def _find(self, path: str) -> tuple[dict[str, Route] | None, str, str | None]:
        methods = self._by_pattern.get(path)
        if methods is not None and "{" not in path:
            return methods, "", None
        segments = path.split("/")
        place = 4 if path.startswith("/v2/repository/models/") else 3 if path.startswith("/v2/models/") else 0
        if place and segments[place : place + 1] not in ([], [""]):
            model, version = segments[place], None
            segments[place] = "{model}"
            if len(segments) > place + 2 and segments[place + 1] == "versions" and segments[place + 2]:
                version, segments[place + 2] = segments[place + 2], "{version}"
            return self._by_pattern.get("/".join(segments)), model, version
        if len(segments) == 5 and path.startswith("/v2/requests/") and segments[3]:
            segments[3] = "{request}"
            return self._by_pattern.get("/".join(segments)), "", None
        for prefix, found in self._prefixes:
            if path.startswith(prefix):
                return found, "", None
        return None, "", None
