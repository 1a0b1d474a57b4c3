"""Every line of the route table, by every method, for nobody, a liar and somebody without the right.

Identity and policy here are the real ones, asked over a real socket. The walk is made of the table itself, so that a
route that is new tomorrow is walked tomorrow.

The attacker looks for the one path, method or spelling that forgets to ask.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.rigs.http_connection import Answer, HttpConnection
from tests.rigs.policy_rig import KEYS, ROW, PolicyRig, policy_rig

from torchgate.access.identity.api_key import new_api_key
from torchgate.access.policy.rules import BUILT_IN_ACTIONS
from torchgate.contract.audit_event import RequestEvent
from torchgate.gate.route import Route
from torchgate.gate.routes import route_table

ROUTES = route_table().routes
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
NOBODY = {
    "nothing": {},
    "a key that nobody has": {"X-API-Key": new_api_key("ann").key},
    "a token that nobody signed": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."},
    "another scheme": {"Authorization": "Basic cm9vdDpyb290"},
}
NO_RIGHTS = {"X-API-Key": KEYS["bob"].key}
ANN = {"X-API-Key": KEYS["ann"].key}
FORBIDDEN = "This principal may not do this here."
RULES = """
[[policy.grants]]
roles = ["asker"]
models = ["double"]
versions = ["1"]
actions = ["infer", "read", "load", "unload"]
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PolicyRig]:
    """`ann` may use version 1 of `double`; `bob` has a key and no role."""
    async with policy_rig(tmp_path, RULES) as rig:
        rig.write(RULES, askers='"key:ann"')
        assert (await rig.reload()).status == 200
        rig.audit.events.clear()
        rig.engine.changes.clear()
        yield rig


class Asker:
    """Asks over one connection, opened anew where the server closes it."""

    def __init__(self, rig: PolicyRig) -> None:
        self._rig = rig
        self._connection = HttpConnection(rig.port)

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """The answer to one request."""
        await self._connection.send(method, path, headers, body)
        return await self._connection.receive(has_body=method != "HEAD")

    def last_event(self, answer: Answer) -> RequestEvent:
        """The record of the request that got this answer."""
        event = self._rig.audit.events[-1]
        assert event.request_id == answer.headers["x-request-id"]
        return event


@pytest.fixture
async def asker(rig: PolicyRig) -> AsyncIterator[Asker]:
    """Of the rig."""
    asker = Asker(rig)
    yield asker
    await asker._connection.close()


def path_of(route: Route, model: str = "double", version: str = "1") -> str:
    """The route's pattern with names in it."""
    path = route.pattern.replace("{model}", model).replace("{version}", version)
    return path.replace("{rest}", "region/x").replace("{request}", "some-id")


def public_patterns() -> set[str]:
    return {route.pattern for route in ROUTES if route.is_public}


def methods_of(pattern: str) -> set[str]:
    methods = {route.method for route in ROUTES if route.pattern == pattern}
    return methods | ({"HEAD"} if "GET" in methods else set())


@pytest.mark.identity_case("policy", "any route by any method without a proven caller", "401, and never an answer")
@pytest.mark.parametrize("who", NOBODY)
async def test_nobody_gets_an_answer_from_a_route_that_is_not_public(rig: PolicyRig, asker: Asker, who: str) -> None:
    """401 by every method, even those that the route does not have: who is not proven learns nothing of the table."""
    for pattern in dict.fromkeys(route.pattern for route in ROUTES if not route.is_public):
        route = next(route for route in ROUTES if route.pattern == pattern)
        for method in METHODS:
            answer = await asker.ask(method, path_of(route), NOBODY[who], b"{}" if method == "POST" else b"")
            where = f"{method} {pattern}"
            assert answer.status == 401, where
            assert "www-authenticate" in answer.headers, where
            event = asker.last_event(answer)
            assert (event.status, event.principal, event.decision) == (401, None, None), where
            assert event.credential_reason, where
    assert rig.engine.changes == []
    assert rig.engine.requests == []


