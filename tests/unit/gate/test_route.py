"""Paths and how they find routes; what could be read in two ways finds none."""

from __future__ import annotations

import pytest

from torchgate.access.identity.protected_resource import WELL_KNOWN
from torchgate.contract.errors import InvalidRequest, MethodNotAllowed, UnknownPath
from torchgate.gate.request_path import decode_path
from torchgate.gate.routes import route_table

TABLE = route_table()


@pytest.mark.parametrize("route", TABLE.routes, ids=lambda route: f"{route.method} {route.pattern}")
def test_every_route_of_the_table_is_found_by_its_pattern(route) -> None:  # type: ignore[no-untyped-def]
    """No route hides another."""
    path = route.pattern.replace("{model}", "m").replace("{version}", "7").replace("{rest}", "a/b")
    match = TABLE.match(route.method, path.encode())
    assert match.route == route
    assert (match.model, match.version) == (
        "m" if route.names_model else "",
        "7" if "{version}" in route.pattern else None,
    )


def test_health_and_the_servers_own_description_alone_are_public() -> None:
    """The list of what answers without a credential; whoever adds to it changes this line."""
    public = {route.pattern for route in TABLE.routes if route.is_public}
    assert public == {"/v2/health/live", "/v2/health/ready", "/warm-up", WELL_KNOWN, f"{WELL_KNOWN}/{{rest}}"}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/", "/v2//models", "//v2", "/v2/models/", "/v2/models//infer", "/v2/models/m/", "/v2/models/m/infer/",
        "/v2/models/m/versions", "/v2/models/m/versions/", "/v2/models/m/versions/1/", "/v2/./models", "/V2",
        "/v2/models/{model}/x", "/v2/repository/models/m", "", "*", "/metrics/", "/v2/models/a/b/infer",
    ],
)  # fmt: skip
def test_other_spellings_find_nothing(path: str) -> None:
    """No trailing slash, no empty segment, no other case."""
    match = TABLE.match("GET", path.encode())
    assert match.route is None
    assert isinstance(match.problem, UnknownPath)
    assert not match.is_public


@pytest.mark.parametrize("pattern", ["/v2/models/{model}/infer", "/v2/systemsharedmemory/{rest}"])
def test_a_pattern_as_a_path_is_an_odd_name_and_no_literal(pattern: str) -> None:
    """The attacker sends the table's own spelling."""
    match = TABLE.match("POST", pattern.encode())
    assert match.model in ("{model}", "")
    assert match.route is not None
    assert not match.is_public


def test_a_wrong_method_names_the_right_ones() -> None:
    """GET answers HEAD too."""
    problem = TABLE.match("PUT", b"/v2/models/m").problem
    assert isinstance(problem, MethodNotAllowed)
    assert problem.allowed == ("GET", "HEAD")
    assert TABLE.match("HEAD", b"/v2/health/live").is_public
    assert TABLE.match("POST", b"/v2/health/live").is_public


@pytest.mark.parametrize(
    "raw",
    [b"/v2/%2541", b"/v2/%", b"/v2/%zz", b"/a%2fb", b"/a%5Cb", b"/a%00", b"/a%0d%0a", b"/%ff", b"/%c0%ae", b"/a%7f"],
)
def test_a_path_that_two_readers_read_differently_is_refused(raw: bytes) -> None:
    """Double encoding, hidden separators, control characters, overlong UTF-8."""
    with pytest.raises(InvalidRequest):
        decode_path(raw)
    match = TABLE.match("GET", raw)
    assert match.route is None
    assert isinstance(match.problem, InvalidRequest)


def test_a_path_is_decoded_once() -> None:
    """As IIS does before us."""
    assert decode_path(b"/v2/%6dodels/%C3%A9") == "/v2/models/é"
    assert decode_path(b"/plain") == "/plain"
