"""torchgate.Gate on a real project: its start, its end, its mistakes; no model runs, because its pool is not there."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.rigs.asgi_client import AsgiAnswer, ask
from tests.rigs.keyed_project import KeyedProject

import torchgate
from torchgate.composition import CannotStart
from torchgate.gate.mounted_lifespan import lived

BEHIND_IIS = {"ASPNETCORE_TOKEN": "secret", "ASPNETCORE_PORT": "1234", "ASPNETCORE_APPL_PATH": "/"}


async def name(request: Request) -> PlainTextResponse:
    """Of who asks."""
    return PlainTextResponse(torchgate.caller().principal.name)


async def double(request: Request) -> PlainTextResponse:
    """There is no pool."""
    return PlainTextResponse(str(await torchgate.caller().infer("doubler", {"x": [[1]]})))


ROUTES = [Route("/name", name), Route("/double", double)]


@pytest.fixture
def project(tmp_path: Path) -> KeyedProject:
    """Its callers are all that it has."""
    return KeyedProject.write(tmp_path, {}, ("ann",))


async def _ask(app: Any, project: KeyedProject, path: str, **more: Any) -> AsgiAnswer:
    return await ask(app, path=path, headers={"X-API-Key": project.keys["ann"], **more.pop("headers", {})}, **more)


@pytest.mark.parametrize("is_middleware", [True, False])
async def test_a_guarded_application_lives_with_its_gate(project: KeyedProject, is_middleware: bool) -> None:
    """Started by the server's lifespan event, one record in the trail, closed at the end; and once more."""
    gate = torchgate.Gate(project.folder, engine="pool")
    inner = Starlette(routes=ROUTES)
    if is_middleware:
        inner.add_middleware(gate.guard)
    app = inner if is_middleware else gate.guard(inner)
    assert (await _ask(app, project, "/name")).status == 503
    for _ in range(2):
        async with lived(app, {}):
            answer = await _ask(app, project, "/name")
            assert (answer.status, answer.body) == (200, b"ann")
            assert (await _ask(app, project, "/double")).status in {403, 404, 503}
            assert (await ask(app, path="/name")).status == 401
    assert (await _ask(app, project, "/name")).status == 503
    events = project.audit_events()
    requests = [event for event in events if event["class_uid"] == 6003]
    of_name = [event for event in requests if event["http_request"]["url"]["path"] == "/name"]
    assert [event["status_code"] for event in of_name] == ["200", "401"] * 2


async def test_mounted_in_another_application_it_is_started_by_that_ones_lifespan(project: KeyedProject) -> None:
    """Which alone hears the server's events."""
    gate = torchgate.Gate(project.folder, engine="pool", public=["/open"])
    inner = gate.guard(Starlette(routes=[*ROUTES, Route("/open", lambda _: PlainTextResponse("open"))]))
    outer = Starlette(routes=[Mount("/api", inner)], lifespan=lambda _: gate.started())
    async with lived(outer, {}):
        assert (await _ask(outer, project, "/api/name")).body == b"ann"
        assert (await ask(outer, path="/api/name")).status == 401
        assert (await ask(outer, path="/api/open")).body == b"open"
        assert (await ask(outer, path="/api/api/open")).status == 401


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("[gate.nothing]\n", "gate.nothing"),
        ('[gate]\nfront_door = "ancm"\n', "ASPNETCORE_TOKEN"),
        (None, "torchgate.toml"),
    ],
)
async def test_what_can_not_start_says_so_and_serves_nothing(
    project: KeyedProject, extra: str | None, said: str
) -> None:
    """Before anything of the application runs."""
    file = project.folder / "torchgate.toml"
    if extra is None:
        file.unlink()
    else:
        text = file.read_text(encoding="utf-8")
        file.write_text(
            text.replace("[gate]\n", extra, 1) if extra.startswith("[gate]") else text + extra, encoding="utf-8"
        )
    gate = torchgate.Gate(project.folder, engine="pool")
    with pytest.raises(CannotStart, match=said):
        async with gate.started():
            raise AssertionError("must not start")
    with pytest.raises(RuntimeError, match="does not start"):
        async with lived(gate.guard(Starlette(routes=ROUTES)), {}):
            raise AssertionError("must not be served")