@pytest.mark.identity_case("policy", "a proven caller without a role, by any route and method", "403 or 405, recorded")
async def test_somebody_without_a_right_gets_403_and_a_record_of_the_decision(rig: PolicyRig, asker: Asker) -> None:
    for route in ROUTES:
        if route.is_public:
            continue
        for method in METHODS:
            answer = await asker.ask(method, path_of(route), NO_RIGHTS, b"{}" if method == "POST" else b"")
            event, where = asker.last_event(answer), f"{method} {route.pattern}"
            assert event.principal is not None, where
            assert event.principal.key == "key:bob", where
            if method not in methods_of(route.pattern):
                assert answer.status == 405, where
                assert event.decision is None, where
                continue
            wanted = "GET" if method == "HEAD" else method
            acting = next(r for r in ROUTES if (r.pattern, r.method) == (route.pattern, wanted))
            assert event.decision is not None, where
            assert event.action == acting.action, where
            if acting.action in BUILT_IN_ACTIONS:
                assert answer.status in (200, 501), where
                assert event.decision.allowed, where
            else:
                assert answer.status == 403, where
                assert not event.decision.allowed, where
                if method != "HEAD":
                    assert answer.json()["error"] == FORBIDDEN, where
    assert rig.engine.changes == []
    assert rig.engine.requests == []


async def test_public_routes_are_those_of_the_design_and_nothing_else(rig: PolicyRig, asker: Asker) -> None:
    """A route that becomes public by accident is found here."""
    assert {pattern.split("{")[0] for pattern in public_patterns()} <= {
        "/v2/health/live",
        "/v2/health/ready",
        "/warm-up",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/",
    }
    for route in ROUTES:
        if route.is_public:
            for method in METHODS:
                answer = await asker.ask(method, path_of(route), {})
                allowed = (200, 404, 503) if method in ("GET", "HEAD") else (405,)
                assert answer.status in allowed, f"{method} {route.pattern}"
    assert rig.audit.events == []


OVERRIDES = (
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X-Original-Method",
    "X-Forwarded-Method",
)
REWRITES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-URI", "X-Forwarded-Prefix", "X-Original-URI")


@pytest.mark.identity_case("policy", "a header that pretends another method or path", "it is not looked at")
async def test_no_header_changes_method_or_path(rig: PolicyRig, asker: Asker) -> None:
    """The attacker may read, and unloads by a GET that calls itself a POST; or asks a public path for another."""
    for name in OVERRIDES:
        answer = await asker.ask("GET", "/v2/repository/models/double/versions/1/unload", {**ANN, name: "POST"})
        assert answer.status == 405, name
        answer = await asker.ask("POST", "/v2/models/double/versions/1", {**ANN, name: "GET"}, b"")
        assert answer.status == 405, name
    for name in REWRITES:
        answer = await asker.ask("GET", "/v2/health/live", {name: "/metrics"})
        assert answer.body == b'{"live":true}', name
        answer = await asker.ask("GET", "/metrics", {name: "/v2/health/live"})
        assert answer.status == 401, name
        answer = await asker.ask("GET", "/metrics", {**ANN, name: "/whoami"})
        assert answer.status == 403, name
    assert rig.engine.changes == []


def spellings(path: str) -> Iterator[str]:
    """Other ways to write a path, each of which some server takes for the same."""
    head, _, tail = path.rpartition("/")
    yield from (f"/{path}", f"{path}/", f"{path}//", f"{head}//{tail}", f"{head}/./{tail}", f"{head}/x/../{tail}")
    yield from (f"{path};x=1", f"{head};x/{tail}", f"{path}.", f"{path}%20", f"{path}%00", f"{path}%0a", f"{path}%23")
    yield from (f"{head}%2f{tail}", f"{head}%2F{tail}", f"{head}%5c{tail}", f"{head}\\{tail}", f"{head}/%2e/{tail}")
    yield from (f"{head}%252f{tail}", f"{path}%", f"{path}%zz", f"{path}%c0%af", f"{path}%ff", path.upper())
    yield from (
        f"/.{path}",
        f"/..{path}",
        f"/%2e%2e{path}",
        f"/v2/health/live/..{path}",
        f"/v2/health/live/../..{path}",
    )
    yield from (f"/v2/health/live;{path}", f"/v2/health/live%2f..{path}", f"/v2/health/live/{path}", f"{path}/live")
    yield from (f"{path}.json", f"{path}/v2/health/live", f"*{path}", f"/{tail}" if head else f"{path}x")


def known_paths() -> set[str]:
    return {path_of(route) for route in ROUTES}


@pytest.mark.identity_case(
    "policy", "other spellings of a path: `//`, `/./`, `;`, `%2f`, case, a trailing slash", "no answer"
)
async def test_no_spelling_of_a_path_leads_around_the_question(rig: PolicyRig, asker: Asker) -> None:
    """Neither unproven nor without a right; what is no path of the table is none to anybody."""
    wrong = [
        (method, path)
        for route in ROUTES
        if not route.is_public
        for path in dict.fromkeys(spellings(path_of(route)))
        for method in (route.method,)
        if path not in known_paths() and not path.startswith("/.well-known")
    ]
    assert len(wrong) > 1000
    for method, path in wrong:
        body = b"{}" if method == "POST" else b""
        nobody = await asker.ask(method, path, {}, body)
        assert nobody.status in (400, 401), f"{method} {path}"
        answer = await asker.ask(method, path, NO_RIGHTS, body)
        is_spelt_for_a_model = path.startswith(("/v2/models/", "/v2/repository/models/", "/v2/requests/"))
        assert answer.status in ((400, 403, 404, 405) + ((200, 501) if is_built_in(path) else ())), f"{method} {path}"
        assert is_spelt_for_a_model or answer.status in (400, 404, 405, 501), f"{method} {path}: {answer.status}"
    assert rig.engine.changes == []
    assert rig.engine.requests == []


def is_built_in(path: str) -> bool:
    """Whether some route takes any rest of a path, or any id, and everybody known may ask it."""
    return path.startswith(("/v2/requests/", "/v2/systemsharedmemory/", "/v2/cudasharedmemory/"))


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/metrics",
        "//evil/v2/health/live",
        "*",
        "metrics",
        "/metrics?x=/v2/health/live",
        "/metrics#/x",
    ],
)
async def test_no_form_of_a_request_target_leads_around_the_question(rig: PolicyRig, target: str) -> None:
    """Absolute form, an authority, an asterisk, no slash, a query, a fragment."""
    connection = HttpConnection(rig.port)
    try:
        await connection.send("GET", target, {})
        answer = await connection.receive()
    finally:
        await connection.close()
    assert answer.status in (400, 401, 404), target
    assert b"live" not in answer.body


@pytest.mark.parametrize("method", ["get", "X", "GETT", "GE T", "", "GET\t", "BREW"])
async def test_what_is_no_method_of_http_is_refused_before_anything_is_asked(rig: PolicyRig, method: str) -> None:
    """With a good key, too; nothing is guessed to be a GET."""
    connection = HttpConnection(rig.port)
    try:
        await connection.send(method, "/whoami", ANN)
        answer = await connection.receive()
    finally:
        await connection.close()
    assert answer.status == 400
    assert rig.audit.events == []


async def test_a_tunnel_is_never_opened(rig: PolicyRig) -> None:
    for headers in ({}, NO_RIGHTS):
        connection = HttpConnection(rig.port)
        try:
            await connection.send("CONNECT", "127.0.0.1:22", headers)
            answer = await connection.receive()
        finally:
            await connection.close()
        assert answer.status in (400, 401, 404, 405)