def test_what_is_wrong_with_its_arguments_is_said_at_once(project: KeyedProject) -> None:
    """When the module is imported, and not with the first request."""
    with pytest.raises(ValueError, match="own"):
        torchgate.Gate(project.folder, engine="gpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="public"):
        torchgate.Gate(project.folder, public=["/*"])


@pytest.fixture
def interrupts() -> Iterator[list[int]]:
    """Of this process, as a server takes them."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    yield seen
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("has_own_way", [True, False])
async def test_iis_ends_a_process_by_its_request(
    project: KeyedProject, interrupts: list[int], monkeypatch: pytest.MonkeyPatch, has_own_way: bool
) -> None:
    """As Ctrl+C does, which servers know; or as the application wants it. Without the pairing token nothing ends."""
    for key, value in BEHIND_IIS.items():
        monkeypatch.setenv(key, value)
    file = project.folder / "torchgate.toml"
    file.write_text(
        file.read_text(encoding="utf-8").replace("[gate]\n", '[gate]\nfront_door = "ancm"\n', 1), encoding="utf-8"
    )
    told: list[int] = []
    gate = torchgate.Gate(project.folder, engine="pool", on_stop=(lambda: told.append(1)) if has_own_way else None)
    app = gate.guard(Starlette(routes=ROUTES))
    stop = {"MS-ASPNETCORE-EVENT": "shutdown"}
    async with lived(app, {}):
        assert (await ask(app, "POST", "/iisintegration", stop)).status == 400
        assert (await ask(app, "POST", "/iisintegration", {**stop, "MS-ASPNETCORE-TOKEN": "other"})).status == 400
        await asyncio.sleep(0)
        assert (told, interrupts) == ([], [])
        assert (await ask(app, "POST", "/iisintegration", {**stop, "MS-ASPNETCORE-TOKEN": "secret"})).status == 202
        await asyncio.sleep(0)
        assert (told, interrupts) == (([1], []) if has_own_way else ([], [signal.SIGINT]))


@pytest.mark.windows("its two kinds of loops")
def test_a_loop_without_pipes_is_refused(project: KeyedProject) -> None:
    """As uvicorn makes it with --reload or several workers."""

    async def start() -> None:
        async with torchgate.Gate(project.folder, engine="pool").started():
            raise AssertionError("must not start")

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner, pytest.raises(CannotStart, match="loop"):
        runner.run(start())


@pytest.mark.parametrize("is_middleware", [True, False])
async def test_a_debugging_application_shows_its_insides_to_nobody(project: KeyedProject, is_middleware: bool) -> None:
    """Starlette's page with the traceback, and whatever it says of a refusal that its route lets through."""

    async def broken(request: Request) -> PlainTextResponse:
        raise ZeroDivisionError("a secret of the inside")

    async def refused(request: Request) -> PlainTextResponse:
        await torchgate.caller().authorise("admin")
        return PlainTextResponse("never")

    gate = torchgate.Gate(project.folder, engine="pool")
    inner = Starlette(debug=True, routes=[Route("/broken", broken), Route("/refused", refused)])
    if is_middleware:
        inner.add_middleware(gate.guard)
    app = inner if is_middleware else gate.guard(inner)
    async with lived(app, {}):
        answer = await _ask(app, project, "/broken", headers={"Accept": "text/html"})
        assert (answer.status, answer.json()["code"]) == (500, "internal_error")
        assert b"secret" not in answer.body
        answer = await _ask(app, project, "/refused")
        assert (answer.status, answer.json()["code"]) == (403, "forbidden")
        assert answer.header("www-authenticate")


async def test_a_second_start_around_the_first_is_the_same_gate(project: KeyedProject) -> None:
    """A lifespan of one's own and the server's may both start it; it stops with the outer one."""
    gate = torchgate.Gate(project.folder, engine="pool")
    app = gate.guard(Starlette(routes=ROUTES))
    async with gate.started():
        async with lived(app, {}):
            assert (await _ask(app, project, "/name")).status == 200
        assert (await _ask(app, project, "/name")).status == 200
    assert (await _ask(app, project, "/name")).status == 503


async def test_development_tokens_are_there_while_the_gate_is(tmp_path: Path) -> None:
    """For whoever tries the application on this machine."""
    (tmp_path / "models").mkdir()
    text = '[development]\nenabled = true\n[[development.identities]]\nname = "ann"\n'
    (tmp_path / "torchgate.toml").write_text(text, encoding="utf-8")
    token = tmp_path / ".torchgate" / "development" / "ann.token"
    gate = torchgate.Gate(tmp_path, engine="pool")
    app = gate.guard(Starlette(routes=ROUTES))
    async with gate.started():
        headers = {"Authorization": f"Bearer {token.read_text(encoding='ascii').strip()}"}
        assert (await ask(app, path="/name", headers=headers)).body == b"ann"
        assert (await ask(app, path="/name", headers=headers, client=("192.0.2.1", 1))).status == 400
    assert not token.exists()