def shown(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer but what is its own in every request: id and date; their lengths stay."""
    request_id = answer.headers["x-request-id"]
    headers = {**answer.headers, "x-request-id": "-" * len(request_id), "date": "-" * len(answer.headers["date"])}
    return answer.status, list(headers.items()), answer.body.replace(request_id.encode(), b"-" * len(request_id))


BODIES = (b"", b"{}", ROW, b"{", b'{"parameters":{"force":true}}')
ASYNC_CALLS = ("admit", "statistics", "load", "unload", "cancel", "quota_use", "quota_totals")


@pytest.mark.identity_case("policy", "names of models, to learn which exist", "the same 403, byte for byte")
@pytest.mark.parametrize(
    ("who", "exists", "unknown"),
    [
        ("bob", ("double", "1"), ("doubla", "1")),
        ("ann", ("other", "1"), ("othes", "1")),
        ("ann", ("double", "2"), ("double", "9")),
    ],
)
async def test_a_forbidden_model_and_one_that_does_not_exist_are_the_same(
    rig: PolicyRig,
    asker: Asker,
    monkeypatch: pytest.MonkeyPatch,
    who: str,
    exists: tuple[str, str],
    unknown: tuple[str, str],
) -> None:
    """Status, headers, body and work: the attacker compares answers, and times them."""
    calls: list[str] = []
    for name in ASYNC_CALLS:
        monkeypatch.setattr(rig.engine, name, lambda *_, called=name, **__: calls.append(called))
    headers = {"X-API-Key": KEYS[who].key}
    compared = 0
    for route in ROUTES:
        if not route.names_model or (exists[0] == unknown[0] and "{version}" not in route.pattern):
            continue
        for method in ("GET", "HEAD", "POST", "DELETE"):
            for body in BODIES if method == "POST" else (b"",):
                forbidden = await asker.ask(method, path_of(route, *exists), headers, body)
                nothing = await asker.ask(method, path_of(route, *unknown), headers, body)
                assert shown(forbidden) == shown(nothing), f"{method} {route.pattern} {body!r}"
                assert forbidden.status in (403, 405)
                compared += 1
    assert compared > 50
    assert calls == [], "neither is worth a call of the engine"


async def test_names_that_no_model_can_have_are_the_same_as_forbidden_ones(rig: PolicyRig, asker: Asker) -> None:
    reference = shown(await asker.ask("GET", "/v2/models/other", NO_RIGHTS))
    for name in (
        "..",
        ".",
        "con",
        "-",
        "_",
        "%20",
        "a" * 200,
        "other%20",
        "OTHER",
        "*",
        "%C3%A4",
        "other:1",
        "other;1",
    ):
        assert shown(await asker.ask("GET", f"/v2/models/{name}", NO_RIGHTS)) == reference, name


async def test_lists_tell_of_readable_versions_alone(rig: PolicyRig, asker: Asker) -> None:
    for method, path in (
        ("GET", "/v2/models"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        ("GET", "/v2/models/double/versions/1"),
    ):
        text = (await asker.ask(method, path, ANN)).body.decode()
        assert "double" in text, path
        assert "other" not in text, path
        assert '"2"' not in text, f"{path} tells of a version that is not readable"
        if "/versions/" not in path:
            nothing = (await asker.ask(method, path, NO_RIGHTS)).body.decode()
            assert "double" not in nothing, path


@pytest.mark.identity_case("policy", "a load of a bare name with a right on one version", "403")
async def test_who_may_load_one_version_may_not_load_all_by_the_bare_name(rig: PolicyRig, asker: Asker) -> None:
    """The attacker leaves the version out, whose default the model's own version 1 may be."""
    del rig.engine.descriptions[max(rig.engine.descriptions)]
    for verb in ("load", "unload"):
        bare = await asker.ask("POST", f"/v2/repository/models/double/{verb}", ANN)
        assert bare.status == 403, verb
    assert rig.engine.changes == []
    loaded = await asker.ask("POST", "/v2/repository/models/double/versions/1/load", ANN)
    assert loaded.status == 200


async def test_cancelling_tells_nothing_of_others_requests(rig: PolicyRig, asker: Asker) -> None:
    mine = await asker.ask("POST", "/v2/requests/abc/cancel", ANN)
    others = await asker.ask("POST", "/v2/requests/xyz/cancel", NO_RIGHTS)
    assert (mine.status, mine.body) == (others.status, others.body) == (200, b'{"cancelled":0}')


async def test_whom_a_grant_covers_learns_that_there_is_no_such_model(rig: PolicyRig, asker: Asker) -> None:
    root = {"X-API-Key": KEYS["root"].key}
    answer = await asker.ask("GET", "/v2/models/nope", root)
    assert (answer.status, json.loads(answer.body)["code"]) == (404, "unknown_model")
